//! Intents: mutating requests of a UI, and their outcomes (BX-1).

pub use bowline_machines::client::intents::Outcome;

use bowline_machines::{
    client::intents::{Made, TurnEffect},
    data::optimistic::{PendingAgent, PendingMessage, Queued},
};
use bowline_protocol::{
    AgentId, IntentId, PermissionId,
    methods::{AgentCreated, AgentIntent, CreateAgent, PromptSent, Respond, SendPrompt, name},
    model::UnixMillis,
    rpc::raw,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::IntentError;

/// A mutating request without its id, which the runtime assigns.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Creates an agent.
    CreateAgent {
        /// A provider's configured name.
        provider: String,
        /// Absolute working directory on the daemon's machine.
        cwd: String,
        /// Display title.
        title: Option<String>,
        /// First prompt.
        prompt: Option<String>,
    },
    /// Sends a prompt.
    SendPrompt {
        /// The agent.
        agent_id: AgentId,
        /// The prompt.
        text: String,
    },
    /// Ends the running turn.
    Cancel {
        /// The agent.
        agent_id: AgentId,
    },
    /// Archives an agent.
    Archive {
        /// The agent.
        agent_id: AgentId,
    },
    /// Answers a permission.
    Respond {
        /// The agent that asked.
        agent_id: AgentId,
        /// The permission.
        permission_id: PermissionId,
        /// The chosen answer.
        option_id: String,
    },
    /// A method of a service linked into the daemon. `params` must be an object; the runtime adds
    /// `intentId`.
    Custom {
        /// Method name.
        method: String,
        /// Parameters.
        params: serde_json::Map<String, serde_json::Value>,
    },
}

impl Intent {
    /// The request sent to the daemon under this id.
    ///
    /// # Errors
    /// [`IntentError::Invalid`] if the parameters of a custom method do not serialise.
    pub(crate) fn into_request(self, intent_id: IntentId) -> Result<Request, IntentError> {
        Ok(match self {
            Self::CreateAgent {
                provider,
                cwd,
                title,
                prompt,
            } => Request::Create(CreateAgent {
                intent_id,
                provider,
                cwd,
                title,
                prompt,
            }),
            Self::SendPrompt { agent_id, text } => Request::Send(SendPrompt {
                intent_id,
                agent_id,
                text,
            }),
            Self::Cancel { agent_id } => Request::Cancel(AgentIntent {
                intent_id,
                agent_id,
            }),
            Self::Archive { agent_id } => Request::Archive(AgentIntent {
                intent_id,
                agent_id,
            }),
            Self::Respond {
                agent_id,
                permission_id,
                option_id,
            } => Request::Respond(Respond {
                intent_id,
                agent_id,
                permission_id,
                option_id,
            }),
            Self::Custom { method, mut params } => {
                params.insert("intentId".into(), intent_id.to_string().into());
                let params =
                    raw(&params).map_err(|error| IntentError::Invalid(error.to_string()))?;
                Request::read(method, params)
            }
        })
    }
}

/// An intent as stored and sent. Serialises as its parameters: once for the journal, and once for
/// each send.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Create(CreateAgent),
    Send(SendPrompt),
    Cancel(AgentIntent),
    Archive(AgentIntent),
    Respond(Respond),
    /// Of a service or another version; kept verbatim, since this version cannot serialise it.
    Other {
        method: String,
        params: Box<RawValue>,
    },
}

impl Request {
    /// Parses a stored or submitted request. Parameters that do not fit the method are kept
    /// verbatim, for the daemon to refuse.
    pub(crate) fn read(method: String, params: Box<RawValue>) -> Self {
        let text = params.get();
        let known = match method.as_str() {
            name::AGENTS_CREATE => serde_json::from_str(text).ok().map(Self::Create),
            name::AGENTS_SEND => serde_json::from_str(text).ok().map(Self::Send),
            name::AGENTS_CANCEL => serde_json::from_str(text).ok().map(Self::Cancel),
            name::AGENTS_ARCHIVE => serde_json::from_str(text).ok().map(Self::Archive),
            name::AGENTS_RESPOND => serde_json::from_str(text).ok().map(Self::Respond),
            _ => None,
        };
        known.unwrap_or(Self::Other { method, params })
    }

    /// Its method on the wire.
    pub(crate) fn method(&self) -> &str {
        match self {
            Self::Create(_) => name::AGENTS_CREATE,
            Self::Send(_) => name::AGENTS_SEND,
            Self::Cancel(_) => name::AGENTS_CANCEL,
            Self::Archive(_) => name::AGENTS_ARCHIVE,
            Self::Respond(_) => name::AGENTS_RESPOND,
            Self::Other { method, .. } => method,
        }
    }

    /// What a screen shows of it before the daemon has it (UX-3).
    pub(crate) fn shown(&self, at: UnixMillis) -> Option<Queued> {
        match self {
            Self::Send(params) => Some(Queued::Message {
                agent_id: params.agent_id.clone(),
                message: PendingMessage {
                    intent_id: params.intent_id,
                    text: params.text.clone(),
                    at,
                    delivered: false,
                },
            }),
            Self::Create(params) => Some(Queued::Agent(PendingAgent {
                intent_id: params.intent_id,
                provider: params.provider.clone(),
                cwd: params.cwd.clone(),
                title: params.title.clone(),
                prompt: params.prompt.clone(),
                at,
            })),
            Self::Cancel(_) | Self::Archive(_) | Self::Respond(_) | Self::Other { .. } => None,
        }
    }

    /// What it made, as the daemon's result says.
    pub(crate) fn made(&self, result: &RawValue) -> Made {
        match self {
            Self::Create(_) => {
                let created = serde_json::from_str::<AgentCreated>(result.get());
                created.map_or(Made::Other, |created| Made::Agent(created.agent.id))
            }
            Self::Send(_) => {
                let sent = serde_json::from_str::<PromptSent>(result.get());
                Made::Message(sent.ok().map(|sent| sent.item_id))
            }
            Self::Cancel(_) | Self::Archive(_) | Self::Respond(_) | Self::Other { .. } => {
                Made::Other
            }
        }
    }

    /// Effect on the turns of an agent.
    pub(crate) fn turn(&self) -> TurnEffect {
        match self {
            Self::Send(params) => TurnEffect::Prompt(params.agent_id.clone()),
            Self::Cancel(params) => TurnEffect::Cancel(params.agent_id.clone()),
            Self::Create(_) | Self::Archive(_) | Self::Respond(_) | Self::Other { .. } => {
                TurnEffect::Other
            }
        }
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Create(params) => params.serialize(serializer),
            Self::Send(params) => params.serialize(serializer),
            Self::Cancel(params) | Self::Archive(params) => params.serialize(serializer),
            Self::Respond(params) => params.serialize(serializer),
            Self::Other { params, .. } => params.serialize(serializer),
        }
    }
}
