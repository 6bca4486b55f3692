//! An agent's timeline, as changes.

use std::sync::Arc;

use bowline_runtime::{self as runtime, TimelineView, machines, protocol};

use super::{agent::LoadFailure, intent::IntentFailure, millis, mirror, rev, small};

mirror! {
    /// What a timeline item is.
    ItemKind of protocol::ItemKind {
        /// What the user said.
        User,
        /// What the agent said.
        Message,
        /// What the agent thought aloud.
        Thought,
        /// A tool call.
        Tool,
        /// Output of a process.
        Output,
        /// A plan.
        Plan,
        /// A question to the user.
        Permission,
        /// Something went wrong; the text says what.
        Error,
        /// The end of a turn.
        TurnEnd,
    }
}

mirror! {
    /// How a turn ended.
    TurnStatus of protocol::model::TurnStatus {
        /// By itself and well.
        Completed,
        /// By itself, with a failure.
        Failed,
        /// The user cancelled it.
        Cancelled,
        /// The daemon went away under it.
        Interrupted,
    }
}

mirror! {
    /// Which output of a process.
    OutputStream of protocol::model::OutputStream {
        /// Standard output.
        Stdout,
        /// Standard error.
        Stderr,
    }
}

/// One entry of a timeline.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TimelineItem {
    /// Stable name.
    pub id: String,
    /// Position in the whole timeline, from 0.
    pub index: u32,
    /// What it is.
    pub kind: ItemKind,
    /// When it began: milliseconds since 1970, by the daemon's clock.
    pub at_ms: f64,
    /// Text so far.
    pub text: String,
    /// For output: of which stream.
    pub stream: Option<OutputStream>,
    /// For the end of a turn: how it ended.
    pub status: Option<TurnStatus>,
    /// For the end of a turn of a command: its exit status.
    pub exit_code: Option<i32>,
    /// The intent that caused it.
    pub intent_id: Option<String>,
}

impl From<&protocol::TimelineItem> for TimelineItem {
    fn from(item: &protocol::TimelineItem) -> Self {
        Self {
            id: item.id.to_string(),
            index: small(item.index),
            kind: item.kind.into(),
            at_ms: millis(item.at),
            text: item.text.clone(),
            stream: item.stream.map(Into::into),
            status: item.status.map(Into::into),
            exit_code: item.exit_code,
            intent_id: item.intent_id.map(|id| id.to_string()),
        }
    }
}

/// One change of a list. Places count from 0 in the list as the changes before this one left it.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum ListChange {
    /// Take so many rows out.
    Remove {
        /// The first of them.
        at: u32,
        /// How many.
        count: u32,
    },
    /// Put these rows in.
    Insert {
        /// The place of the first of them.
        at: u32,
        /// The rows.
        items: Vec<TimelineItem>,
    },
    /// Put another value in the place of a row.
    Update {
        /// Which row.
        at: u32,
        /// The row as it is now.
        item: TimelineItem,
    },
    /// The text of a row grew, and nothing else of it changed.
    Grow {
        /// Which row.
        at: u32,
        /// What to append to its text.
        text: String,
    },
}

impl From<&runtime::ListChange> for ListChange {
    fn from(change: &runtime::ListChange) -> Self {
        use runtime::ListChange as Core;
        match change {
            Core::Remove { at, count } => Self::Remove {
                at: small(*at),
                count: small(*count),
            },
            Core::Insert { at, items } => Self::Insert {
                at: small(*at),
                items: items.iter().map(|item| item.as_ref().into()).collect(),
            },
            Core::Update { at, item } => Self::Update {
                at: small(*at),
                item: item.as_ref().into(),
            },
            Core::Grow { at, text, .. } => Self::Grow {
                at: small(*at),
                text: text.clone(),
            },
        }
    }
}

/// A message on its way (UX-3).
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PendingMessage {
    /// The intent that sends it.
    pub intent_id: String,
    /// What was said.
    pub text: String,
    /// When: milliseconds since 1970, by this device's clock.
    pub at_ms: f64,
    /// The daemon has it: its item is on its way.
    pub delivered: bool,
}

impl From<&machines::optimistic::PendingMessage> for PendingMessage {
    fn from(message: &machines::optimistic::PendingMessage) -> Self {
        Self {
            intent_id: message.intent_id.to_string(),
            text: message.text.clone(),
            at_ms: millis(message.at),
            delivered: message.delivered,
        }
    }
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct FailedMessage {
    /// The intent that was to send it.
    pub intent_id: String,
    /// What was said, so that it can be said again.
    pub text: String,
    /// When: milliseconds since 1970, by this device's clock.
    pub at_ms: f64,
    /// Why.
    pub failure: IntentFailure,
}

impl From<&machines::optimistic::FailedMessage> for FailedMessage {
    fn from(message: &machines::optimistic::FailedMessage) -> Self {
        Self {
            intent_id: message.intent_id.to_string(),
            text: message.text.clone(),
            at_ms: millis(message.at),
            failure: (&message.error).into(),
        }
    }
}

/// What is before the first item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Older {
    /// Nothing: the timeline begins here.
    None,
    /// More, to be had with `load_older`.
    More,
    /// More, which is being fetched.
    Loading,
    /// More, which could not be fetched; asking again tries again.
    Failed {
        /// Why.
        error: LoadFailure,
    },
}

impl From<runtime::Older> for Older {
    fn from(older: runtime::Older) -> Self {
        match older {
            runtime::Older::None => Self::None,
            runtime::Older::More => Self::More,
            runtime::Older::Loading => Self::Loading,
            runtime::Older::Failed(error) => Self::Failed {
                error: error.into(),
            },
        }
    }
}

/// What is after the last item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Newer {
    /// Nothing: it is the newest, and what comes is appended.
    None,
    /// More, to be had with `load_newer` and, all at once, `jump_to_newest`.
    More,
    /// More, which is being fetched.
    Loading,
    /// More, which could not be fetched; asking again tries again.
    Failed {
        /// Why.
        error: LoadFailure,
    },
}

impl From<runtime::Newer> for Newer {
    fn from(newer: runtime::Newer) -> Self {
        match newer {
            runtime::Newer::None => Self::None,
            runtime::Newer::More => Self::More,
            runtime::Newer::Loading => Self::Loading,
            runtime::Newer::Failed(error) => Self::Failed {
                error: error.into(),
            },
        }
    }
}

/// What changed in a timeline. The changes are to be applied, in their order, to the list of `base_rev`; without one, to an empty
/// list.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TimelineUpdate {
    /// The list that this changes; none: an empty one.
    pub base_rev: Option<u32>,
    /// The list that comes of it.
    pub rev: u32,
    /// What changed in the list of items.
    pub changes: Vec<ListChange>,
    /// The messages on their way, if they are others than before: shown after the newest item.
    pub pending: Option<Vec<PendingMessage>>,
    /// The messages that were not taken, if they are others than before.
    pub failed: Option<Vec<FailedMessage>>,
    /// Whether a load ever succeeded (UX-1).
    pub loaded: bool,
    /// Whether it is being brought up to date (UX-2).
    pub catching_up: bool,
    /// What is before the first item.
    pub older: Older,
    /// What is after the last item: a view that grew too long at its beginning has lost rows at its end.
    pub newer: Newer,
    /// Grows when the daemon turns out to have another timeline under this name.
    pub replaced: u32,
    /// Why it is not up to date (UX-4).
    pub error: Option<LoadFailure>,
}

/// What makes `new` of what a subscriber has.
pub(crate) fn timeline_update(base: Option<&TimelineView>, new: &TimelineView) -> TimelineUpdate {
    let diff = new.diff(base);
    let pending = |messages: Arc<[Arc<machines::optimistic::PendingMessage>]>| {
        messages
            .iter()
            .map(|message| message.as_ref().into())
            .collect()
    };
    let failed = |messages: Arc<[Arc<machines::optimistic::FailedMessage>]>| {
        messages
            .iter()
            .map(|message| message.as_ref().into())
            .collect()
    };
    TimelineUpdate {
        base_rev: diff.base_rev.map(rev),
        rev: rev(diff.rev),
        changes: diff.changes.iter().map(Into::into).collect(),
        pending: diff.pending.map(pending),
        failed: diff.failed.map(failed),
        loaded: new.loaded,
        catching_up: new.catching_up,
        older: new.older.into(),
        newer: new.newer.into(),
        replaced: rev(new.replaced),
        error: new.error.map(Into::into),
    }
}
