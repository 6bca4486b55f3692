//! One agent's timeline on the client, assembled from loads and events into one exact, growing
//! sequence (BX-2, INV-10).
//!
//! ```text
//!  Idle ──open──► CatchingUp ──loaded──► Live ◄──loaded/failed── LoadingMore (older, newer)
//!    ▲              │ ▲  ▲                │ └──load_older, load_newer──▲
//!    │ close  failed▼ │  └──reset, gap────┘
//!    └──────────── Failed  (retry, attached, open)
//! ```
//!
//! **Output.** A consumer receives [`Update`]s. Concatenated they are exactly the durable timeline:
//! each item once, each byte of its text once, in order, across lost connections, resets and
//! restarts of the client.
//!
//! **Method.** Indices have no gaps and events are numbered, so every item of the window has the
//! number of the event it is as of, and so has a page. An event applies to an item if it is newer
//! than the item. A page applies to a known item if it is newer; the additional text is passed on
//! as growth, since texts only ever grow.
//!
//! **Catching up.** After a reset, events may have been missed. Complete items (everything up to
//! the last end of a turn, and what users wrote) stay; from the first item that may have grown the
//! timeline is fetched again, and displayed items stay meanwhile. Events of items not yet fetched
//! are kept, within bounds; a page requested later contains them, so a new load starts with none
//! kept. A failed load continues where it stopped within the same session, since events have kept
//! its items exact. After missing more than [`TimelineConfig::catch_up_pages`] the newest page
//! replaces the list ([`Update::Restarted`]).
//!
//! **Bounds.** The window holds the newest [`TimelineConfig::max_items`] items and
//! [`TimelineConfig::max_bytes`] of text. Of an item that leaves it during its turn only the length
//! is kept, so that it still grows exactly. A consumer may hold more and bounds that itself: it
//! drops rows at either end and requests them again. One that dropped the newest is *detached*: it
//! receives no appended items until it is back at the end, page by page ([`Input::LoadMore`]) or
//! at once ([`Input::JumpToNewest`]). The items that it has still grow.
//!
//! The driver subscribes to the agent before it loads, see [`Effect::Load`]; otherwise an event
//! between the two would be lost.

mod reconcile;
mod transitions;
mod values;
mod window;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use bowline_protocol::TimelineItem;

use crate::{
    Generation, MonotonicTime,
    data::load::LoadError,
    effects::EffectQueue,
    machine_core::{MachineCore, outputs},
};
pub use values::{
    Asked, Effect, End, Happened, Input, Progress, Request, State, TimelineConfig, Update,
};
use window::Window;

/// An event that waits for the page with its item.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    seq: u64,
    happened: Happened,
}

/// The timeline machine.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    config: TimelineConfig,
    core: MachineCore<State, Effect>,
    /// Number of the newest load.
    generation: Generation,
    failures: u32,
    loaded: bool,
    window: Window,
    /// Newest event seen in this epoch; events arrive in order, so an older one was seen before.
    seen: u64,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// A load requested while another was running or there was no connection.
    wish: Option<End>,
    anomalies: u32,
    updates: EffectQueue<Update>,
}

impl Timeline {
    outputs!(State, Effect);

    /// Creates a timeline that was never opened.
    pub fn new(config: TimelineConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// The same with loads numbered after `last`, so that answers to an earlier timeline of the
    /// same agent are stale (INV-10).
    #[must_use]
    pub const fn numbered_after(mut self, last: Generation) -> Self {
        self.generation = last;
        self
    }

    /// Number of the newest load.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        // The only check for results of loads that are over (INV-10).
        if let Input::Page { load, .. } = input
            && self.running() != Some(load)
        {
            return self.core.count_stale();
        }
        self.transition(now, input);
    }

    /// Call when [`Timeline::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.expire(now);
    }

    /// When to call [`Timeline::handle_timeout`] next.
    pub const fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::CatchingUp { asked, .. } | State::LoadingMore { asked, .. } => {
                Some(asked.deadline)
            }
            State::Failed { retry_at, .. } => *retry_at,
            // No timer.
            State::Idle | State::Live { .. } => None,
        }
    }

    /// The next update for the consumer. Drain it after every input.
    pub fn poll_update(&mut self) -> Option<Update> {
        self.updates.pop()
    }

    /// Number of the running load.
    pub fn running(&self) -> Option<Generation> {
        self.state().asked().map(|_| self.generation)
    }

    /// The items of the window, for a new consumer; later updates continue from them. Older items
    /// are loaded again on request ([`Input::LoadMore`]). Costs a copy of the window.
    pub fn restart_consumer(&mut self) -> Vec<Arc<TimelineItem>> {
        while self.updates.pop().is_some() {}
        self.wish = None;
        self.window.restart_consumer()
    }

    /// Index of the first item held. A consumer that drops older items keeps those from here on.
    pub const fn held_from(&self) -> u64 {
        self.window.first()
    }

    /// The consumer dropped the items before `index`, at most those before [`Timeline::held_from`];
    /// it may request them again.
    pub fn consumer_dropped_before(&mut self, index: u64) {
        self.window.consumer_dropped_before(index);
    }

    /// The consumer dropped the items from `index` on and is detached until it is back at the end.
    pub fn consumer_dropped_from(&mut self, index: u64) {
        self.window.consumer_dropped_from(index);
    }

    /// Whether the consumer lacks the newest items.
    pub const fn is_detached(&self) -> bool {
        self.window.is_detached()
    }

    /// Keeps only the newest items within both bounds while the timeline is not open: enough for a
    /// screen that is opened again (UX-2). Does nothing while it is open.
    pub fn shrink(&mut self, max_items: usize, max_bytes: usize) {
        if *self.state() == State::Idle {
            self.window.shrink(&TimelineConfig {
                max_items,
                max_bytes,
                ..self.config
            });
        }
    }

    /// Bounds the bytes of text held; older items leave the window.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.config.max_bytes = max_bytes;
        self.window.trim(&self.config);
    }

    /// Whether items at that end are being fetched, or will be once the timeline is current.
    pub fn is_loading_more(&self, at: End) -> bool {
        let is_running = matches!(self.state(), State::LoadingMore { end, .. } if *end == at);
        is_running || (self.running().is_some() && self.wish == Some(at))
    }

    /// Error of the last load of items at that end, until the next one.
    pub fn load_more_error(&self, at: End) -> Option<LoadError> {
        match self.state() {
            State::Live {
                failed: Some((end, error)),
            } if *end == at => Some(*error),
            _ => None,
        }
    }

    /// Whether the held items are consistent: none of them is being fetched again.
    pub const fn is_exact(&self) -> bool {
        matches!(self.state(), State::Live { .. } | State::LoadingMore { .. })
    }

    /// Whether any load succeeded (UX-1).
    pub const fn has_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether the timeline is catching up (UX-2). Loading older items does not count.
    pub const fn is_catching_up(&self) -> bool {
        matches!(self.state(), State::CatchingUp { .. })
    }

    /// Why it is not current (UX-4).
    pub const fn error(&self) -> Option<LoadError> {
        if let State::Failed { error, .. } = self.state() {
            Some(*error)
        } else {
            None
        }
    }

    /// Whether there are items before those of the consumer.
    pub const fn has_older(&self) -> bool {
        self.window.has_older()
    }

    /// Index of the next item.
    pub fn end(&self) -> u64 {
        self.window.end()
    }

    /// Items before this index are complete: their texts do not grow any more.
    pub const fn complete_to(&self) -> u64 {
        self.window.complete_to()
    }

    /// An item of the window.
    pub fn item(&self, index: u64) -> Option<&TimelineItem> {
        self.window.item(index)
    }

    /// Events and pages that contradicted known items; nonzero is a defect of the peer.
    pub const fn anomalies(&self) -> u32 {
        self.anomalies
    }
}
