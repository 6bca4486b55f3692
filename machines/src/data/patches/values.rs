//! What an intent is expected to do to rows and logs, its bounds, and what a row says of it.

use std::fmt;

use bowline_protocol::{
    IntentId,
    extension::is_live_name,
    limits,
    live::{Json, Scope},
};
use serde::{Deserialize, Serialize};

use crate::data::target::LiveTarget;
use crate::{client::intents::Outcome, data::optimistic::IntentFailure};

/// Most patches of an intent.
pub const MAX_PATCHES: usize = 64;
/// Most bytes of all patches of an intent: names, parameters, keys and values.
pub const MAX_PATCH_BYTES: usize = 64 << 10;

/// What an intent is expected to do to one row of a table, or to add to a log (LD-3). Data, so that
/// it is kept with the intent on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// The table's name; of [`PatchChange::Append`], the log's.
    pub table: String,
    /// The parameters with which the table is followed. They say where the row is shown until the
    /// daemon has said which keys they stand for; then it is shown in every followed table of that
    /// name that covers the key. An item is shown in the log that is followed with the same ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
    /// The row's key; empty with [`PatchChange::Append`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The expected change.
    pub change: PatchChange,
}

/// The expected change of a row, or of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PatchChange {
    /// The row has this value, whether or not it was there.
    Upsert(Json),
    /// These members of the row's value are replaced or added. Without a row, or over a value that
    /// is no object, nothing is shown of it.
    Merge(Json),
    /// The row is gone.
    Remove,
    /// An item with this value is added at the end of the log.
    Append(Json),
}

/// Patches that an intent cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// More than [`MAX_PATCHES`].
    TooMany,
    /// More than [`MAX_PATCH_BYTES`]: this many.
    TooLarge(usize),
    /// No name of a table or log.
    Table(String),
    /// A key that is empty, or longer than [`limits::MAX_KEY`].
    Key(String),
    /// What is added to this log has a key.
    Keyed(String),
    /// Parameters of more than [`limits::LIVE_PARAMS_BYTES`].
    Params(String),
    /// The members to merge are not a JSON object.
    Fields(String),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "an intent has at most {MAX_PATCHES} patches"),
            Self::TooLarge(bytes) => write!(
                f,
                "the patches of an intent have at most {MAX_PATCH_BYTES} bytes, these have {bytes}"
            ),
            Self::Table(name) => write!(f, "{name:?} names no table or log"),
            Self::Keyed(name) => write!(f, "what is added to the log {name} has no key"),
            Self::Key(key) => write!(
                f,
                "a key has 1 to {} bytes, {:?} has {}",
                limits::MAX_KEY,
                key.chars().take(64).collect::<String>(),
                key.len()
            ),
            Self::Params(name) => write!(
                f,
                "the parameters of {name} have more than {} bytes",
                limits::LIVE_PARAMS_BYTES
            ),
            Self::Fields(key) => write!(f, "what is merged into {key:?} is no JSON object"),
        }
    }
}

impl std::error::Error for PatchError {}

impl Patch {
    /// Whether it is shown in a table: one whose scope covers the key, or, as long as the scope is
    /// not known, one with the same target.
    pub(in crate::data) fn concerns(&self, target: &LiveTarget, scope: Option<&Scope>) -> bool {
        self.table == target.name
            && match scope {
                Some(scope) if !self.is_append() => scope.covers(&self.key),
                // No key says which log it is.
                Some(_) | None => self.params == target.params,
            }
    }

    /// Whether it is of a log.
    const fn is_append(&self) -> bool {
        matches!(self.change, PatchChange::Append(_))
    }

    fn bytes(&self) -> usize {
        let value = match &self.change {
            PatchChange::Upsert(json) | PatchChange::Merge(json) | PatchChange::Append(json) => {
                json.get().len()
            }
            PatchChange::Remove => 0,
        };
        let params = self.params.as_ref().map_or(0, |json| json.get().len());
        let lengths = [self.table.len(), params, self.key.len(), value];
        lengths.into_iter().fold(0, usize::saturating_add)
    }
}

/// Checks the patches of one intent.
///
/// # Errors
/// [`PatchError`] for the first bound that is exceeded.
pub fn check(patches: &[Patch]) -> Result<(), PatchError> {
    if patches.len() > MAX_PATCHES {
        return Err(PatchError::TooMany);
    }
    for patch in patches {
        if !is_live_name(&patch.table) {
            return Err(PatchError::Table(patch.table.clone()));
        }
        if patch.is_append() {
            if !patch.key.is_empty() {
                return Err(PatchError::Keyed(patch.table.clone()));
            }
        } else if patch.key.is_empty() || patch.key.len() > limits::MAX_KEY {
            return Err(PatchError::Key(patch.key.clone()));
        }
        let params = patch.params.as_ref().map_or(0, |json| json.get().len());
        if params > limits::LIVE_PARAMS_BYTES {
            return Err(PatchError::Params(patch.table.clone()));
        }
        if let PatchChange::Merge(fields) = &patch.change
            && !fields.get().starts_with('{')
        {
            return Err(PatchError::Fields(patch.key.clone()));
        }
    }
    let bytes = patches.iter().map(Patch::bytes);
    match bytes.fold(0, usize::saturating_add) {
        bytes if bytes > MAX_PATCH_BYTES => Err(PatchError::TooLarge(bytes)),
        _ => Ok(()),
    }
}

/// Why an intent that concerned a row failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// The intent, to dismiss the failure or to repeat what was asked for.
    pub intent_id: IntentId,
    /// The error.
    pub error: IntentFailure,
}

/// How an intent with patches ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It was done, and this event of the numbering in force has told its effects; 0: whatever is
    /// loaded from now on has them.
    Done {
        /// The event's number.
        seq: u64,
    },
    /// It failed.
    Failed(IntentFailure),
    /// It is gone without an outcome.
    Dropped,
}

impl Conclusion {
    /// What rows make of an intent's end; `seq` as in [`Conclusion::Done`].
    pub fn new(outcome: &Outcome, seq: u64) -> Self {
        match outcome {
            Outcome::Done { .. } => Self::Done { seq },
            Outcome::Refused { error } => Self::Failed(IntentFailure::Refused(error.clone())),
            Outcome::Expired => Self::Failed(IntentFailure::Expired),
            Outcome::Abandoned => Self::Dropped,
        }
    }
}

/// Inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An intent with patches is on disk. A known one changes nothing.
    Queued {
        /// The intent.
        intent_id: IntentId,
        /// Its time of creation in milliseconds, greater than that of every earlier intent of the
        /// process: patches of one row lie in this order.
        at: i64,
        /// Its patches, which [`check`] has passed.
        patches: Vec<Patch>,
    },
    /// It ended.
    Concluded {
        /// The intent.
        intent_id: IntentId,
        /// How.
        conclusion: Conclusion,
    },
    /// Its failure was dismissed, or is one too many.
    Dismissed {
        /// The intent.
        intent_id: IntentId,
    },
}

impl Input {
    /// What of it concerns tables, and what logs.
    pub(in crate::data) fn split(self) -> (Self, Self) {
        match self {
            Self::Queued {
                intent_id,
                at,
                patches,
            } => {
                let (appends, rows) = patches.into_iter().partition(Patch::is_append);
                let queued = |patches| Self::Queued {
                    intent_id,
                    at,
                    patches,
                };
                (queued(rows), queued(appends))
            }
            Self::Concluded { .. } | Self::Dismissed { .. } => (self.clone(), self),
        }
    }
}
