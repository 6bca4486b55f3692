//! The open logs of a host: their subscribers, and requests for their items.

use std::collections::BTreeMap;

use bowline_machines::data::target::LiveTarget;
use bowline_machines::{
    MonotonicTime,
    data::{
        logs::{self, Effect, LogId, TooManyLogs},
        replica,
    },
};
use bowline_protocol::live::LiveKind;

use super::{driver::Driver, events::HostEvent, loads};
use crate::{
    log::{LogError, LogPublisher},
    screen::ScreenError,
};

/// The subscribers of each log.
pub(super) type LogPublishers = BTreeMap<LogId, Vec<LogPublisher>>;

impl Driver {
    /// Opens a log for a subscriber, who receives the current view at once.
    pub(super) fn open_log(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        publisher: LogPublisher,
    ) {
        self.end_logs();
        match self.replica.open_log(now, target) {
            Ok((id, view)) => {
                publisher.publish(view);
                self.log_publishers.entry(id).or_default().push(publisher);
            }
            Err(TooManyLogs { most }) => {
                publisher.end(LogError::Host(ScreenError::TooMany(most)));
            }
        }
    }

    /// Feeds a reader's request.
    pub(super) fn read_log(&mut self, now: MonotonicTime, target: &LiveTarget, input: logs::Input) {
        if let Some(id) = self.replica.log(target) {
            self.replica.handle(now, replica::Input::Log { id, input });
        }
    }

    /// Removes dropped subscribers; logs without any are closed by the next sweep.
    pub(super) fn end_logs(&mut self) {
        let replica = &mut self.replica;
        self.log_publishers.retain(|id, publishers| {
            publishers.retain(LogPublisher::is_wanted);
            if publishers.is_empty() {
                replica.log_left(*id);
            }
            !publishers.is_empty()
        });
    }

    /// Publishes the newest views to their subscribers.
    pub(super) fn publish_logs(&mut self) {
        while let Some((id, view)) = self.replica.poll_log_view() {
            let publishers = self.log_publishers.get(&id);
            for publisher in publishers.into_iter().flatten() {
                publisher.publish(view.clone());
            }
        }
    }

    pub(super) fn log_effect(&self, effect: Effect) {
        match effect {
            Effect::Load {
                id,
                load,
                target,
                request,
            } => {
                let (client, inbox) = (self.online(), self.inbox_sender.clone());
                tokio::spawn(async move {
                    let result = loads::log(client, &target, request).await;
                    let input = logs::Input::Page { load, result };
                    let page = replica::Input::Log { id, input };
                    // An error means that the host has ended.
                    let _ = inbox.send(HostEvent::Loaded(page)).await;
                });
            }
            Effect::Close(close) => self.close_live(LiveKind::Log, close),
        }
    }
}
