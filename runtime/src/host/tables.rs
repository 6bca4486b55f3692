//! The open tables of a host: their subscribers, and requests for their rows.

use std::collections::BTreeMap;

use bowline_machines::data::target::LiveTarget;
use bowline_machines::{
    MonotonicTime,
    data::{
        follows::Close,
        replica,
        tables::{self, Effect, TableId, TooManyTables},
    },
};
use bowline_protocol::{
    live::{CloseLive, LiveKind},
    methods::name,
};

use super::{driver::Driver, events::HostEvent, loads};
use crate::{
    screen::ScreenError,
    table::{TableError, TablePublisher},
};

/// The subscribers of each table.
pub(super) type TablePublishers = BTreeMap<TableId, Vec<TablePublisher>>;

impl Driver {
    /// Opens a table for a subscriber, who receives the current view at once.
    pub(super) fn open_table(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        publisher: TablePublisher,
    ) {
        self.end_tables();
        match self.replica.open_table(now, target) {
            Ok((id, view)) => {
                publisher.publish(view);
                self.table_publishers.entry(id).or_default().push(publisher);
            }
            Err(TooManyTables { most }) => {
                publisher.end(TableError::Host(ScreenError::TooMany(most)));
            }
        }
    }

    /// Feeds a reader's request.
    pub(super) fn read_table(
        &mut self,
        now: MonotonicTime,
        target: &LiveTarget,
        input: tables::Input,
    ) {
        if let Some(id) = self.replica.table(target) {
            self.replica
                .handle(now, replica::Input::Table { id, input });
        }
    }

    /// Removes dropped subscribers; tables without any are closed by the next sweep.
    pub(super) fn end_tables(&mut self) {
        let replica = &mut self.replica;
        self.table_publishers.retain(|id, publishers| {
            publishers.retain(TablePublisher::is_wanted);
            if publishers.is_empty() {
                replica.table_left(*id);
            }
            !publishers.is_empty()
        });
    }

    /// Publishes the newest views to their subscribers.
    pub(super) fn publish_tables(&mut self) {
        while let Some((id, view)) = self.replica.poll_table_view() {
            let publishers = self.table_publishers.get(&id);
            for publisher in publishers.into_iter().flatten() {
                publisher.publish(view.clone());
            }
        }
    }

    pub(super) fn table_effect(&mut self, now: MonotonicTime, effect: Effect) {
        match effect {
            Effect::Load {
                id,
                load,
                target,
                request,
            } => {
                let (client, inbox) = (self.online(), self.inbox_sender.clone());
                tokio::spawn(async move {
                    let result = loads::table(client, &target, request).await;
                    let input = tables::Input::Page { load, result };
                    let page = replica::Input::Table { id, input };
                    // An error means that the host has ended.
                    let _ = inbox.send(HostEvent::Loaded(page)).await;
                });
            }
            Effect::Close(close) => self.close_live(LiveKind::Table, close),
            Effect::Forget(intent_id) => self.forget_failure(now, intent_id),
        }
    }

    /// Ends a follow. Follows belong to the session: while another process shares it, that process
    /// may need this one.
    pub(super) fn close_live(&self, kind: LiveKind, close: Close) {
        let Close {
            name,
            scope,
            follow,
        } = close;
        let close = CloseLive {
            kind,
            name,
            scope,
            follow,
        };
        if self.outbox.is_alone() {
            self.send_unawaited(name::LIVE_CLOSE, &close);
        }
    }
}
