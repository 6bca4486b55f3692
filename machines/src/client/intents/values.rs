//! Inputs, effects and settings of the intents machine.

use std::time::Duration;

use bowline_protocol::{AgentId, IntentId, ItemId, SessionState, error::RpcError};
use serde::{Deserialize, Serialize};

use super::TurnEffect;
use crate::{Attach, Generation, MonotonicTime};

/// Failed intents kept until the user dismisses them; beyond this number the oldest is forgotten.
pub const KEPT_FAILURES: usize = 32;
/// Outcomes in [`super::Intents::recent`]; older ones are removed.
const RECENT_OUTCOMES: usize = 64;

/// Times and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentsConfig {
    /// Most intents in flight at once; further ones wait.
    pub window: usize,
    /// Pause before an intent that the daemon refused as overloaded, or did not answer, is
    /// dispatched again, unless the daemon asked for a longer one.
    pub retry: Duration,
    /// Longest pause that the daemon can ask for.
    pub max_retry: Duration,
    /// Time after which a request without an answer is over (INV-12).
    pub answer_deadline: Duration,
    /// Time after which an undelivered cancel expires.
    pub cancel_memory: Duration,
    /// Time for which the daemon certainly keeps an outcome.
    pub outcome_memory: Duration,
    /// Failed intents kept until the user dismisses them; beyond this number the oldest is
    /// forgotten.
    pub kept_failures: usize,
    /// Most outcomes in [`super::Intents::recent`]; older ones are removed.
    pub recent: usize,
}

impl Default for IntentsConfig {
    fn default() -> Self {
        Self {
            window: 64,
            retry: Duration::from_millis(500),
            max_retry: Duration::from_secs(600),
            answer_deadline: Duration::from_secs(30),
            cancel_memory: Duration::from_secs(60),
            // 24 hours (`docs/protocol.md` §4), less a margin of one hour.
            outcome_memory: Duration::from_secs(23 * 3_600),
            kept_failures: KEPT_FAILURES,
            recent: RECENT_OUTCOMES,
        }
    }
}

/// An intent to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its id.
    pub id: IntentId,
    /// Its effect on an agent's turns.
    pub turn: TurnEffect,
    /// Its origin.
    pub origin: Origin,
}

/// Origin of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Submitted to this process.
    Submitted,
    /// Left on disk by an earlier process.
    Recovered {
        /// Time since its creation by the wall clock, the only clock shared with the earlier
        /// process.
        age: Duration,
        /// Whether it was ever sent.
        sent: bool,
    },
}

impl Origin {
    /// An intent left by an earlier process, created at `made`; both times are in milliseconds
    /// since the Unix epoch. The clock may have been set in between, so the absolute difference
    /// counts.
    pub const fn recovered(wall: i64, made: i64, sent: bool) -> Self {
        let age = Duration::from_millis(wall.saturating_sub(made).unsigned_abs());
        Self::Recovered { age, sent }
    }
}

/// Inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Intents are on disk and are to be sent, in this order. A known id changes nothing.
    Queued(Vec<Queued>),
    /// An earlier process left a failed intent, which is kept until the user dismisses it.
    Failed {
        /// The intent.
        id: IntentId,
    },
    /// The host attached to the session. Nothing is sent before the next [`Input::Link`].
    Attached {
        /// The welcome's session state.
        session: SessionState,
    },
    /// The attach under which requests are sent from now on; `None` while there is no connection.
    Link(Option<Attach>),
    /// A dispatch was answered, or is over.
    Answered {
        /// The intent.
        id: IntentId,
        /// The number of the dispatch.
        dispatch: Generation,
        /// The answer.
        answer: Answer,
    },
    /// A dispatch is in the connection's queue: the daemon may run it from now on.
    Sent {
        /// The intent.
        id: IntentId,
        /// The number of the dispatch.
        dispatch: Generation,
    },
    /// A dispatch was not sent: the connection's queue is full. Dispatches that the driver has not
    /// polled yet are taken back.
    NotSent {
        /// The intent.
        id: IntentId,
        /// The number of the dispatch.
        dispatch: Generation,
    },
    /// This device slept for this long, which the monotonic clock did not count
    /// ([`crate::liveness::SleepMeter`]): every intent is older by that time.
    Slept(Duration),
    /// The driver has processed [`Effect::Settled`].
    Noted {
        /// The intent.
        id: IntentId,
        /// Whether a screen displays it; a failure is then kept until it is dismissed.
        is_shown: bool,
    },
    /// The user dismissed the failure.
    Dismissed {
        /// The intent.
        id: IntentId,
    },
}

/// Result of one dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Result {
        /// The daemon's result, as JSON text.
        result: String,
        /// What screens show of it.
        made: Made,
        /// The number of the session's event by which its effects have been told, if the daemon
        /// says so.
        seq: Option<u64>,
    },
    /// The daemon's error.
    Error(RpcError),
    /// Does not fit into a message of this daemon; the text says why.
    Unsendable(String),
    /// No answer within the deadline.
    TimedOut,
    /// The connection ended first; delivery is unknown.
    Lost,
}

/// What an intent that was done made, of what screens show before it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// An agent.
    Agent(AgentId),
    /// A message, with its item if the daemon named it.
    Message(Option<ItemId>),
    /// Nothing of that kind, or nothing that could be read.
    #[default]
    Other,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Run, once.
    Done {
        /// The method's result, as JSON text.
        result: String,
    },
    /// The daemon refused it without an effect.
    Refused {
        /// The error.
        error: RpcError,
    },
    /// Not delivered within the time the daemon keeps outcomes (24 h; one minute for a cancel), and
    /// no longer sent: whether it ran is unknown.
    Expired,
    /// The host was removed while the intent waited.
    Abandoned,
}

/// Effects for the driver, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// If the active client's queue has room, record on disk that it is sent, queue it, and confirm
    /// with [`Input::Sent`], later [`Input::Answered`]; if not, report [`Input::NotSent`]. Confirm
    /// or report before any other input.
    Dispatch {
        /// The intent.
        id: IntentId,
        /// The number of this dispatch.
        dispatch: Generation,
    },
    /// Stop waiting for the answer; remove the request from the queue if it was not sent yet.
    Withdraw {
        /// The intent.
        id: IntentId,
    },
    /// Report the outcome to the caller and the screens, then feed [`Input::Noted`].
    Settled {
        /// The intent.
        id: IntentId,
        /// The outcome.
        outcome: Outcome,
        /// What it made, if it was done.
        made: Made,
        /// If it was done: its effects have been told by this event of the numbering in force. 0 if
        /// whatever is loaded from now on has them.
        seq: u64,
    },
    /// Keep the failure on disk.
    Keep {
        /// The intent.
        id: IntentId,
        /// The outcome.
        outcome: Outcome,
    },
    /// Remove it from disk.
    Forget {
        /// The intent.
        id: IntentId,
    },
    /// Report once why the daemon accepts no intents for a while, with the daemon's text: its disk
    /// is full (C8), or this device has sent more than its share (TR-12).
    Deferred {
        /// Text for people.
        message: String,
    },
}

/// Age of an event, counted by the monotonic clock from the time this process learned of it, and by
/// the wall clock while this device slept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    known: MonotonicTime,
    before: Duration,
}

impl Age {
    /// An event `before` before `now`.
    pub(super) const fn new(now: MonotonicTime, before: Duration) -> Self {
        Self { known: now, before }
    }

    /// The same event after `time` that the clock did not count.
    pub(super) const fn aged(self, time: Duration) -> Self {
        Self {
            known: self.known,
            before: self.before.saturating_add(time),
        }
    }

    /// Whether the age exceeds `limit`.
    pub(super) fn is_over(self, now: MonotonicTime, limit: Duration) -> bool {
        now >= self.reaches(limit)
    }

    /// When the age exceeds `limit`: one millisecond after it is equal.
    pub(super) fn reaches(self, limit: Duration) -> MonotonicTime {
        match limit.checked_sub(self.before) {
            Some(left) => self.known + left + Duration::from_millis(1),
            None => self.known,
        }
    }
}
