//! Agents: rows, agents being created, and load failures.

use std::time::SystemTime;

use bowline_runtime::{
    machines::data::{load::LoadError, optimistic},
    protocol,
};

use super::{intent::IntentFailure, mirror, time};
use crate::error::{Reason, Refusal};

mirror! {
    /// Status of an agent.
    AgentStatus of protocol::AgentStatus {
        /// Its program is starting.
        Starting,
        /// Idle: the next prompt starts a turn.
        Idle,
        /// A turn is running.
        Running,
        /// A turn waits for the user.
        Waiting,
        /// Its last turn failed.
        Failed,
        /// Archived; it takes no more prompts.
        Archived,
    }
}

mirror! {
    /// An agent as a list shows it.
    AgentSummary of agent: &protocol::AgentSummary {
        /// Id for all calls about it.
        id: String = agent.id.to_string(),
        /// Title for people.
        title: String = agent.title.clone(),
        /// Configured provider name.
        provider: String = agent.provider.clone(),
        /// Working directory on the daemon's machine.
        cwd: String = agent.cwd.clone(),
        /// Its status.
        status: AgentStatus = agent.status.into(),
        /// Creation time, by the daemon's clock.
        created_at: SystemTime = time(agent.created_at),
        /// Time of its last change, by the daemon's clock.
        updated_at: SystemTime = time(agent.updated_at),
        /// Why the user should look: `permission`, `failed` or `finished`; `queued` while a prompt
        /// waits for a free agent slot.
        attention: Option<String> = agent.attention.clone(),
        /// The intent that created it. The optimistic row has the same intent, so a view that keys
        /// its rows by it does not jump (UX-3).
        intent_id: Option<String> = agent.intent_id.map(|id| id.to_string()),
    }
}

mirror! {
    /// An agent that this device is creating (UX-3).
    PendingAgent of agent: &optimistic::PendingAgent {
        /// The intent that creates it.
        intent_id: String = agent.intent_id.to_string(),
        /// Configured provider name.
        provider: String = agent.provider.clone(),
        /// Working directory on the daemon's machine.
        cwd: String = agent.cwd.clone(),
        /// Title for people, if given.
        title: Option<String> = agent.title.clone(),
        /// First prompt, if any.
        prompt: Option<String> = agent.prompt.clone(),
        /// Time, by this device's clock.
        at: SystemTime = time(agent.at),
    }
}

mirror! {
    /// An agent whose creation failed.
    FailedAgent of failed: &optimistic::FailedAgent {
        /// The agent as requested.
        agent: PendingAgent = failed.agent.as_ref().into(),
        /// The reason.
        failure: IntentFailure = (&failed.error).into(),
    }
}

mirror! {
    /// A provider: a way to run agents.
    #[derive(Eq)]
    ProviderInfo of provider: protocol::ProviderInfo {
        /// Configured name, for `Intent.CreateAgent`.
        name: String = provider.name,
        /// `command` or `acp`.
        kind: String = provider.kind,
        /// Name for people.
        title: String = provider.title,
    }
}

/// Reason of a failed load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum LoadFailure {
    /// There is no connection, or it closed. The next connection retries.
    Lost {
        /// The reason.
        reason: Reason,
    },
    /// The daemon has no such object.
    NotFound,
    /// The daemon refused.
    Rejected {
        /// The reason.
        refusal: Refusal,
    },
    /// The response did not arrive before the deadline.
    TimedOut,
    /// The response does not match the request.
    Malformed,
    /// More changes arrived than are buffered; the load starts again.
    Overrun,
}

impl From<LoadError> for LoadFailure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Lost(reason) => Self::Lost {
                reason: reason.into(),
            },
            LoadError::Rejected(protocol::RpcReason::NotFound) => Self::NotFound,
            LoadError::Rejected(reason) => Self::Rejected {
                refusal: reason.into(),
            },
            LoadError::TimedOut => Self::TimedOut,
            LoadError::Malformed => Self::Malformed,
            LoadError::Overrun => Self::Overrun,
        }
    }
}
