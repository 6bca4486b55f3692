//! One agent's screen: the runtime decides its content (UX-1 … UX-4), and views render it.

use bowline_runtime::{self as runtime, ScreenSnapshot, machines::data::screen};

use super::{
    agent::{AgentSummary, FailedAgent, LoadFailure, PendingAgent},
    host::ErrorInfo,
    mirror, rev,
    timeline::TimelineUpdate,
};
use crate::error::BowlineError;

/// Target of a screen.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ScreenTarget {
    /// An agent.
    Agent {
        /// The agent.
        agent_id: String,
    },
    /// The agent that this intent creates: shown at once, and the same screen continues when it
    /// exists (UX-3).
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
    /// Origin of the screen's agent.
    Creation of screen::Creation {
        /// It existed before.
        None,
        /// Its creation was sent and it is shown optimistically.
        Pending,
        /// This device created it and the daemon confirmed it.
        Confirmed,
        /// The daemon refused to create it.
        Failed,
    }
}

mirror! {
    /// State of the host, as a screen needs it.
    Connectivity of screen::Connectivity {
        /// Connected.
        Online,
        /// Connecting or reconnecting.
        Connecting,
        /// Offline: the next attempt needs an action of the user or another input.
        Offline,
    }
}

mirror! {
    /// An indicator over the content that work is in progress.
    Toast of screen::Toast {
        /// The content is being refreshed.
        Refreshing,
        /// The connection is being restored.
        Reconnecting,
    }
}

mirror! {
    /// Why an agent takes no more prompts.
    ReadOnly of screen::ReadOnly {
        /// It is archived.
        Archived,
        /// The daemon no longer has it.
        Removed,
    }
}

mirror! {
    /// An error to show.
    ErrorIndicator of screen::ErrorIndicator {
        /// The agent could not be created; offer to try again.
        CreationFailed,
        /// The first load failed: show it inside the overlay, with a retry.
        LoadFailed {
            /// The reason.
            error: LoadFailure,
        },
        /// A refresh failed: show it beside the content, without blocking it (UX-4).
        RefreshFailed {
            /// The reason.
            error: LoadFailure,
        },
        /// The host is offline and no attempt is running.
        Offline,
    }
}

mirror! {
    /// The current content of an agent's screen, and the changes of its timeline.
    ScreenUpdate of (base, new): (Option<&ScreenSnapshot>, &ScreenSnapshot) {
        /// Grows with each change; drop an update with an older one.
        rev: u32 = rev(new.rev),
        /// The agent's host.
        server_id: String = new.server_id.to_string(),
        /// The agent; none until the daemon has confirmed the one being created.
        agent_id: Option<String> = new.agent_id.as_ref().map(ToString::to_string),
        /// Its row in the directory, once loaded.
        agent: Option<AgentSummary> = new.agent.as_deref().map(Into::into),
        /// Origin of the agent.
        creation: Creation = new.creation.into(),
        /// The agent as requested, while it is being created.
        creating: Option<PendingAgent> = new.creating.as_deref().map(Into::into),
        /// Why its creation failed, with the agent as requested.
        creation_failed: Option<FailedAgent> = new.creation_failed.as_deref().map(Into::into),
        /// An overlay covers the whole content (UX-1).
        overlay: bool = new.screen.overlay,
        /// At most one toast.
        toast: Option<Toast> = new.screen.toast.map(Into::into),
        /// Show the hint "Start chatting".
        placeholder: bool = new.screen.placeholder,
        /// At most one error.
        error_indicator: Option<ErrorIndicator> = new.screen.error_indicator.map(Into::into),
        /// Prompts can be typed and sent, also offline.
        composer_enabled: bool = new.screen.composer_enabled,
        /// Why no prompt can be sent any more; shown in place of the composer.
        read_only: Option<ReadOnly> = new.screen.read_only.map(Into::into),
        /// State of the host.
        connectivity: Connectivity = new.connectivity.into(),
        /// Why the host is not online, with the recommended action.
        connection_error: Option<ErrorInfo> = new.connection_error.as_ref().map(Into::into),
        /// The changes of the timeline.
        timeline: TimelineUpdate =
            (base.map(|base| base.timeline.as_ref()), new.timeline.as_ref()).into(),
    }
}
