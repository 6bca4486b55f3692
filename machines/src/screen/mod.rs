//! What an agent's screen shows: a pure function of what the runtime knows (UX-1 … UX-4, INV-7).
//!
//! It has no state of its own, so nothing can be left over from an earlier situation. Every combination of
//! its inputs is tested. An overlay excludes toast and placeholder.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::{host, load::LoadError};

/// How this agent came to be on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Creation {
    /// It was there before.
    #[default]
    None,
    /// Its creation was sent and is shown in advance (UX-3).
    Pending,
    /// It was created from here and the daemon confirmed it.
    Confirmed,
    /// The daemon refused to create it: it is rolled back.
    Failed,
}

/// How the host stands, as far as a screen cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connectivity {
    /// Connected.
    Online,
    /// Being (re)connected, or degraded.
    Connecting,
    /// Nothing is being tried until someone does something.
    Offline,
}

impl From<&host::State> for Connectivity {
    /// There is no other connection state than that of the host machine (INV-5, INV-6). A switch of path is no loss.
    fn from(state: &host::State) -> Self {
        match state {
            host::State::Online { .. } => Self::Online,
            host::State::Booting
            | host::State::SelectingActiveConnection { .. }
            | host::State::ConnectingActive { .. }
            | host::State::Degraded { .. } => Self::Connecting,
            host::State::NoConnections | host::State::Error { .. } | host::State::Stopped => {
                Self::Offline
            }
        }
    }
}

/// Why an agent takes no more prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOnly {
    /// It is archived.
    Archived,
    /// The daemon does not have it any more.
    Removed,
}

/// What the screen depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScreenInput {
    /// The history was loaded at least once in this session of the app.
    pub loaded: bool,
    /// What was loaded is still held: an empty list means that there is nothing. Not so where it was let go to save memory.
    pub known: bool,
    /// A load is running.
    pub loading: bool,
    /// Whether it was created from here.
    pub creation: Creation,
    /// Somebody has looked at it all the time since it was created from here, so that nothing of its history is unknown.
    pub followed: bool,
    /// Its creation has a first prompt, so that there is something even before it shows.
    pub prompted: bool,
    /// Why it takes no more prompts.
    pub read_only: Option<ReadOnly>,
    /// Why the last load failed, unless one succeeded since.
    pub last_error: Option<LoadError>,
    /// How the host stands.
    pub connectivity: Connectivity,
    /// There is something to show, items shown in advance included.
    pub has_items: bool,
}

/// A small sign over the content that something is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Toast {
    /// The content is being brought up to date.
    Refreshing,
    /// The connection is being restored.
    Reconnecting,
}

/// An error to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "error")]
pub enum ErrorIndicator {
    /// The agent could not be created; offer to try again.
    CreationFailed,
    /// The first load failed: shown inside the overlay, with a way to try again.
    LoadFailed(LoadError),
    /// A refresh failed: beside the content, in nobody's way (UX-4).
    RefreshFailed(LoadError),
    /// The host is offline and nothing is being tried.
    Offline,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Screen {
    /// The whole content is covered (UX-1).
    pub overlay: bool,
    /// At most one toast.
    pub toast: Option<Toast>,
    /// "Start chatting".
    pub placeholder: bool,
    /// At most one error.
    pub error_indicator: Option<ErrorIndicator>,
    /// Prompts can be typed and sent. Offline too: an intent waits for the next connection (BX-1).
    pub composer_enabled: bool,
    /// Why no prompt can be sent any more; said in the place of the composer.
    pub read_only: Option<ReadOnly>,
}

impl Screen {
    /// What to show for that input.
    pub const fn of(input: &ScreenInput) -> Self {
        match input.creation {
            Creation::None if !input.loaded => Self::first_open(input),
            // Others may have talked to it since: to who opens it now it is an agent like any other.
            Creation::Confirmed if !input.loaded && !input.followed => Self::first_open(input),
            Creation::None | Creation::Confirmed => Self::content(input, true),
            Creation::Pending => Self::content(input, false),
            Creation::Failed => Self::rolled_back(),
        }
    }

    /// UX-1: everything is covered until the history is there, whatever arrives in the meantime.
    const fn first_open(input: &ScreenInput) -> Self {
        let error_indicator = match (input.last_error, input.connectivity) {
            // A repetition is running: the overlay shows progress again.
            (Some(_), _) if input.loading => None,
            // What failed was the connection, which is being restored: that is progress too.
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

    /// UX-2, UX-3, UX-4: the content stays, with a sign of what is going on.
    const fn content(input: &ScreenInput, exists: bool) -> Self {
        let toast = match input.connectivity {
            Connectivity::Connecting => Some(Toast::Reconnecting),
            Connectivity::Online if input.loading && input.loaded => Some(Toast::Refreshing),
            // Offline nothing is going on: that is an error, below. The quiet first load of an agent created here needs
            // no sign, since its content is already shown.
            Connectivity::Online | Connectivity::Offline => None,
        };
        let error_indicator = match (input.last_error, input.connectivity) {
            (_, Connectivity::Offline) => Some(ErrorIndicator::Offline),
            // The toast says so already, and the load begins again with the connection.
            (Some(LoadError::Lost(_)), Connectivity::Connecting) => None,
            (Some(error), Connectivity::Online | Connectivity::Connecting) if !input.loading => {
                Some(ErrorIndicator::RefreshFailed(error))
            }
            (Some(_) | None, Connectivity::Online | Connectivity::Connecting) => None,
        };
        // There is nothing to show only where that is known, and an invitation only where it can be followed.
        let is_new = matches!(input.creation, Creation::Pending | Creation::Confirmed)
            && !input.loaded
            && !input.prompted;
        let is_empty = !input.has_items && ((input.loaded && input.known) || is_new);
        Self {
            overlay: false,
            toast,
            placeholder: is_empty && input.read_only.is_none(),
            error_indicator,
            // Before the daemon has named the agent there is nobody to send a prompt to.
            composer_enabled: exists && input.read_only.is_none(),
            read_only: input.read_only,
        }
    }

    /// UX-3: the creation failed; nothing of the agent is left but the error.
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
