//! What an app follows of services: tables, logs and topics.

use std::sync::Arc;

use bowline_runtime::{LiveError, Runtime, TopicBacklog, ViewSubscription, protocol::ServerId};
use serde_json::value::RawValue;

use super::{
    BowlineRuntime,
    access::{end_reason, json_params, screen_error, server},
};
use crate::{
    error::{BowlineError, error},
    listeners::{ItemsListener, TableListener, TopicListener},
    sinks::{Changes, TopicSink},
    slot::{Slot, follow},
    subscription::{EndReason, Subscription},
};

#[uniffi::export]
impl BowlineRuntime {
    /// Subscribes to rows of a service's table: the first ones, then every change (LD-2).
    /// `params_json`, an object, says which rows, as the service defines. Subscriptions with the
    /// same name and parameters share what they follow, until a few seconds after the last of them.
    /// What the daemon answers is part of the updates.
    pub fn subscribe_table(
        &self,
        server_id: String,
        name: String,
        params_json: String,
        listener: Box<dyn TableListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_table((base, new).into())
        }))?;
        let table = self.live(&server_id, &name, params_json, Runtime::subscribe_table)?;
        self.follow_views(slot, table)
    }

    /// Subscribes to a service's log: its newest items, then every new one and every growth of the
    /// last ones (LD-2). Otherwise as `subscribe_table`.
    pub fn subscribe_log(
        &self,
        server_id: String,
        name: String,
        params_json: String,
        listener: Box<dyn ItemsListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_items((base, new).into())
        }))?;
        let log = self.live(&server_id, &name, params_json, Runtime::subscribe_log)?;
        self.follow_views(slot, log)
    }

    /// Subscribes to a service's topic: every event from `Following` on, once and in order (LD-10).
    /// `params_json`, an object, says which keys, as the service defines. While a listener runs,
    /// 4,096 events or 8 MiB wait; then the oldest are dropped, and `missed` says so. What the
    /// daemon answers is part of the updates.
    pub fn subscribe_topic(
        &self,
        server_id: String,
        name: String,
        params_json: String,
        listener: Box<dyn TopicListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(TopicSink::new(listener))?;
        let mut topic = self.live(&server_id, &name, params_json, Runtime::subscribe_topic)?;
        let (backlog, closed) = (Arc::clone(&slot), Arc::clone(&self.closed));
        follow(&slot, async move {
            loop {
                match topic.next().await {
                    Ok(batch) => {
                        backlog.change(|newest: &mut Option<TopicBacklog>| {
                            newest.get_or_insert_default().append(&batch);
                        });
                    }
                    Err(LiveError::Host(error)) => break end_reason(&error, &closed),
                    // Refused before it began.
                    Err(LiveError::Invalid(_)) => break EndReason::Broken,
                }
            }
        })?;
        Ok(Subscription::new(slot))
    }

    /// Loads the page after the last row of a subscribed table; the next update has the result.
    pub fn load_more_rows(
        &self,
        server_id: String,
        name: String,
        params_json: String,
    ) -> Result<(), BowlineError> {
        self.live(&server_id, &name, params_json, Runtime::load_more_rows)
    }

    /// Loads the rows of a subscribed table again, also after a refusal.
    pub fn refresh_table(
        &self,
        server_id: String,
        name: String,
        params_json: String,
    ) -> Result<(), BowlineError> {
        self.live(&server_id, &name, params_json, Runtime::refresh_table)
    }

    /// Loads the page before the oldest item of a subscribed log; the next update has the result.
    pub fn load_older_items(
        &self,
        server_id: String,
        name: String,
        params_json: String,
    ) -> Result<(), BowlineError> {
        self.live(&server_id, &name, params_json, Runtime::load_older_items)
    }

    /// Loads the items of a subscribed log again, also after a refusal.
    pub fn refresh_log(
        &self,
        server_id: String,
        name: String,
        params_json: String,
    ) -> Result<(), BowlineError> {
        self.live(&server_id, &name, params_json, Runtime::refresh_log)
    }
}

impl BowlineRuntime {
    /// A call about a table, log or topic of a host.
    fn live<T>(
        &self,
        server_id: &str,
        name: &str,
        params_json: String,
        call: impl FnOnce(&Runtime, &ServerId, &str, &RawValue) -> Result<T, LiveError>,
    ) -> Result<T, BowlineError> {
        let (host, params) = (server(server_id)?, json_params(params_json)?);
        call(self.open_core()?, &host, name, &params).map_err(|error| match error {
            LiveError::Invalid(detail) => error!(InvalidQuery, Report, detail),
            LiveError::Host(error) => screen_error(server_id, &error),
        })
    }

    /// Feeds a slot with the newest views of a table or log.
    fn follow_views<V: Send + Sync + 'static>(
        &self,
        slot: Arc<Slot<Arc<V>>>,
        mut views: ViewSubscription<V>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let (newest, closed) = (Arc::clone(&slot), Arc::clone(&self.closed));
        follow(&slot, async move {
            loop {
                match views.next().await {
                    Ok(view) => newest.put(view),
                    Err(LiveError::Host(error)) => break end_reason(&error, &closed),
                    // Refused before it began.
                    Err(LiveError::Invalid(_)) => break EndReason::Broken,
                }
            }
        })?;
        Ok(Subscription::new(slot))
    }
}
