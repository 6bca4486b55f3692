//! The open intents of one host: when each is sent, and what its answer means (BX-1).
//!
//! ```text
//!   queued ──► waiting ◄──────── pause: overloaded, rate limited, disk full, no answer ───┐
//!               │   ▲                                                                     │
//!               │   └─────────── later attach: the connection ended under it ─────────┐   │
//!               │                                                                     │   │
//!               ├──dispatched──► in flight ──transient error, lost, deadline──────────┴───┘
//!               │                    └──result, final error──► settled ──noted──► forgotten
//!               └──in doubt, late cancel──► settled (expired)     └─noted, shown─► failed
//!                                                                                   └──dismissed, too many──► forgotten
//! ```
//!
//! * **In order.** Intents are sent in the order of their creation, up to the window at once. An
//!   intent that has to wait blocks only later ones of the same agent (`order`).
//! * **Once.** An intent keeps its id, and the daemon runs an id once. At most one dispatch of it
//!   is in flight. It is sent again after a pause if the daemon defers it or does not answer, and
//!   under the next attach if the connection ended.
//! * **In doubt.** The daemon keeps outcomes for a day, and only as long as their session. When a
//!   new session begins, an intent first sent longer ago may have run without a kept outcome: it
//!   expires instead of running twice.
//! * **Late.** A cancel that was not delivered within a minute expires: it could end a later turn
//!   than the intended one.
//!
//! [`RpcError::is_final`] decides whether an error is final. The driver owns the disk: an intent
//! stays on it until [`Effect::Forget`], so after a crash it is loaded and queued as
//! [`Origin::Recovered`]. The number of open intents is bounded where they are accepted.
//!
//! Intents have no transitions to poll; the log line of an intent is its end.

mod order;
mod transitions;
mod values;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bowline_protocol::{IntentId, RpcReason, error::RpcError};

pub use order::TurnEffect;
pub use values::{
    Answer, Effect, Input, IntentsConfig, KEPT_FAILURES, Made, Origin, Outcome, Queued,
};

use crate::{Attach, Generation, MonotonicTime, effects::EffectQueue};
use values::Age;

/// The open intents of one host.
#[derive(Clone, Debug)]
pub struct Intents {
    config: IntentsConfig,
    /// Keyed by order of creation.
    open: BTreeMap<u64, Entry>,
    positions: HashMap<IntentId, u64>,
    next_position: u64,
    in_flight: usize,
    dispatches: Generation,
    /// The last dispatch before the session's events began another numbering.
    renumbered: Generation,
    /// The attach under which requests are sent; none while there is no connection.
    link: Option<Attach>,
    /// The connection's request queue was full; nothing is dispatched before this time.
    full_until: Option<MonotonicTime>,
    /// Settled but not yet noted by the driver; with the outcome of those that failed.
    settled: BTreeMap<IntentId, Option<Outcome>>,
    /// Failed intents, kept until the user dismisses them; oldest first.
    failures: VecDeque<IntentId>,
    /// The last outcomes, oldest first.
    recent: Arc<[(IntentId, Outcome)]>,
    /// Why intents must wait, as told since the last success: the reasons and their quotas.
    told: Vec<(RpcReason, Option<String>)>,
    effects: EffectQueue<Effect>,
    stale: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    id: IntentId,
    turn: TurnEffect,
    made: Age,
    /// When it was first sent, if it was.
    sent: Option<Age>,
    /// The daemon may have run it without a kept outcome.
    is_in_doubt: bool,
    state: State,
}

/// State of an open intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be sent.
    Waiting {
        /// Not before this time.
        pause: Option<MonotonicTime>,
        /// Only under a later attach than this one.
        after: Attach,
    },
    /// Sent; ends with the answer or at the deadline.
    InFlight {
        /// The attach it was sent under.
        attach: Attach,
        /// The number of the dispatch.
        dispatch: Generation,
        /// When it ends without an answer.
        deadline: MonotonicTime,
    },
}

impl Intents {
    /// No intent is open.
    pub fn new(config: IntentsConfig) -> Self {
        Self {
            config,
            open: BTreeMap::new(),
            positions: HashMap::new(),
            next_position: 0,
            in_flight: 0,
            dispatches: Generation::ZERO,
            renumbered: Generation::ZERO,
            link: None,
            full_until: None,
            settled: BTreeMap::new(),
            failures: VecDeque::new(),
            recent: Arc::default(),
            told: Vec::new(),
            effects: EffectQueue::default(),
            stale: 0,
        }
    }

    /// When to call [`Intents::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let open = self.open.values();
        open.filter_map(|entry| self.deadline(entry))
            .chain(self.full_until)
            .min()
    }

    fn deadline(&self, entry: &Entry) -> Option<MonotonicTime> {
        match entry.state {
            State::InFlight { deadline, .. } => Some(deadline),
            State::Waiting { pause, .. } => {
                let late = matches!(entry.turn, TurnEffect::Cancel(_))
                    .then(|| entry.made.reaches(self.config.cancel_memory));
                [pause, late].into_iter().flatten().min()
            }
        }
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Number of intents without an outcome.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether every intent has its outcome.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// State of an intent without an outcome.
    pub fn state(&self, id: IntentId) -> Option<State> {
        let position = self.positions.get(&id)?;
        self.open.get(position).map(|entry| entry.state)
    }

    /// Number of intents dispatched and not answered.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Failed intents kept until the user dismisses them, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = IntentId> {
        self.failures.iter().copied()
    }

    /// The last outcomes, oldest first.
    pub const fn recent(&self) -> &Arc<[(IntentId, Outcome)]> {
        &self.recent
    }

    /// Answers to dispatches that were already over, which changed nothing (INV-10).
    pub const fn stale(&self) -> u64 {
        self.stale
    }
}
