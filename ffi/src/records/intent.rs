//! Intents: what an app asks to be done, and what became of it.

use bowline_runtime::{self as runtime, Outcome, machines, protocol};
use protocol::IntentId;

use crate::error::{BowlineError, Refusal, error, refusal};

/// Longest result that an outcome in a snapshot carries, in bytes: snapshots are copied whole.
const RESULT_BYTES: usize = 4 << 10;
/// Most that all outcomes of one host carry in one snapshot, in bytes; the newest come first.
const RESULTS_BYTES: usize = 16 << 10;

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
    /// The method's result as JSON, unless `result_omitted`.
    pub result_json: Option<String>,
    /// There is a result that is not carried here, because it is longer than 4 KiB or those of newer intents took 16 KiB:
    /// `intent_result` of the runtime has it.
    pub result_omitted: bool,
    /// Why it was refused, for people.
    pub detail: Option<String>,
    /// Why it was refused, where the daemon said so with one of the closed list.
    pub refusal: Option<Refusal>,
}

/// The latest outcomes, oldest first, with as many of their results as are carried.
pub(crate) fn outcomes(recent: &[(IntentId, Outcome)]) -> Vec<IntentOutcome> {
    let mut left = RESULTS_BYTES;
    let newest_first = recent.iter().rev().map(|(intent_id, outcome)| {
        let mut mirror = IntentOutcome {
            intent_id: intent_id.to_string(),
            kind: OutcomeKind::Done,
            result_json: None,
            result_omitted: false,
            detail: None,
            refusal: None,
        };
        match outcome {
            Outcome::Done { result } => {
                let is_carried = result.len() <= RESULT_BYTES.min(left);
                if is_carried {
                    left -= result.len();
                    mirror.result_json = Some(result.clone());
                }
                mirror.result_omitted = !is_carried;
            }
            Outcome::Refused { error } => {
                mirror.kind = OutcomeKind::Refused;
                mirror.detail = Some(error.message.clone());
                mirror.refusal = refusal(error);
            }
            Outcome::Expired => mirror.kind = OutcomeKind::Expired,
            Outcome::Abandoned => mirror.kind = OutcomeKind::Abandoned,
        }
        mirror
    });
    let mut outcomes: Vec<_> = newest_first.collect();
    outcomes.reverse();
    outcomes
}

/// Why an intent came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum IntentFailure {
    /// The daemon refused it; nothing was done.
    Refused {
        /// For people.
        detail: String,
        /// Why, where the daemon said so with one of the closed list.
        refusal: Option<Refusal>,
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
                refusal: refusal(error),
            },
            Core::Expired => Self::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::protocol::{RpcReason, error::RpcError};

    use super::*;

    fn done(n: u128, bytes: usize) -> (IntentId, Outcome) {
        let result = format!("\"{}\"", "x".repeat(bytes - 2));
        (
            IntentId::from_uuid(uuid::Uuid::from_u128(n)),
            Outcome::Done { result },
        )
    }

    #[test]
    fn a_result_that_is_not_carried_is_said_to_be_omitted() {
        let outcomes = outcomes(&[done(1, 2), done(2, RESULT_BYTES + 1), done(3, RESULT_BYTES)]);
        let carried: Vec<_> = outcomes
            .iter()
            .map(|outcome| (outcome.result_json.is_some(), outcome.result_omitted))
            .collect();
        assert_eq!(carried, [(true, false), (false, true), (true, false)]);
    }

    #[test]
    fn the_results_of_all_outcomes_are_bounded_and_the_newest_are_carried() {
        let recent: Vec<_> = (0..64).map(|n| done(n, RESULT_BYTES)).collect();
        let outcomes = outcomes(&recent);
        assert_eq!(outcomes.len(), 64);
        let bytes: usize = outcomes
            .iter()
            .filter_map(|outcome| outcome.result_json.as_ref().map(String::len))
            .sum();
        assert_eq!(bytes, RESULTS_BYTES);
        assert!(outcomes.first().unwrap().result_omitted);
        assert!(outcomes.last().unwrap().result_json.is_some());
    }

    #[test]
    fn a_refusal_keeps_its_reason() {
        let id = IntentId::from_uuid(uuid::Uuid::nil());
        let error = RpcError::new(RpcReason::Forbidden, "no");
        let refused = outcomes(&[(
            id,
            Outcome::Refused {
                error: error.clone(),
            },
        )]);
        assert_eq!(refused.first().unwrap().refusal, Some(Refusal::Forbidden));
        let failure = IntentFailure::from(&machines::optimistic::IntentFailure::Refused(error));
        assert!(matches!(
            failure,
            IntentFailure::Refused {
                refusal: Some(Refusal::Forbidden),
                ..
            }
        ));
    }
}
