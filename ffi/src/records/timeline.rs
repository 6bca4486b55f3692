//! An agent's timeline, as changes.

use std::time::SystemTime;

use bowline_runtime::{self as runtime, TimelineView, machines::data::optimistic, protocol};

use super::{
    agent::LoadFailure,
    all,
    intent::IntentFailure,
    list::{Crossing, ListChange},
    mirror, rev, small, time,
};

mirror! {
    /// Kind of a timeline item.
    ItemKind of protocol::ItemKind {
        /// A message of the user.
        User,
        /// A message of the agent.
        Message,
        /// Reasoning of the agent.
        Thought,
        /// A tool call.
        Tool,
        /// Output of a process.
        Output,
        /// A plan.
        Plan,
        /// A question to the user.
        Permission,
        /// An error; the text describes it.
        Error,
        /// The end of a turn.
        TurnEnd,
    }
}

mirror! {
    /// How a turn ended.
    TurnStatus of protocol::model::TurnStatus {
        /// Completed.
        Completed,
        /// Failed.
        Failed,
        /// The user cancelled it.
        Cancelled,
        /// The daemon stopped during the turn.
        Interrupted,
    }
}

mirror! {
    /// Stream of a process's output.
    OutputStream of protocol::model::OutputStream {
        /// Standard output.
        Stdout,
        /// Standard error.
        Stderr,
    }
}

mirror! {
    /// One entry of a timeline.
    TimelineItem of item: &protocol::TimelineItem {
        /// Stable id.
        id: String = item.id.to_string(),
        /// Position in the whole timeline, from 0.
        index: u32 = small(item.index),
        /// Its kind.
        kind: ItemKind = item.kind.into(),
        /// Start time, by the daemon's clock.
        at: SystemTime = time(item.at),
        /// Text so far.
        text: String = item.text.clone(),
        /// Bytes of text that the daemon no longer keeps: show that there was something. Zero
        /// while it is kept.
        dropped_bytes: u32 = small(item.dropped_bytes),
        /// Stream, for output.
        stream: Option<OutputStream> = item.stream.map(Into::into),
        /// How the turn ended, for the end of a turn.
        status: Option<TurnStatus> = item.status.map(Into::into),
        /// Exit status, for the end of a command's turn.
        exit_code: Option<i32> = item.exit_code,
        /// The intent that caused it, if any.
        intent_id: Option<String> = item.intent_id.map(|id| id.to_string()),
    }
}

mirror! {
    /// A message being sent (UX-3).
    PendingMessage of message: &optimistic::PendingMessage {
        /// The intent that sends it.
        intent_id: String = message.intent_id.to_string(),
        /// The text.
        text: String = message.text.clone(),
        /// Time, by this device's clock.
        at: SystemTime = time(message.at),
        /// Whether the daemon has it: its item follows.
        delivered: bool = message.delivered,
    }
}

mirror! {
    /// A message whose delivery failed.
    FailedMessage of message: &optimistic::FailedMessage {
        /// The intent of the message.
        intent_id: String = message.intent_id.to_string(),
        /// The text, so that it can be sent again.
        text: String = message.text.clone(),
        /// Time, by this device's clock.
        at: SystemTime = time(message.at),
        /// The reason.
        failure: IntentFailure = (&message.error).into(),
    }
}

mirror! {
    /// Content before the first item.
    Older of runtime::Beyond {
        /// None: the timeline begins here.
        None,
        /// More, loaded by `load_older`.
        More,
        /// More, which is loading.
        Loading,
        /// More, which failed to load; `load_older` retries.
        Failed {
            /// The reason.
            error: LoadFailure,
        },
    }
}

mirror! {
    /// Content after the last item.
    Newer of runtime::Beyond {
        /// None: this is the newest item, and new ones are appended.
        None,
        /// More, loaded by `load_newer`, or skipped by `jump_to_newest`.
        More,
        /// More, which is loading.
        Loading,
        /// More, which failed to load; `load_newer` retries.
        Failed {
            /// The reason.
            error: LoadFailure,
        },
    }
}

/// The changes of a timeline since the listener's last update.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TimelineUpdate {
    /// Revision of the list that the changes apply to; none: an empty list.
    pub base_rev: Option<u32>,
    /// Revision of the resulting list.
    pub rev: u32,
    /// Changes of the list, in the order in which they apply.
    pub changes: Vec<ListChange>,
    /// The rows of all insertions and replacements in `changes`, in order of use.
    pub rows: Vec<TimelineItem>,
    /// The messages being sent, if they changed: shown after the newest item.
    pub pending: Option<Vec<PendingMessage>>,
    /// The messages whose delivery failed, if they changed.
    pub failed: Option<Vec<FailedMessage>>,
    /// Whether a load ever succeeded (UX-1).
    pub loaded: bool,
    /// Whether it is being refreshed (UX-2).
    pub catching_up: bool,
    /// Content before the first item.
    pub older: Older,
    /// Content after the last item: a view that grew too long at its beginning drops rows at its
    /// end.
    pub newer: Newer,
    /// Grows when the daemon has another timeline under this id.
    pub replaced: u32,
    /// Why it may be stale (UX-4).
    pub error: Option<LoadFailure>,
}

/// The changes from the listener's value to the new one.
impl From<(Option<&TimelineView>, &TimelineView)> for TimelineUpdate {
    fn from((base, new): (Option<&TimelineView>, &TimelineView)) -> Self {
        let diff = new.diff(base);
        let items = Crossing::from(diff.items);
        Self {
            base_rev: items.base_rev,
            rev: items.rev,
            changes: items.changes,
            rows: items.rows,
            pending: diff.pending.map(|messages| all(&messages)),
            failed: diff.failed.map(|messages| all(&messages)),
            loaded: new.loaded,
            catching_up: new.catching_up,
            older: new.older.into(),
            newer: new.newer.into(),
            replaced: rev(new.replaced),
            error: new.error.map(Into::into),
        }
    }
}
