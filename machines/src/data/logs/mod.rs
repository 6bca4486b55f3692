//! The logs of a host's services that an app follows (LD-2, LD-9).
//!
//! Each log is a collection ([`crate::data::collection`]) whose rows are its items, the newest
//! first: a first page is the newest one, more rows are older items, and what does not fit is left
//! out at the old end. Readers of the same log with the same parameters share one, as for tables
//! ([`crate::data::tables`]).
//!
//! **Items.** Events add items and let them grow, each exactly once; what is too large for an event
//! is fetched by index. What the daemon no longer keeps is dropped here as well.
//!
//! **Which log.** The first page says which key the parameters stand for. Events of the name that
//! come before it are kept until then, within a bound; beyond it the items are fetched again.
//!
//! **Bounds** are in [`LogsConfig`]. The bytes are shared by all open logs.

mod open;
mod row;
mod text;
mod view;

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use bowline_protocol::{
    Reason, SessionState,
    live::{LogAppended, LogGrown, LogPage},
};

pub use row::{Grown, LogGrowth, LogRow};
pub use text::GrownText;
pub use view::LogView;

use self::open::OpenLog;
use super::{
    collection::{self, CollectionConfig, Request},
    follows::{Close, Follows},
    load::LoadError,
    screen::Connectivity,
};
use crate::data::target::LiveTarget;
use crate::{Generation, MonotonicTime, Transition, effects::EffectQueue};

/// Bounds of a host's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogsConfig {
    /// Items wanted at first, and by each request for older ones.
    pub page: usize,
    /// Most items of a log: the newest ones. Older ones are left out ([`LogView::truncated`]).
    pub max_items: usize,
    /// Most open logs; further ones are refused.
    pub most_open: usize,
    /// Bytes shared by the items of all open logs: with more open logs each holds less.
    pub bytes: usize,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            page: 100,
            max_items: 20_000,
            most_open: 64,
            bytes: 64 << 20,
        }
    }
}

/// An open log of a host. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(u64);

/// The maximum of logs is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooManyLogs {
    /// The maximum.
    pub most: usize,
}

/// An event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// `log.appended`.
    Appended(LogAppended),
    /// `log.grown`.
    Grown(LogGrown),
}

impl LogEvent {
    fn name(&self) -> &str {
        match self {
            Self::Appended(event) => &event.name,
            Self::Grown(event) => &event.name,
        }
    }

    fn key(&self) -> &str {
        match self {
            Self::Appended(event) => &event.key,
            Self::Grown(event) => &event.key,
        }
    }

    /// Approximate bytes of memory.
    fn bytes(&self) -> usize {
        let around = size_of::<Self>() + self.name().len() + self.key().len();
        let items = |event: &LogAppended| -> usize {
            let items = event.items.iter();
            items.map(|item| item.value.get().len() + 64).sum()
        };
        around
            + match self {
                Self::Appended(event) => items(event),
                Self::Grown(event) => event.text.len() + event.field.len(),
            }
    }
}

/// Inputs of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Load a page of the items before the oldest one.
    LoadOlder,
    /// Fetch the items again.
    Refresh,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<LogPage, LoadError>,
    },
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request items by `live.open` or `live.page`, and report [`Input::Page`]; without a
    /// connection at once, with [`LoadError::Lost`]. The cursor of a page is the index that its
    /// items are before.
    Load {
        /// The log.
        id: LogId,
        /// Number of the load, to report with the result.
        load: Generation,
        /// What to request them of.
        target: Arc<LiveTarget>,
        /// The items.
        request: Request<Reverse<u64>>,
    },
    /// End following a log by `live.close`. A failure costs unneeded events until the next attach.
    Close(Close),
}

/// The logs of one host.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    config: LogsConfig,
    open: BTreeMap<LogId, OpenLog>,
    last: u64,
    /// How a new log learns the state of the connection.
    link: Link,
    effects: EffectQueue<Effect>,
    views: EffectQueue<(LogId, Arc<LogView>)>,
    follows: Follows,
}

/// The last that was said about the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// Nothing yet.
    #[default]
    Unknown,
    Attached,
    Lost(Reason),
}

impl Logs {
    /// No logs; `config` sets the bounds.
    pub fn new(config: LogsConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Opens a log for a reader, or returns the open one with the same target. One whose load
    /// failed is tried again.
    ///
    /// # Errors
    /// [`TooManyLogs`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(LogId, Arc<LogView>), TooManyLogs> {
        let same = self.open.iter_mut().find(|(_, one)| *one.target == target);
        if let Some((id, one)) = same {
            one.is_read = true;
            if one.rows.error().is_some() {
                one.rows.handle(now, collection::Input::Refresh);
            }
            return Ok((*id, Arc::clone(&one.view)));
        }
        if self.open.len() >= self.config.most_open {
            // Those that nobody reads any more make room.
            self.sweep();
        }
        if self.open.len() >= self.config.most_open {
            return Err(TooManyLogs {
                most: self.config.most_open,
            });
        }
        self.last += 1;
        let id = LogId(self.last);
        let config = CollectionConfig {
            page: self.config.page,
            max_rows: self.config.max_items,
            max_bytes: self.config.bytes,
        };
        let mut one = OpenLog::new(target, config);
        match self.link {
            Link::Unknown => {}
            // Nothing is held that a resumed session would continue.
            Link::Attached => one.attached(now, SessionState::Resumed),
            Link::Lost(reason) => {
                let lost = collection::Input::Disconnected { reason };
                one.rows.handle(now, lost);
            }
        }
        let view = Arc::clone(&one.view);
        self.open.insert(id, one);
        self.share();
        Ok((id, view))
    }

    /// The open log with this target.
    pub fn find(&self, target: &LiveTarget) -> Option<LogId> {
        let mut open = self.open.iter();
        open.find_map(|(id, one)| (*one.target == *target).then_some(*id))
    }

    /// The last reader of a log left.
    pub fn left(&mut self, id: LogId) {
        if let Some(one) = self.open.get_mut(&id) {
            one.is_read = false;
        }
    }

    /// Closes logs without readers. Call every few seconds.
    pub fn sweep(&mut self) {
        for close in self.follows.sweep(&mut self.open) {
            self.effects.push(Effect::Close(close));
        }
        self.share();
    }

    /// Assigns each log its share of the bytes.
    fn share(&mut self) {
        let share = self.config.bytes / self.open.len().max(1);
        for one in self.open.values_mut() {
            one.rows.set_max_bytes(share);
        }
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.link = Link::Attached;
        for one in self.open.values_mut() {
            one.attached(now, session);
        }
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason) {
        self.link = Link::Lost(reason);
        for one in self.open.values_mut() {
            one.rows
                .handle(now, collection::Input::Disconnected { reason });
        }
    }

    /// The host cannot be reached. Repetitions have no effect.
    pub fn unreachable(&mut self, now: MonotonicTime, reason: Reason) {
        for one in self.open.values_mut() {
            one.rows
                .handle(now, collection::Input::Unreachable { reason });
        }
    }

    /// Feeds an input for one log; one for a log that was closed has no effect.
    pub fn handle(&mut self, now: MonotonicTime, id: LogId, input: Input) {
        let Some(one) = self.open.get_mut(&id) else {
            return;
        };
        match input {
            Input::LoadOlder => one.rows.handle(now, collection::Input::LoadMore),
            Input::Refresh => one.rows.handle(now, collection::Input::Refresh),
            Input::Page { load, result } => {
                let is_opening = one.rows.running() == Some(load) && one.rows.is_opening();
                let page = result.as_ref().ok().filter(|_| is_opening);
                let opened = page.map(|page| (page.scope.clone(), page.follow));
                let former = one.page(now, load, result);
                if let Some((scope, follow)) = opened
                    && one.scope.as_ref() == Some(&scope)
                {
                    let name = &one.target.name;
                    self.follows.answered(name, &scope, follow, former);
                }
            }
        }
    }

    /// An event changed a log.
    pub fn changed(&mut self, now: MonotonicTime, seq: u64, event: &LogEvent) {
        let open = self.open.values_mut();
        for one in open.filter(|one| one.target.name == event.name()) {
            one.event(now, seq, event);
        }
    }

    /// Call when [`Logs::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        for one in self.open.values_mut() {
            one.rows.handle_timeout(now);
        }
    }

    /// When to call [`Logs::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let open = self.open.values();
        open.filter_map(|one| one.rows.poll_timeout()).min()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        // A later open of the same log would be undone by a close, so these come first.
        if let Some(effect) = self.effects.pop() {
            return Some(effect);
        }
        self.open.iter_mut().find_map(|(id, one)| {
            let collection::Effect::Load { load, request } = one.rows.poll_effect()?;
            Some(Effect::Load {
                id: *id,
                load,
                target: Arc::clone(&one.target),
                request,
            })
        })
    }

    /// The next transition record for the log of the program.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        let mut open = self.open.values_mut();
        let transition = open.find_map(|one| one.rows.poll_transition())?;
        Some(Transition {
            machine: "log_sync",
            ..transition
        })
    }

    /// Builds the newest views, for [`Logs::poll_view`]; each that differs from its predecessor
    /// gets the next revision. `host`: its status.
    pub fn publish(&mut self, host: Connectivity, rev: &mut u64) {
        for (id, one) in &mut self.open {
            let mut view = LogView::of(&one.rows, one.bounds, host, one.view.rev);
            if view.says_the_same(&one.view) {
                continue;
            }
            *rev += 1;
            view.rev = *rev;
            one.view = Arc::new(view);
            if one.is_read {
                self.views.push((*id, Arc::clone(&one.view)));
            }
        }
    }

    /// The next view for the readers of a log.
    pub fn poll_view(&mut self) -> Option<(LogId, Arc<LogView>)> {
        self.views.pop()
    }

    /// Results of loads that were over; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        let open = self.open.values();
        open.map(|one| u64::from(one.rows.stale())).sum()
    }
}
