//! One agent's timeline on the client: loads and events become one exact, growing sequence (BX-2, INV-10).
//!
//! ```text
//!  Idle ──open──► CatchingUp ──loaded──► Live ◄──loaded/failed── LoadingOlder, LoadingNewer
//!    ▲              │ ▲  ▲                │ └──load_older, load_newer──▲
//!    │ close  failed▼ │  └──reset, gap────┘
//!    └──────────── Failed  (retry, attached, open)
//! ```
//!
//! **What a consumer gets** are [`Update`]s. Concatenated they are exactly the durable timeline: each item once, each byte of
//! its text once, in order, whatever happened to connections, sessions and the client in between.
//!
//! **How.** Indices have no gaps and events are numbered, so every item of the window carries the number of the event it is as of;
//! a page says as of which event its items are. An event applies to an item if it is newer than the item. A page applies to
//! a known item if it is newer, and then what its text has more is passed on as growth, since texts only ever grow.
//!
//! **Catching up.** After a reset nothing is known of what happened while nobody was looking. What is complete (everything up to the
//! last end of a turn, and what users said) stays as it is; from the first item that may have grown on the timeline is
//! fetched again, without taking anything away that is shown. Meanwhile events of items not yet fetched are kept,
//! bounded; a page that is asked for later contains them, so a new load starts with nothing kept. A load that failed goes on
//! where it stopped as long as the session does, since events have kept exact what it had fetched. Who was away for more than
//! [`TimelineConfig::catch_up_pages`] is given the newest page instead of all that lies between ([`Update::Restarted`]).
//!
//! **Bounds.** The window holds the newest [`TimelineConfig::max_items`] items and [`TimelineConfig::max_bytes`] of text. Of an
//! item that leaves it while its turn goes on only the length is remembered, so that it still grows exactly.
//! What a consumer has may be longer, and it bounds that itself: it gives up rows at either end and asks for them again. One
//! that gave up the newest is *detached*: items that are appended are not told it until it has come back to the end, page by
//! page ([`Input::LoadNewer`]) or at once ([`Timeline::restart_consumer`]). What it has grows all the while.
//!
//! The driver subscribes to the agent before it loads, see [`Effect::Load`]; otherwise an event could fall in between.

mod reconcile;
mod transitions;
mod values;
mod window;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use bowline_protocol::TimelineItem;

use crate::{Generation, Moment, Transition, load::LoadError, outbox::Outbox};
pub use values::{Effect, Happened, Input, Progress, Request, State, TimelineConfig, Update};
use window::Window;

/// A load that was asked for while another was running or there was no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wish {
    Older,
    Newer,
}

/// An event that waits for the page with its item.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    seq: u64,
    happened: Happened,
}

/// The timeline machine.
#[derive(Clone, Debug)]
pub struct Timeline {
    config: TimelineConfig,
    state: State,
    generation: Generation,
    failures: u32,
    loaded: bool,
    window: Window,
    /// Newest event seen in this epoch; events come in order, so an older one came before.
    seen: u64,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    wish: Option<Wish>,
    stale: u32,
    refused: u32,
    anomalies: u32,
    effects: Outbox<Effect>,
    transitions: Outbox<Transition>,
    updates: Outbox<Update>,
}

impl Timeline {
    /// A timeline that nobody has looked at.
    pub fn new(config: TimelineConfig) -> Self {
        Self {
            config,
            state: State::Idle,
            generation: Generation::ZERO,
            failures: 0,
            loaded: false,
            window: Window::default(),
            seen: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            wish: None,
            stale: 0,
            refused: 0,
            anomalies: 0,
            effects: Outbox::default(),
            transitions: Outbox::default(),
            updates: Outbox::default(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.is_stale(&input) {
            self.stale = self.stale.saturating_add(1);
            return;
        }
        self.transition(now, input);
    }

    /// To be called when [`Timeline::poll_timeout`] has passed. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.expire(now);
    }

    /// When [`Timeline::handle_timeout`] wants to be called.
    pub const fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            State::CatchingUp { deadline, .. }
            | State::LoadingOlder { deadline, .. }
            | State::LoadingNewer { deadline, .. } => Some(deadline),
            State::Failed { retry_at, .. } => retry_at,
            // Nothing is awaited.
            State::Idle | State::Live { .. } => None,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// The next update for the consumer. To be drained after every input.
    pub fn poll_update(&mut self) -> Option<Update> {
        self.updates.pop()
    }

    /// The next record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Where the timeline stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The items of the window, for a consumer that begins now; from here on the updates go on from them. Older items that
    /// have left the window are loaded again when it asks ([`Input::LoadOlder`]). Costs a copy of the window.
    pub fn restart_consumer(&mut self) -> Vec<Arc<TimelineItem>> {
        while self.updates.pop().is_some() {}
        self.wish = None;
        self.window.restart_consumer()
    }

    /// Index of the first item that is held. A consumer that drops older ones drops none of those.
    pub const fn held_from(&self) -> u64 {
        self.window.first()
    }

    /// The consumer has dropped the items before that index, at most those before [`Timeline::held_from`]; it may ask for them
    /// again.
    pub fn consumer_dropped_before(&mut self, index: u64) {
        self.window.consumer_dropped_before(index);
    }

    /// The consumer has dropped the items from that index on: it is detached until it has come back to the end.
    pub fn consumer_dropped_from(&mut self, index: u64) {
        self.window.consumer_dropped_from(index);
    }

    /// Whether the consumer lacks the newest items.
    pub const fn is_detached(&self) -> bool {
        self.window.is_detached()
    }

    /// Keeps only so many of the newest items, and so many bytes of text, while nobody looks at it: enough for a screen that is
    /// opened again (UX-2). Does nothing while somebody looks.
    pub fn shrink(&mut self, max_items: usize, max_bytes: usize) {
        if self.state == State::Idle {
            self.window.shrink(&TimelineConfig {
                max_items,
                max_bytes,
                ..self.config
            });
        }
    }

    /// Bounds the bytes of text that are held; what is over leaves the window.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.config.max_bytes = max_bytes;
        self.window.trim(&self.config);
    }

    /// Whether older items are being fetched, or will be as soon as it is up to date.
    pub const fn is_loading_older(&self) -> bool {
        matches!(self.state, State::LoadingOlder { .. })
            || (self.is_loading() && matches!(self.wish, Some(Wish::Older)))
    }

    /// Whether newer items are being fetched for a detached consumer, or will be as soon as it is up to date.
    pub const fn is_loading_newer(&self) -> bool {
        matches!(self.state, State::LoadingNewer { .. })
            || (self.is_loading() && matches!(self.wish, Some(Wish::Newer)))
    }

    const fn is_loading(&self) -> bool {
        self.running().is_some()
    }

    /// Whether what is held is consistent: nothing of it is being fetched again.
    pub const fn is_exact(&self) -> bool {
        matches!(
            self.state,
            State::Live { .. } | State::LoadingOlder { .. } | State::LoadingNewer { .. }
        )
    }

    /// Why older items could not be had, until they are asked for again.
    pub const fn older_error(&self) -> Option<LoadError> {
        match self.state {
            State::Live { older_error, .. } => older_error,
            State::Idle
            | State::CatchingUp { .. }
            | State::LoadingOlder { .. }
            | State::LoadingNewer { .. }
            | State::Failed { .. } => None,
        }
    }

    /// Why newer items could not be had, until they are asked for again.
    pub const fn newer_error(&self) -> Option<LoadError> {
        match self.state {
            State::Live { newer_error, .. } => newer_error,
            State::Idle
            | State::CatchingUp { .. }
            | State::LoadingOlder { .. }
            | State::LoadingNewer { .. }
            | State::Failed { .. } => None,
        }
    }

    /// Whether a load ever succeeded (UX-1).
    pub const fn has_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether it is being brought up to date (UX-2). Loading older items is not that.
    pub const fn is_catching_up(&self) -> bool {
        matches!(self.state, State::CatchingUp { .. })
    }

    /// Why it is not up to date (UX-4).
    pub const fn error(&self) -> Option<LoadError> {
        match self.state {
            State::Failed { error, .. } => Some(error),
            State::Idle
            | State::CatchingUp { .. }
            | State::Live { .. }
            | State::LoadingOlder { .. }
            | State::LoadingNewer { .. } => None,
        }
    }

    /// Whether there is anything to show.
    pub fn has_items(&self) -> bool {
        !self.window.is_empty()
    }

    /// Whether there are items before those that the consumer has.
    pub const fn has_older(&self) -> bool {
        self.window.has_older()
    }

    /// Index that the next item will have.
    pub fn end(&self) -> u64 {
        self.window.end()
    }

    /// Items before this index are complete: no text of theirs grows any more.
    pub const fn complete_to(&self) -> u64 {
        self.window.complete_to()
    }

    /// An item of the window.
    pub fn item(&self, index: u64) -> Option<&TimelineItem> {
        self.window.item(index)
    }

    /// How many results came for a load that is over; they changed nothing (INV-10).
    pub const fn stale(&self) -> u32 {
        self.stale
    }

    /// How many events and pages contradicted what was known: a defect of the peer if not zero.
    pub const fn anomalies(&self) -> u32 {
        self.anomalies
    }

    /// How many changes of state were not in the table and did not happen: a defect if not zero.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}
