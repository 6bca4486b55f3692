//! The topics of a host's services that an app follows (LD-10).
//!
//! A topic has events and no rows: each reader is told every event once and in order, from when the
//! session follows it. Readers of the same topic with the same parameters share one follow; the
//! driver reports the end of the last of them, and [`Topics::sweep`] closes what nobody reads, as
//! for tables and logs ([`crate::data::open`]).
//!
//! **Opening.** A session forgets at each attach what is not followed again, so a topic is opened
//! at each attach, with the number that its events stand at. Events that arrive before the answer
//! are kept, because only the answer tells which of them count.
//!
//! **Missing events.** The answer says whether the session followed all the time. If it did not, or
//! the session is another one, events up to the answer are left out, and the next batch is marked
//! ([`TopicBatch::missed`]), as after events that were dropped at a bound. Between two events
//! without a mark, none is missing.
//!
//! **Bounds** are in [`TopicsConfig`]. At the bound of events the oldest are dropped and the loss
//! is marked; topics over the bound are refused.

mod backlog;
mod follow;
mod state;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline_protocol::{
    Reason, SessionState,
    live::{TablePage, TopicEvent},
};

pub use backlog::{Backlog, BacklogConfig, TopicBatch};
pub use state::{TopicState, TopicStatus};

use super::{
    follows::{Close, Follow},
    load::{Held, LoadError},
    open::{OpenId, OpenSet, Signal, TooMany},
};
use crate::data::target::LiveTarget;
use crate::{Generation, MonotonicTime, Transition};
use follow::{Ask, Input, OpenTopic};

/// Bounds of a host's topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicsConfig {
    /// Most open topics; further ones are refused.
    pub most_open: usize,
    /// Bounds of the events that wait: of each topic those for the answer that opens it, and those
    /// for the driver.
    pub backlog: BacklogConfig,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            most_open: 64,
            backlog: BacklogConfig::default(),
        }
    }
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request `live.open`, and report the answer to [`Topics::opened`]; without a connection at
    /// once, with [`LoadError::Lost`].
    Open {
        /// The topic.
        id: OpenId,
        /// Number of the request, to report with the answer.
        load: Generation,
        /// What to open.
        target: Arc<LiveTarget>,
        /// What the client has of it, if the session can still follow it since.
        held: Option<Held>,
    },
    /// End following a scope by `live.close`. A failure costs unneeded events until the next
    /// attach.
    Close(Close),
}

/// The topics of one host.
#[derive(Clone, Debug)]
pub struct Topics {
    config: TopicsConfig,
    open: OpenSet<OpenTopic>,
}

impl Default for Topics {
    fn default() -> Self {
        Self::new(TopicsConfig::default())
    }
}

impl Topics {
    /// No topics; `config` sets the bounds.
    pub fn new(config: TopicsConfig) -> Self {
        let open = OpenSet::new(config.most_open);
        Self { config, open }
    }

    /// Opens a topic for a reader, or returns the open one with the same target, and how it is
    /// doing. One that failed is tried again.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, TopicStatus), TooMany> {
        let make = |target| OpenTopic::new(target, self.config.backlog);
        let id = self.open.open(now, target, make)?;
        let status = self.open.get(id).map(OpenTopic::status);
        Ok((id, status.unwrap_or_default()))
    }

    /// The last reader of a topic left.
    pub fn left(&mut self, id: OpenId) {
        self.open.left(id);
    }

    /// Closes topics without readers. Call every few seconds.
    pub fn sweep(&mut self) {
        self.open.sweep();
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.open.signal(now, Signal::Attached(session));
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason) {
        self.open.signal(now, Signal::Disconnected(reason));
    }

    /// The host cannot be reached. Repetitions have no effect.
    pub fn unreachable(&mut self, now: MonotonicTime, reason: Reason) {
        self.open.signal(now, Signal::Unreachable(reason));
    }

    /// The answer to [`Effect::Open`]; one for a topic that was closed has no effect.
    pub fn opened(
        &mut self,
        now: MonotonicTime,
        id: OpenId,
        load: Generation,
        result: Result<TablePage, LoadError>,
    ) {
        let Some(one) = self.open.get_mut(id) else {
            return;
        };
        let page = result.as_ref().ok();
        let page = page.filter(|_| one.running() == Some(load));
        let opened = page.map(|page| (page.scope.clone(), page.follow));
        let former = one.handle(now, Input::Opened { load, result });
        if let Some((scope, follow)) = opened {
            self.open.answered(id, &scope, follow, former);
        }
    }

    /// An event of a topic.
    pub fn event(&mut self, now: MonotonicTime, seq: u64, event: Arc<TopicEvent>) {
        for one in self.open.named(&event.name) {
            let event = &event;
            one.handle(now, Input::Event { seq, event });
        }
    }

    /// Call when [`Topics::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.open.handle_timeout(now);
    }

    /// When to call [`Topics::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.open.poll_timeout()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if let Some(close) = self.open.poll_close() {
            return Some(Effect::Close(close));
        }
        self.open.iter_mut().find_map(|(id, one)| {
            let Ask { load, held } = one.poll_effect()?;
            Some(Effect::Open {
                id,
                load,
                target: Arc::clone(&one.target),
                held,
            })
        })
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.open.poll_transition()
    }

    /// The next batch for the readers of a topic: all readers that it has now.
    pub fn poll_batch(&mut self) -> Option<(OpenId, TopicBatch)> {
        self.open.iter_mut().find_map(|(id, one)| {
            if !one.is_read() {
                one.backlog.clear();
            }
            Some((id, one.backlog.take()?))
        })
    }

    /// Answers that came too late; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        self.open.stale()
    }

    /// Transitions outside the table, which were not made; nonzero is a defect.
    pub fn refused(&self) -> u64 {
        let open = self.open.iter();
        open.map(|one| u64::from(one.refused())).sum()
    }
}
