//! The open tables, logs and topics of a host: their subscribers, and the requests for them.

use std::{collections::BTreeMap, future::Future};

use bowline_machines::{
    MonotonicTime,
    data::{
        follows::Close,
        lists,
        logs::{self, LogView},
        open::{OpenId, TooMany},
        replica,
        tables::{self, TableView},
        target::LiveTarget,
        topics,
    },
};
use bowline_protocol::{
    live::{CloseLive, LiveKind},
    methods::name,
};

use super::{driver::Driver, events::HostEvent, loads};
use crate::{
    live::{LiveError, Read, ViewPublisher},
    screen::ScreenError,
    topic::TopicPublisher,
};

/// The subscribers of each open table, log and topic.
#[derive(Default)]
pub(super) struct LiveReaders {
    tables: Readers<ViewPublisher<TableView>>,
    logs: Readers<ViewPublisher<LogView>>,
    topics: Readers<TopicPublisher>,
}

/// The subscribers of those of one kind.
struct Readers<P>(BTreeMap<OpenId, Vec<P>>);

impl<P> Default for Readers<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P> Readers<P> {
    fn add(&mut self, id: OpenId, publisher: P) {
        self.0.entry(id).or_default().push(publisher);
    }

    fn of(&self, id: OpenId) -> &[P] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Removes dropped subscribers. `left`: is told what has none any more.
    fn end(&mut self, is_wanted: impl Fn(&P) -> bool, mut left: impl FnMut(OpenId)) {
        self.0.retain(|id, publishers| {
            publishers.retain(&is_wanted);
            if publishers.is_empty() {
                left(*id);
            }
            !publishers.is_empty()
        });
    }
}

fn too_many(TooMany { most }: TooMany) -> LiveError {
    LiveError::Host(ScreenError::TooMany(most))
}

fn input_of<P>(read: Read) -> lists::Input<P> {
    match read {
        Read::More => lists::Input::LoadMore,
        Read::Refresh => lists::Input::Refresh,
    }
}

impl Driver {
    /// Opens a table for a subscriber, who receives the current view at once, or with this turn's
    /// publication.
    pub(super) async fn open_table(
        &mut self,
        target: LiveTarget,
        publisher: ViewPublisher<TableView>,
    ) {
        let kept = match self.replica.table(&target) {
            Some(_) => None,
            None => self.kept(&target).await,
        };
        let now = self.clock.now();
        self.end_live();
        match self.replica.open_kept_table(now, target, kept) {
            Ok((id, view)) => {
                if let Some(view) = view {
                    publisher.publish(view);
                }
                self.live.tables.add(id, publisher);
            }
            Err(error) => publisher.end(too_many(error)),
        }
    }

    /// Opens a log for a subscriber, as a table.
    pub(super) async fn open_log(&mut self, target: LiveTarget, publisher: ViewPublisher<LogView>) {
        let kept = match self.replica.log(&target) {
            Some(_) => None,
            None => self.kept(&target).await,
        };
        let now = self.clock.now();
        self.end_live();
        match self.replica.open_kept_log(now, target, kept) {
            Ok((id, view)) => {
                if let Some(view) = view {
                    publisher.publish(view);
                }
                self.live.logs.add(id, publisher);
            }
            Err(error) => publisher.end(too_many(error)),
        }
    }

    /// Opens a topic for a subscriber, who is told the state at once.
    pub(super) fn open_topic(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        publisher: TopicPublisher,
    ) {
        self.end_live();
        match self.replica.open_topic(now, target) {
            Ok((id, status)) => {
                publisher.say(status);
                self.live.topics.add(id, publisher);
            }
            Err(error) => publisher.end(too_many(error)),
        }
    }

    /// Feeds a request of a subscriber of a table or log.
    pub(super) fn read_live(
        &mut self,
        now: MonotonicTime,
        kind: LiveKind,
        target: &LiveTarget,
        read: Read,
    ) {
        let input = match kind {
            LiveKind::Table => self.replica.table(target).map(|id| replica::Input::Table {
                id,
                input: input_of(read),
            }),
            LiveKind::Log => self.replica.log(target).map(|id| replica::Input::Log {
                id,
                input: input_of(read),
            }),
            // It has neither pages nor content.
            LiveKind::Topic => None,
        };
        if let Some(input) = input {
            self.replica.handle(now, input);
        }
    }

    /// Removes dropped subscribers; what has none is closed by the next sweep.
    pub(super) fn end_live(&mut self) {
        let (live, replica) = (&mut self.live, &mut self.replica);
        let tables = &mut live.tables;
        tables.end(ViewPublisher::is_wanted, |id| replica.table_left(id));
        let logs = &mut live.logs;
        logs.end(ViewPublisher::is_wanted, |id| replica.log_left(id));
        let topics = &mut live.topics;
        topics.end(TopicPublisher::is_wanted, |id| replica.topic_left(id));
    }

    /// Passes the newest views and batches to their subscribers.
    pub(super) fn publish_live(&mut self) {
        while let Some((id, view)) = self.replica.poll_table_view() {
            for publisher in self.live.tables.of(id) {
                publisher.publish(view.clone());
            }
        }
        while let Some((id, view)) = self.replica.poll_log_view() {
            for publisher in self.live.logs.of(id) {
                publisher.publish(view.clone());
            }
        }
        while let Some((id, batch)) = self.replica.poll_topic_batch() {
            for publisher in self.live.topics.of(id) {
                publisher.publish(&batch);
            }
        }
    }

    pub(super) fn table_effect(&mut self, now: MonotonicTime, effect: tables::Effect) {
        match effect {
            tables::Effect::Load {
                id,
                load,
                target,
                request,
            } => {
                let client = self.online();
                self.load_live(async move {
                    let result = loads::table(client, &target, request).await;
                    let input = lists::Input::Page { load, result };
                    replica::Input::Table { id, input }
                });
            }
            tables::Effect::Close(close) => self.close_live(LiveKind::Table, close),
            tables::Effect::Forget(intent_id) => self.forget_failure(now, intent_id),
        }
    }

    pub(super) fn log_effect(&mut self, now: MonotonicTime, effect: logs::Effect) {
        match effect {
            logs::Effect::Load {
                id,
                load,
                target,
                request,
            } => {
                let client = self.online();
                self.load_live(async move {
                    let result = loads::log(client, &target, request).await;
                    let input = lists::Input::Page { load, result };
                    replica::Input::Log { id, input }
                });
            }
            logs::Effect::Close(close) => self.close_live(LiveKind::Log, close),
            logs::Effect::Forget(intent_id) => self.forget_failure(now, intent_id),
        }
    }

    pub(super) fn topic_effect(&self, effect: topics::Effect) {
        match effect {
            topics::Effect::Open {
                id,
                load,
                target,
                held,
            } => {
                let client = self.online();
                self.load_live(async move {
                    let result = loads::topic(client, &target, held).await;
                    replica::Input::Topic { id, load, result }
                });
            }
            topics::Effect::Close(close) => self.close_live(LiveKind::Topic, close),
        }
    }

    /// Feeds the answer to a request, once it is there.
    fn load_live(&self, answer: impl Future<Output = replica::Input> + Send + 'static) {
        let inbox = self.inbox_sender.clone();
        tokio::spawn(async move {
            // An error means that the host has ended.
            let _ = inbox.send(HostEvent::Loaded(answer.await)).await;
        });
    }

    /// Ends a follow. Follows belong to the session: while another process shares it, that process
    /// may need this one.
    fn close_live(&self, kind: LiveKind, close: Close) {
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
