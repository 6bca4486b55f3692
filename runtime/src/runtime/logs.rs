//! Following the logs of a host's services (LD-2).

use std::sync::Arc;

use bowline_machines::data::logs::{Input, LogView};
use bowline_machines::data::target::LiveTarget;
use bowline_protocol::ServerId;
use serde::Serialize;

use super::Runtime;
use crate::{
    host::{Host, HostCommand},
    log::{self, LogError, LogViews},
    screen::ScreenError,
};

impl Runtime {
    /// Follows a log of a service: its newest items, then every new one and every growth (LD-2).
    /// Returns at once; the first view comes through the subscription. `params`: what the service
    /// asks for, as an object.
    ///
    /// # Errors
    /// [`LogError`]; what the daemon answers is part of the views.
    pub fn subscribe_log<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<LogSubscription, LogError> {
        let target = log::target(name, params)?;
        LogSubscription::open(self.screened_host(server_id)?, target)
    }

    /// Loads the page before the oldest item of a subscribed log, as
    /// [`LogSubscription::load_older`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_log`]; nothing was done then.
    pub fn load_older_items<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), LogError> {
        self.read_log(server_id, log::target(name, params)?, Input::LoadOlder)
    }

    /// Fetches the items of a subscribed log again, as [`LogSubscription::refresh`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_log`]; nothing was done then.
    pub fn refresh_log<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), LogError> {
        self.read_log(server_id, log::target(name, params)?, Input::Refresh)
    }

    fn read_log(
        &self,
        server_id: &ServerId,
        target: LiveTarget,
        input: Input,
    ) -> Result<(), LogError> {
        let host = self.screened_host(server_id)?;
        Ok(host.command(HostCommand::ReadLog(target, input))?)
    }
}

/// Views of one log, latest only: a slow reader receives fewer, and [`LogView::diff`] has what
/// changed since the view that it has. All subscriptions of one host with the same name and
/// parameters share what they follow, which ends a few seconds after the last of them is dropped.
pub struct LogSubscription {
    views: LogViews,
    host: Host,
    target: LiveTarget,
}

impl LogSubscription {
    fn open(host: Host, target: LiveTarget) -> Result<Self, LogError> {
        let (views, publisher) = LogViews::new(LogError::Host(ScreenError::Gone));
        host.command(HostCommand::OpenLog {
            target: target.clone(),
            publisher,
        })?;
        Ok(Self {
            views,
            host,
            target,
        })
    }

    /// The newest view; `None` until the first, which follows at once.
    pub fn current(&self) -> Option<Arc<LogView>> {
        self.views.current()
    }

    /// Waits for a view not returned yet and returns the newest. Cancel-safe.
    ///
    /// # Errors
    /// [`LogError`] after the last view.
    pub async fn next(&mut self) -> Result<Arc<LogView>, LogError> {
        self.views.next().await
    }

    /// Loads the page before the oldest item; [`LogView::older`] shows the progress. Does nothing
    /// while one is loading, or if there is none.
    ///
    /// # Errors
    /// [`ScreenError::Busy`] or [`ScreenError::Gone`]; nothing was done then.
    pub fn load_older(&self) -> Result<(), LogError> {
        self.read(Input::LoadOlder)
    }

    /// Fetches the items again, also after a refusal.
    ///
    /// # Errors
    /// As [`LogSubscription::load_older`].
    pub fn refresh(&self) -> Result<(), LogError> {
        self.read(Input::Refresh)
    }

    fn read(&self, input: Input) -> Result<(), LogError> {
        let target = self.target.clone();
        Ok(self.host.command(HostCommand::ReadLog(target, input))?)
    }
}
