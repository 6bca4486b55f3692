//! The content of an agent's screen: a pure function of the runtime's data (UX-1 … UX-4, INV-7).
//!
//! It has no state, so nothing remains from an earlier situation. Every combination of its inputs
//! is tested. An overlay excludes toast and placeholder.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::{client::paths::HostState, data::load::LoadError};

/// Origin of the screen's agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Creation {
    /// It existed before.
    #[default]
    None,
    /// Its creation was sent and is displayed in advance (UX-3).
    Pending,
    /// Created by this client and confirmed by the daemon.
    Confirmed,
    /// The daemon refused to create it; the display is rolled back.
    Failed,
}

/// Status of the host for screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connectivity {
    /// Connected.
    Online,
    /// Connecting, reconnecting or degraded.
    Connecting,
    /// No connection is attempted without user action.
    Offline,
}

impl From<HostState> for Connectivity {
    /// Derived from the host machine, the only source of connection state (INV-5, INV-6). A switch
    /// of path is no loss.
    fn from(state: HostState) -> Self {
        match state {
            HostState::Online => Self::Online,
            HostState::Booting
            | HostState::SelectingActiveConnection
            | HostState::ConnectingActive
            | HostState::Degraded => Self::Connecting,
            HostState::NoConnections | HostState::Error | HostState::Stopped => Self::Offline,
        }
    }
}

/// Why an agent accepts no more prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOnly {
    /// It is archived.
    Archived,
    /// The daemon has deleted it.
    Removed,
}

/// Inputs of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScreenInput {
    /// The history was loaded at least once in this run of the app.
    pub loaded: bool,
    /// The loaded history is still held, so an empty list means an empty history. False after it
    /// was dropped to save memory.
    pub known: bool,
    /// A load is running.
    pub loading: bool,
    /// Whether this client created it.
    pub creation: Creation,
    /// It has been read continuously since its creation by this client, so that its whole history
    /// is known.
    pub followed: bool,
    /// Its creation has a first prompt, so that it has content before the prompt is displayed.
    pub prompted: bool,
    /// Why it accepts no more prompts.
    pub read_only: Option<ReadOnly>,
    /// Error of the last load, if none succeeded since.
    pub last_error: Option<LoadError>,
    /// Status of the host.
    pub connectivity: Connectivity,
    /// There are items, including those displayed in advance.
    pub has_items: bool,
}

/// A small indicator over the content for an activity in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Toast {
    /// The content is being updated.
    Refreshing,
    /// The connection is being restored.
    Reconnecting,
}

/// An error to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "error")]
pub enum ErrorIndicator {
    /// The agent could not be created; offer a retry.
    CreationFailed,
    /// The first load failed: displayed in the overlay, with a retry.
    LoadFailed(LoadError),
    /// A refresh failed: displayed beside the content without covering it (UX-4).
    RefreshFailed(LoadError),
    /// The host is offline and no connection is attempted.
    Offline,
}

/// The content of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Screen {
    /// Whether the whole content is covered (UX-1).
    pub overlay: bool,
    /// At most one toast.
    pub toast: Option<Toast>,
    /// Whether to invite the user to start chatting.
    pub placeholder: bool,
    /// At most one error.
    pub error_indicator: Option<ErrorIndicator>,
    /// Whether prompts can be typed and sent. Also true offline: an intent waits for the next
    /// connection (BX-1).
    pub composer_enabled: bool,
    /// Why no prompts can be sent any more; displayed instead of the composer.
    pub read_only: Option<ReadOnly>,
}

impl Screen {
    /// The content for an input.
    pub const fn of(input: &ScreenInput) -> Self {
        match input.creation {
            Creation::None if !input.loaded => Self::first_open(input),
            // Other clients may have prompted it since, so it is opened like any other agent.
            Creation::Confirmed if !input.loaded && !input.followed => Self::first_open(input),
            Creation::None | Creation::Confirmed => Self::content(input, true),
            Creation::Pending => Self::content(input, false),
            Creation::Failed => Self::rolled_back(),
        }
    }

    /// UX-1: everything is covered until the history is loaded, whatever arrives in the meantime.
    const fn first_open(input: &ScreenInput) -> Self {
        let error_indicator = match (input.last_error, input.connectivity) {
            // A retry is running: the overlay displays progress.
            (Some(_), _) if input.loading => None,
            // The connection failed and is being restored, which also counts as progress.
            (Some(LoadError::Lost(_)), Connectivity::Connecting) => None,
            (Some(error), _) => Some(ErrorIndicator::LoadFailed(error)),
            (None, Connectivity::Offline) => Some(ErrorIndicator::Offline),
            (None, Connectivity::Online | Connectivity::Connecting) => None,
        };
        Self {
            overlay: true,
            toast: None,
            placeholder: false,
            error_indicator,
            composer_enabled: false,
            read_only: input.read_only,
        }
    }

    /// UX-2, UX-3, UX-4: the content stays, with an indicator of the activity.
    const fn content(input: &ScreenInput, exists: bool) -> Self {
        let toast = match input.connectivity {
            Connectivity::Connecting => Some(Toast::Reconnecting),
            Connectivity::Online if input.loading && input.loaded => Some(Toast::Refreshing),
            // Offline is an error without activity, see below. The first load of an agent created
            // by this client needs no indicator, since its content is displayed already.
            Connectivity::Online | Connectivity::Offline => None,
        };
        let error_indicator = match (input.last_error, input.connectivity) {
            (_, Connectivity::Offline) => Some(ErrorIndicator::Offline),
            // The toast covers this, and the load restarts with the connection.
            (Some(LoadError::Lost(_)), Connectivity::Connecting) => None,
            (Some(error), Connectivity::Online | Connectivity::Connecting) if !input.loading => {
                Some(ErrorIndicator::RefreshFailed(error))
            }
            (Some(_) | None, Connectivity::Online | Connectivity::Connecting) => None,
        };
        // The placeholder requires a known empty history and an enabled composer.
        let is_new = matches!(input.creation, Creation::Pending | Creation::Confirmed)
            && !input.loaded
            && !input.prompted;
        let is_empty = !input.has_items && ((input.loaded && input.known) || is_new);
        Self {
            overlay: false,
            toast,
            placeholder: is_empty && input.read_only.is_none(),
            error_indicator,
            // A prompt needs the id of the agent, which the daemon assigns.
            composer_enabled: exists && input.read_only.is_none(),
            read_only: input.read_only,
        }
    }

    /// UX-3: the creation failed; only the error is displayed.
    const fn rolled_back() -> Self {
        Self {
            overlay: false,
            toast: None,
            placeholder: false,
            error_indicator: Some(ErrorIndicator::CreationFailed),
            composer_enabled: false,
            read_only: None,
        }
    }
}
