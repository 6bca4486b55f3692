//! Agents: rows, agents on their way, and why something of them could not be had.

use bowline_runtime::{machines, protocol};

use super::{intent::IntentFailure, millis, mirror};
use crate::error::{Reason, Refusal};

mirror! {
    /// Where an agent stands.
    AgentStatus of protocol::AgentStatus {
        /// Its program is being started.
        Starting,
        /// It waits for a prompt.
        Idle,
        /// It works on a prompt.
        Running,
        /// It waits for its user.
        Waiting,
        /// Its last turn could not run to its end.
        Failed,
        /// Put away; it takes no more prompts.
        Archived,
    }
}

/// An agent as a list shows it.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct AgentSummary {
    /// Name for every call about it.
    pub id: String,
    /// For people.
    pub title: String,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// When it was created: milliseconds since 1970, by the daemon's clock.
    pub created_at_ms: f64,
    /// When anything of it last changed.
    pub updated_at_ms: f64,
    /// Why its user should look, if they should: `permission`, `failed` or `finished`; `queued` while a prompt waits for a place.
    pub attention: Option<String>,
    /// The intent that created it. The row that was shown in advance has the same one, so a view that keys its rows by it
    /// sees no jump (UX-3).
    pub intent_id: Option<String>,
}

impl From<&protocol::AgentSummary> for AgentSummary {
    fn from(agent: &protocol::AgentSummary) -> Self {
        Self {
            id: agent.id.to_string(),
            title: agent.title.clone(),
            provider: agent.provider.clone(),
            cwd: agent.cwd.clone(),
            status: agent.status.into(),
            created_at_ms: millis(agent.created_at),
            updated_at_ms: millis(agent.updated_at),
            attention: agent.attention.clone(),
            intent_id: agent.intent_id.map(|id| id.to_string()),
        }
    }
}

/// An agent that is being created from here (UX-3).
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PendingAgent {
    /// The intent that creates it.
    pub intent_id: String,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// For people, if given.
    pub title: Option<String>,
    /// First prompt, if any.
    pub prompt: Option<String>,
    /// When: milliseconds since 1970, by this device's clock.
    pub at_ms: f64,
}

impl From<&machines::optimistic::PendingAgent> for PendingAgent {
    fn from(agent: &machines::optimistic::PendingAgent) -> Self {
        Self {
            intent_id: agent.intent_id.to_string(),
            provider: agent.provider.clone(),
            cwd: agent.cwd.clone(),
            title: agent.title.clone(),
            prompt: agent.prompt.clone(),
            at_ms: millis(agent.at),
        }
    }
}

/// An agent that could not be created.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct FailedAgent {
    /// What was wanted.
    pub agent: PendingAgent,
    /// Why it is not there.
    pub failure: IntentFailure,
}

impl From<&machines::optimistic::FailedAgent> for FailedAgent {
    fn from(failed: &machines::optimistic::FailedAgent) -> Self {
        Self {
            agent: failed.agent.as_ref().into(),
            failure: (&failed.error).into(),
        }
    }
}

/// A way to run agents.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ProviderInfo {
    /// Configured name, for `Intent.CreateAgent`.
    pub name: String,
    /// `command` or `acp`.
    pub kind: String,
    /// For people.
    pub title: String,
}

impl From<protocol::ProviderInfo> for ProviderInfo {
    fn from(provider: protocol::ProviderInfo) -> Self {
        Self {
            name: provider.name,
            kind: provider.kind,
            title: provider.title,
        }
    }
}

/// Why something could not be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum LoadFailure {
    /// There is no connection, or it ended. Tried again with the next one.
    Lost {
        /// Why.
        reason: Reason,
    },
    /// The daemon does not have it.
    NotFound,
    /// The daemon refused.
    Rejected {
        /// Why.
        refusal: Refusal,
    },
    /// No answer in time.
    TimedOut,
    /// The answer is not what was asked for.
    Malformed,
    /// More happened meanwhile than is kept; it is loaded again.
    Overrun,
}

impl From<machines::load::LoadError> for LoadFailure {
    fn from(error: machines::load::LoadError) -> Self {
        use machines::load::LoadError;
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
