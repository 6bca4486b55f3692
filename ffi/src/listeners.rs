//! Interfaces that apps implement. Each listener has one method with one argument, and may fail:
//! exceptions are counted, and sixteen in a row detach the listener.

use crate::{
    logging::LogBatch,
    records::{
        DirectoryUpdate, HostsSnapshot, LogUpdate, ScreenUpdate, TableUpdate, TimelineUpdate,
        TopicUpdate, TransferProgress,
    },
};

/// Failure of the app's callback.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// The callback failed, with a text for the log.
    #[error("{detail}")]
    Failed {
        /// Text for people.
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

/// Receives the state of all hosts.
#[uniffi::export(callback_interface)]
pub trait HostsListener: Send + Sync {
    /// The current state of all hosts.
    fn on_hosts(&self, snapshot: HostsSnapshot) -> Result<(), CallbackError>;
}

/// Receives the agents of all hosts.
#[uniffi::export(callback_interface)]
pub trait DirectoryListener: Send + Sync {
    /// The changes since the last call.
    fn on_directory(&self, update: DirectoryUpdate) -> Result<(), CallbackError>;
}

/// Receives the content of one agent's screen.
#[uniffi::export(callback_interface)]
pub trait ScreenListener: Send + Sync {
    /// The current screen, and the changes of its timeline since the last call.
    fn on_screen(&self, update: ScreenUpdate) -> Result<(), CallbackError>;
}

/// Receives one agent's timeline.
#[uniffi::export(callback_interface)]
pub trait TimelineListener: Send + Sync {
    /// The changes since the last call.
    fn on_timeline(&self, update: TimelineUpdate) -> Result<(), CallbackError>;
}

/// Receives the rows of one table.
#[uniffi::export(callback_interface)]
pub trait TableListener: Send + Sync {
    /// The changes since the last call.
    fn on_table(&self, update: TableUpdate) -> Result<(), CallbackError>;
}

/// Receives the items of one log.
#[uniffi::export(callback_interface)]
pub trait ItemsListener: Send + Sync {
    /// The changes since the last call.
    fn on_items(&self, update: LogUpdate) -> Result<(), CallbackError>;
}

/// Receives the events of one topic.
#[uniffi::export(callback_interface)]
pub trait TopicListener: Send + Sync {
    /// The events since the last call. One that fails is repeated.
    fn on_topic(&self, update: TopicUpdate) -> Result<(), CallbackError>;
}

/// Receives the progress of a blob.
#[uniffi::export(callback_interface)]
pub trait TransferListener: Send + Sync {
    /// The newest progress. The last one is of state `Done` or `Failed`.
    fn on_progress(&self, progress: TransferProgress) -> Result<(), CallbackError>;
}

/// Receives the library's log.
#[uniffi::export(callback_interface)]
pub trait LogListener: Send + Sync {
    /// The lines since the last call.
    fn on_log(&self, batch: LogBatch) -> Result<(), CallbackError>;
}
