//! Intents: what an app asks to be done, and what became of it.

use bowline_runtime::{self as runtime, Outcome, machines, protocol};
use protocol::IntentId;

use crate::error::{BowlineError, error};

/// Longest result that an outcome in a snapshot carries, in bytes: snapshots are copied whole.
const RESULT_BYTES: usize = 4 << 10;

/// Something to be done, once.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Intent {
    /// Makes an agent.
    CreateAgent {
        /// A provider's configured name.
        provider: String,
        /// Absolute working directory on the daemon's machine.
        cwd: String,
        /// For people.
        title: Option<String>,
        /// First prompt.
        prompt: Option<String>,
    },
    /// Sends a prompt.
    SendPrompt {
        /// To whom.
        agent_id: String,
        /// The prompt.
        text: String,
    },
    /// Ends the running turn.
    Cancel {
        /// Whose.
        agent_id: String,
    },
    /// Puts an agent away.
    Archive {
        /// Which.
        agent_id: String,
    },
    /// Answers a permission.
    Respond {
        /// Who asked.
        agent_id: String,
        /// What was asked.
        permission_id: String,
        /// The chosen answer.
        option_id: String,
    },
    /// A method of a service linked into the daemon.
    Custom {
        /// Method name.
        method: String,
        /// A JSON object; the library puts `intentId` into it.
        params_json: String,
    },
}

impl TryFrom<Intent> for runtime::Intent {
    type Error = BowlineError;

    fn try_from(intent: Intent) -> Result<Self, BowlineError> {
        Ok(match intent {
            Intent::CreateAgent {
                provider,
                cwd,
                title,
                prompt,
            } => Self::CreateAgent {
                provider,
                cwd,
                title,
                prompt,
            },
            Intent::SendPrompt { agent_id, text } => Self::SendPrompt {
                agent_id: agent_id.parse()?,
                text,
            },
            Intent::Cancel { agent_id } => Self::Cancel {
                agent_id: agent_id.parse()?,
            },
            Intent::Archive { agent_id } => Self::Archive {
                agent_id: agent_id.parse()?,
            },
            Intent::Respond {
                agent_id,
                permission_id,
                option_id,
            } => Self::Respond {
                agent_id: agent_id.parse()?,
                permission_id: permission_id.parse()?,
                option_id,
            },
            Intent::Custom {
                method,
                params_json,
            } => Self::Custom {
                method,
                params: serde_json::from_str(&params_json).map_err(|problem| {
                    error!(InvalidIntent, Report, format!("no JSON object: {problem}"))
                })?,
            },
        })
    }
}

/// How an intent ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum OutcomeKind {
    /// It was done, once.
    Done,
    /// The daemon refused it; nothing was done.
    Refused,
    /// It could not be delivered while the daemon remembers intents: whether it was done is unknown.
    Expired,
    /// The host was forgotten while the intent waited.
    Abandoned,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct IntentOutcome {
    /// Which.
    pub intent_id: String,
    /// How.
    pub kind: OutcomeKind,
    /// The method's result as JSON, unless it is longer than 4 KiB.
    pub result_json: Option<String>,
    /// Why it was refused, for people.
    pub detail: Option<String>,
}

impl From<&(IntentId, Outcome)> for IntentOutcome {
    fn from((intent_id, outcome): &(IntentId, Outcome)) -> Self {
        let (kind, result_json, detail) = match outcome {
            Outcome::Done { result } => {
                let result = (result.len() <= RESULT_BYTES).then(|| result.clone());
                (OutcomeKind::Done, result, None)
            }
            Outcome::Refused { error } => (OutcomeKind::Refused, None, Some(error.message.clone())),
            Outcome::Expired => (OutcomeKind::Expired, None, None),
            Outcome::Abandoned => (OutcomeKind::Abandoned, None, None),
        };
        Self {
            intent_id: intent_id.to_string(),
            kind,
            result_json,
            detail,
        }
    }
}

/// Why an intent came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum IntentFailure {
    /// The daemon refused it; nothing was done.
    Refused {
        /// For people.
        detail: String,
    },
    /// It could not be delivered for so long that whether it was done is unknown.
    Expired,
}

impl From<&machines::optimistic::IntentFailure> for IntentFailure {
    fn from(failure: &machines::optimistic::IntentFailure) -> Self {
        use machines::optimistic::IntentFailure as Core;
        match failure {
            Core::Refused(error) => Self::Refused {
                detail: error.message.clone(),
            },
            Core::Expired => Self::Expired,
        }
    }
}
