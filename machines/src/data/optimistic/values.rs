//! Displayed values of intents without an outcome, and the inputs that change them.

use std::sync::Arc;

use bowline_protocol::{AgentId, IntentId, ItemId, error::RpcError, model::UnixMillis};

use crate::client::intents::{Made, Outcome};

/// A pending message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// Its intent.
    pub intent_id: IntentId,
    /// Its text.
    pub text: String,
    /// Time of submission, by this device's clock.
    pub at: UnixMillis,
    /// Whether the daemon has accepted it; its item follows.
    pub delivered: bool,
}

/// A failed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMessage {
    /// Its intent.
    pub intent_id: IntentId,
    /// Its text, for sending it again.
    pub text: String,
    /// Time of submission, by this device's clock.
    pub at: UnixMillis,
    /// The error.
    pub error: IntentFailure,
}

/// A pending agent, created by this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAgent {
    /// Its intent.
    pub intent_id: IntentId,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// Title for people, if given.
    pub title: Option<String>,
    /// First prompt, if any.
    pub prompt: Option<String>,
    /// Time of submission, by this device's clock.
    pub at: UnixMillis,
}

/// A failed creation of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAgent {
    /// The requested agent.
    pub agent: Arc<PendingAgent>,
    /// The error.
    pub error: IntentFailure,
}

/// Why an intent failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentFailure {
    /// The daemon refused it without an effect.
    Refused(RpcError),
    /// Not delivered within the time the daemon keeps outcomes: whether it ran is unknown.
    Expired,
}

/// A displayed intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// A message in a timeline.
    Message {
        /// Its recipient.
        agent_id: AgentId,
        /// The message.
        message: PendingMessage,
    },
    /// A new agent.
    Agent(PendingAgent),
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The agent was created.
    Created(AgentId),
    /// It ran.
    Done {
        /// The item of a message, if the daemon returned it.
        item: Option<ItemId>,
    },
    /// It failed.
    Failed(IntentFailure),
    /// Removed without an outcome to display.
    Dropped,
}

impl Conclusion {
    /// What screens make of an intent's end.
    pub fn new(outcome: &Outcome, made: Made) -> Self {
        match (outcome, made) {
            (Outcome::Done { .. }, Made::Agent(agent_id)) => Self::Created(agent_id),
            (Outcome::Done { .. }, Made::Message(item)) => Self::Done { item },
            // The row, or the item, tells by itself.
            (Outcome::Done { .. }, Made::Other) | (Outcome::Abandoned, _) => Self::Dropped,
            (Outcome::Refused { error }, _) => Self::Failed(IntentFailure::Refused(error.clone())),
            (Outcome::Expired, _) => Self::Failed(IntentFailure::Expired),
        }
    }
}

/// Status of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreationStatus {
    /// Pending.
    Pending(Arc<PendingAgent>),
    /// Created, with this id.
    Confirmed(AgentId),
    /// Failed.
    Failed(Arc<FailedAgent>),
}

/// Inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An intent was accepted, by this process or an earlier one.
    Queued(Queued),
    /// An intent ended.
    Concluded {
        /// The intent.
        intent_id: IntentId,
        /// How it ended.
        conclusion: Conclusion,
    },
    /// A row of the directory names the intent that created its agent.
    Row {
        /// The intent.
        intent_id: IntentId,
        /// The row's agent.
        agent_id: AgentId,
    },
    /// The directory displays this agent; its creation needs no separate row any more.
    RowShown {
        /// The agent.
        agent_id: AgentId,
    },
    /// The timeline displays the item of this message.
    ItemShown {
        /// The agent of the timeline.
        agent_id: AgentId,
        /// The intent named by the item.
        intent_id: IntentId,
    },
    /// The item of a delivered message is in no part that the timeline displays.
    Settled {
        /// The agent of the timeline.
        agent_id: AgentId,
        /// The message's intent.
        intent_id: IntentId,
    },
    /// The user dismissed the failure.
    Dismiss {
        /// The intent.
        intent_id: IntentId,
    },
}
