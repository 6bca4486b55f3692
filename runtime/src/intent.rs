//! Intents: what a UI asks to be done, and what became of it (BX-1).

use bowline_protocol::{
    AgentId, IntentId, PermissionId,
    error::RpcError,
    methods::{AgentIntent, CreateAgent, Respond, SendPrompt, name},
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::IntentError;

/// A mutating request, without its id: the runtime gives it one.
#[derive(Clone, Debug)]
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
        agent_id: AgentId,
        /// The prompt.
        text: String,
    },
    /// Ends the running turn.
    Cancel {
        /// Whose.
        agent_id: AgentId,
    },
    /// Puts an agent away.
    Archive {
        /// Which.
        agent_id: AgentId,
    },
    /// Answers a permission.
    Respond {
        /// Who asked.
        agent_id: AgentId,
        /// What was asked.
        permission_id: PermissionId,
        /// The chosen answer.
        option_id: String,
    },
    /// A method of a service linked into the daemon. `params` must be an object; the runtime puts
    /// `intentId` into it.
    Custom {
        /// Method name.
        method: String,
        /// Parameters.
        params: serde_json::Map<String, serde_json::Value>,
    },
}

impl Intent {
    /// Method and parameters on the wire.
    pub(crate) fn into_request(
        self,
        intent_id: IntentId,
    ) -> Result<(String, Box<RawValue>), IntentError> {
        let (method, params) = match self {
            Self::CreateAgent {
                provider,
                cwd,
                title,
                prompt,
            } => (
                name::AGENTS_CREATE,
                to_raw_value(&CreateAgent {
                    intent_id,
                    provider,
                    cwd,
                    title,
                    prompt,
                }),
            ),
            Self::SendPrompt { agent_id, text } => (
                name::AGENTS_SEND,
                to_raw_value(&SendPrompt {
                    intent_id,
                    agent_id,
                    text,
                }),
            ),
            Self::Cancel { agent_id } => (
                name::AGENTS_CANCEL,
                to_raw_value(&AgentIntent {
                    intent_id,
                    agent_id,
                }),
            ),
            Self::Archive { agent_id } => (
                name::AGENTS_ARCHIVE,
                to_raw_value(&AgentIntent {
                    intent_id,
                    agent_id,
                }),
            ),
            Self::Respond {
                agent_id,
                permission_id,
                option_id,
            } => (
                name::AGENTS_RESPOND,
                to_raw_value(&Respond {
                    intent_id,
                    agent_id,
                    permission_id,
                    option_id,
                }),
            ),
            Self::Custom { method, mut params } => {
                params.insert("intentId".into(), intent_id.to_string().into());
                let params = to_raw_value(&params)
                    .map_err(|error| IntentError::Invalid(error.to_string()))?;
                return Ok((method, params));
            }
        };
        let params = params.map_err(|error| IntentError::Invalid(error.to_string()))?;
        Ok((method.to_owned(), params))
    }
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It was done, once.
    Done {
        /// The method's result, as JSON text.
        result: String,
    },
    /// The daemon refused it; nothing was done.
    Refused {
        /// Why.
        error: RpcError,
    },
    /// It could not be delivered within the time the daemon remembers intents (24 h; a cancel within a minute), so it is no
    /// longer offered: whether it was done is unknown.
    Expired,
    /// The host was forgotten while the intent waited.
    Abandoned,
}
