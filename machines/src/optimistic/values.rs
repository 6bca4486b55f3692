//! What is shown of intents before the daemon has answered, and what happens to them.

use std::sync::Arc;

use bowline_protocol::{AgentId, IntentId, ItemId, error::RpcError, model::UnixMillis};

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// The intent that sends it.
    pub intent_id: IntentId,
    /// What was said.
    pub text: String,
    /// When, by this device's clock.
    pub at: UnixMillis,
    /// The daemon has it: its item is on its way.
    pub delivered: bool,
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMessage {
    /// The intent that was to send it.
    pub intent_id: IntentId,
    /// What was said, so that it can be said again.
    pub text: String,
    /// When, by this device's clock.
    pub at: UnixMillis,
    /// Why.
    pub error: IntentFailure,
}

/// An agent that is being created from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAgent {
    /// The intent that creates it.
    pub intent_id: IntentId,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// For people, if given.
    pub title: Option<String>,
    /// First prompt, if any.
    pub prompt: Option<String>,
    /// When, by this device's clock.
    pub at: UnixMillis,
}

/// An agent that could not be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAgent {
    /// What was wanted.
    pub agent: Arc<PendingAgent>,
    /// Why it is not there.
    pub error: IntentFailure,
}

/// Why an intent came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentFailure {
    /// The daemon refused it; nothing was done.
    Refused(RpcError),
    /// It could not be delivered for so long that the daemon may have forgotten it: whether it was done is unknown.
    Expired,
}

/// What an intent puts on a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A message in a timeline.
    Message {
        /// Whose.
        agent_id: AgentId,
        /// What was said.
        text: String,
    },
    /// A new agent.
    Agent {
        /// Configured provider name.
        provider: String,
        /// Working directory on the daemon's machine.
        cwd: String,
        /// For people, if given.
        title: Option<String>,
        /// First prompt, if any.
        prompt: Option<String>,
    },
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The agent is there.
    Created(AgentId),
    /// It was done.
    Done {
        /// The item that a message became, if the daemon said so.
        item: Option<ItemId>,
    },
    /// It came to nothing.
    Failed(IntentFailure),
    /// Nobody is to hear of it any more.
    Dropped,
}

/// How a creation from here stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On its way.
    Pending(Arc<PendingAgent>),
    /// It is there, under that name.
    Confirmed(AgentId),
    /// It came to nothing.
    Failed(Arc<FailedAgent>),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An intent was taken, now or by an earlier process.
    Queued {
        /// Its name.
        intent_id: IntentId,
        /// When it was made.
        at: UnixMillis,
        /// What it puts on a screen.
        shown: Shown,
    },
    /// An intent is over.
    Concluded {
        /// Which.
        intent_id: IntentId,
        /// How.
        conclusion: Conclusion,
    },
    /// A row of the directory says which intent created it.
    Row {
        /// That intent.
        intent_id: IntentId,
        /// The row's agent.
        agent_id: AgentId,
    },
    /// The directory shows these agents; their creations need no place of their own any more.
    RowShown {
        /// Which.
        agent_id: AgentId,
    },
    /// The timeline shows the item that this message became.
    ItemShown {
        /// Whose timeline.
        agent_id: AgentId,
        /// The intent that the item carries.
        intent_id: IntentId,
    },
    /// A message that was delivered is in no place that the timeline shows.
    Settled {
        /// Whose timeline.
        agent_id: AgentId,
        /// The message's intent.
        intent_id: IntentId,
    },
    /// The user has seen that it failed.
    Dismiss {
        /// Which.
        intent_id: IntentId,
    },
}

impl PendingAgent {
    /// A title for people, as the daemon would make one: the one given, else the first line of the prompt, else the
    /// folder's name.
    pub fn display_title(&self) -> &str {
        let said = [self.title.as_deref(), self.prompt.as_deref()];
        let lines = said.into_iter().flatten().flat_map(str::lines);
        let folder = self.cwd.rsplit(['/', '\\']);
        lines
            .map(str::trim)
            .chain(folder)
            .find(|line| !line.is_empty())
            .unwrap_or(&self.provider)
    }
}
