//! One agent's screen: what to show is decided in the runtime (UX-1 … UX-4), and its views render it.

use bowline_runtime::{self as runtime, ScreenSnapshot, machines};

use super::{
    agent::{AgentSummary, FailedAgent, LoadFailure, PendingAgent},
    host::ErrorInfo,
    mirror, rev,
    timeline::{TimelineUpdate, timeline_update},
};
use crate::error::BowlineError;

/// What a screen shows.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ScreenTarget {
    /// An agent.
    Agent {
        /// Which.
        agent_id: String,
    },
    /// The agent that this intent creates: shown at once, and the same screen goes on when it is there (UX-3).
    Creation {
        /// The intent, as `send` returned it.
        intent_id: String,
    },
}

impl TryFrom<ScreenTarget> for runtime::ScreenTarget {
    type Error = BowlineError;

    fn try_from(target: ScreenTarget) -> Result<Self, BowlineError> {
        Ok(match target {
            ScreenTarget::Agent { agent_id } => Self::Agent(agent_id.parse()?),
            ScreenTarget::Creation { intent_id } => Self::Creation(intent_id.parse()?),
        })
    }
}

mirror! {
    /// How an agent came to be on the screen.
    Creation of machines::screen::Creation {
        /// It was there before.
        None,
        /// Its creation was sent and is shown in advance.
        Pending,
        /// It was created from here and the daemon confirmed it.
        Confirmed,
        /// The daemon refused to create it.
        Failed,
    }
}

mirror! {
    /// How the host stands, as far as a screen cares.
    Connectivity of machines::screen::Connectivity {
        /// Connected.
        Online,
        /// Being connected, or connected again.
        Connecting,
        /// Nothing is tried until someone does something.
        Offline,
    }
}

mirror! {
    /// A small sign over the content that something is going on.
    Toast of machines::screen::Toast {
        /// The content is being brought up to date.
        Refreshing,
        /// The connection is being restored.
        Reconnecting,
    }
}

mirror! {
    /// Why an agent takes no more prompts.
    ReadOnly of machines::screen::ReadOnly {
        /// It is archived.
        Archived,
        /// The daemon does not have it any more.
        Removed,
    }
}

/// An error to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum ErrorIndicator {
    /// The agent could not be created; offer to try again.
    CreationFailed,
    /// The first load failed: shown inside the overlay, with a way to try again.
    LoadFailed {
        /// Why.
        error: LoadFailure,
    },
    /// A refresh failed: beside the content, in nobody's way (UX-4).
    RefreshFailed {
        /// Why.
        error: LoadFailure,
    },
    /// The host is offline and nothing is being tried.
    Offline,
}

impl From<machines::screen::ErrorIndicator> for ErrorIndicator {
    fn from(error: machines::screen::ErrorIndicator) -> Self {
        use machines::screen::ErrorIndicator as Core;
        match error {
            Core::CreationFailed => Self::CreationFailed,
            Core::LoadFailed(error) => Self::LoadFailed {
                error: error.into(),
            },
            Core::RefreshFailed(error) => Self::RefreshFailed {
                error: error.into(),
            },
            Core::Offline => Self::Offline,
        }
    }
}

/// Everything an agent's screen shows, as of now; of its timeline, what changed.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ScreenUpdate {
    /// Grows with every change; an older one is to be dropped.
    pub rev: u32,
    /// Whose agent.
    pub server_id: String,
    /// The agent; none until the daemon has named the one that is being created.
    pub agent_id: Option<String>,
    /// Its row in the directory, once that is known.
    pub agent: Option<AgentSummary>,
    /// Whether it was created from here.
    pub creation: Creation,
    /// What was asked for, while it is being created.
    pub creating: Option<PendingAgent>,
    /// Why it could not be created, with what was asked for.
    pub creation_failed: Option<FailedAgent>,
    /// The whole content is covered (UX-1).
    pub overlay: bool,
    /// At most one toast.
    pub toast: Option<Toast>,
    /// "Start chatting".
    pub placeholder: bool,
    /// At most one error.
    pub error_indicator: Option<ErrorIndicator>,
    /// Prompts can be typed and sent; offline too.
    pub composer_enabled: bool,
    /// Why no prompt can be sent any more; to be said in the place of the composer.
    pub read_only: Option<ReadOnly>,
    /// How the host stands.
    pub connectivity: Connectivity,
    /// Why the host is not online, with what to do about it.
    pub connection_error: Option<ErrorInfo>,
    /// What changed of the timeline.
    pub timeline: TimelineUpdate,
}

/// What makes `new` of what a subscriber has.
pub(crate) fn screen_update(base: Option<&ScreenSnapshot>, new: &ScreenSnapshot) -> ScreenUpdate {
    ScreenUpdate {
        rev: rev(new.rev),
        server_id: new.server_id.to_string(),
        agent_id: new.agent_id.as_ref().map(ToString::to_string),
        agent: new.agent.as_deref().map(Into::into),
        creation: new.creation.into(),
        creating: new.creating.as_deref().map(Into::into),
        creation_failed: new.creation_failed.as_deref().map(Into::into),
        overlay: new.screen.overlay,
        toast: new.screen.toast.map(Into::into),
        placeholder: new.screen.placeholder,
        error_indicator: new.screen.error_indicator.map(Into::into),
        composer_enabled: new.screen.composer_enabled,
        read_only: new.screen.read_only.map(Into::into),
        connectivity: new.connectivity.into(),
        connection_error: new.connection_error.as_ref().map(Into::into),
        timeline: timeline_update(base.map(|base| base.timeline.as_ref()), &new.timeline),
    }
}
