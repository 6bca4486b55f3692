//! Intents: requests of an app for exactly one execution, and their outcomes.

use bowline_runtime::{self as runtime, Outcome, machines, protocol};
use protocol::IntentId;

use crate::error::{BowlineError, Refusal, error, refusal};

/// Longest result of an outcome in a snapshot, in bytes: snapshots are copied whole.
const RESULT_BYTES: usize = 4 << 10;
/// Limit of all results of one host in one snapshot, in bytes; the newest take precedence.
const RESULTS_BYTES: usize = 16 << 10;

/// A request to be executed exactly once.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Intent {
    /// Creates an agent.
    CreateAgent {
        /// A provider's configured name.
        provider: String,
        /// Absolute working directory on the daemon's machine.
        cwd: String,
        /// Title for people.
        title: Option<String>,
        /// First prompt.
        prompt: Option<String>,
    },
    /// Sends a prompt.
    SendPrompt {
        /// The agent.
        agent_id: String,
        /// The prompt.
        text: String,
    },
    /// Ends the running turn.
    Cancel {
        /// The agent.
        agent_id: String,
    },
    /// Archives an agent.
    Archive {
        /// The agent.
        agent_id: String,
    },
    /// Answers a permission request.
    Respond {
        /// The agent that asked.
        agent_id: String,
        /// The permission request.
        permission_id: String,
        /// The chosen answer.
        option_id: String,
    },
    /// Calls a method of a service linked into the daemon.
    Custom {
        /// Method name.
        method: String,
        /// A JSON object; the library adds `intentId` to it.
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

/// Kind of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum OutcomeKind {
    /// Executed exactly once.
    Done,
    /// Refused by the daemon, without any effect.
    Refused,
    /// Undelivered for longer than the daemon remembers intents: whether it was executed is
    /// unknown.
    Expired,
    /// The host was forgotten while the intent was pending.
    Abandoned,
}

/// Outcome of an intent.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct IntentOutcome {
    /// The intent.
    pub intent_id: String,
    /// The kind of outcome.
    pub kind: OutcomeKind,
    /// The method's result as JSON, unless `result_omitted`.
    pub result_json: Option<String>,
    /// Whether the result was left out, because it is longer than 4 KiB or newer results took the
    /// 16 KiB. `intent_result` of the runtime returns it.
    pub result_omitted: bool,
    /// Reason of the refusal, for people.
    pub detail: Option<String>,
    /// Reason of the refusal from the closed list, if the daemon sent one.
    pub refusal: Option<Refusal>,
}

impl IntentOutcome {
    /// The outcome, with its whole result.
    pub(crate) fn whole(intent_id: IntentId, outcome: &Outcome) -> Self {
        let mut mirror = Self {
            intent_id: intent_id.to_string(),
            kind: OutcomeKind::Done,
            result_json: None,
            result_omitted: false,
            detail: None,
            refusal: None,
        };
        match outcome {
            Outcome::Done { result } => mirror.result_json = Some(result.clone()),
            Outcome::Refused { error } => {
                mirror.kind = OutcomeKind::Refused;
                mirror.detail = Some(error.message.clone());
                mirror.refusal = refusal(error);
            }
            Outcome::Expired => mirror.kind = OutcomeKind::Expired,
            Outcome::Abandoned => mirror.kind = OutcomeKind::Abandoned,
        }
        mirror
    }
}

/// The latest outcomes, oldest first, with the results that fit the limits.
pub(crate) fn outcomes(recent: &[(IntentId, Outcome)]) -> Vec<IntentOutcome> {
    let mut left = RESULTS_BYTES;
    let newest_first = recent
        .iter()
        .rev()
        .map(|(intent_id, outcome)| match outcome {
            Outcome::Done { result } if result.len() > RESULT_BYTES.min(left) => {
                let result = String::new();
                IntentOutcome {
                    result_json: None,
                    result_omitted: true,
                    ..IntentOutcome::whole(*intent_id, &Outcome::Done { result })
                }
            }
            Outcome::Done { result } => {
                left -= result.len();
                IntentOutcome::whole(*intent_id, outcome)
            }
            Outcome::Refused { .. } | Outcome::Expired | Outcome::Abandoned => {
                IntentOutcome::whole(*intent_id, outcome)
            }
        });
    let mut outcomes: Vec<_> = newest_first.collect();
    outcomes.reverse();
    outcomes
}

/// Reason why an intent failed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum IntentFailure {
    /// Refused by the daemon, without any effect.
    Refused {
        /// Text for people.
        detail: String,
        /// Reason from the closed list, if the daemon sent one.
        refusal: Option<Refusal>,
    },
    /// Undelivered for so long that whether it was executed is unknown.
    Expired,
}

impl From<&machines::data::optimistic::IntentFailure> for IntentFailure {
    fn from(failure: &machines::data::optimistic::IntentFailure) -> Self {
        use machines::data::optimistic::IntentFailure as Core;
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
        let failure =
            IntentFailure::from(&machines::data::optimistic::IntentFailure::Refused(error));
        assert!(matches!(
            failure,
            IntentFailure::Refused {
                refusal: Some(Refusal::Forbidden),
                ..
            }
        ));
    }
}
