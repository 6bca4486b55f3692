//! What apps implement. Each listener has one method with one argument, and may fail: an exception that comes out of
//! one is counted, and the listener is detached when that happens sixteen times in a row.

use crate::{
    logging::LogBatch,
    records::{DirectoryUpdate, HostsSnapshot, ScreenUpdate, TimelineUpdate},
};

/// The app's callback did not end well.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// It failed; the text says how, for the log.
    #[error("{detail}")]
    Failed {
        /// For people.
        detail: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for CallbackError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed {
            detail: error.reason,
        }
    }
}

/// Is told of all hosts.
#[uniffi::export(callback_interface)]
pub trait HostsListener: Send + Sync {
    /// Everything known of all hosts, as of now.
    fn on_hosts(&self, snapshot: HostsSnapshot) -> Result<(), CallbackError>;
}

/// Is told of the agents of all hosts.
#[uniffi::export(callback_interface)]
pub trait DirectoryListener: Send + Sync {
    /// What changed since the last call.
    fn on_directory(&self, update: DirectoryUpdate) -> Result<(), CallbackError>;
}

/// Is told what one agent's screen shows.
#[uniffi::export(callback_interface)]
pub trait ScreenListener: Send + Sync {
    /// The screen as of now, and what changed of its timeline since the last call.
    fn on_screen(&self, update: ScreenUpdate) -> Result<(), CallbackError>;
}

/// Is told of one agent's timeline.
#[uniffi::export(callback_interface)]
pub trait TimelineListener: Send + Sync {
    /// What changed since the last call.
    fn on_timeline(&self, update: TimelineUpdate) -> Result<(), CallbackError>;
}

/// Is given the library's log.
#[uniffi::export(callback_interface)]
pub trait LogListener: Send + Sync {
    /// What was logged since the last call.
    fn on_log(&self, batch: LogBatch) -> Result<(), CallbackError>;
}
