//! What it takes to follow a log of a service: its name and parameters, and how that fails.

use bowline_machines::data::logs::LogView;
use bowline_machines::data::target::LiveTarget;
use serde::Serialize;

use crate::{
    screen::ScreenError,
    subscription::{Publisher, Subscription},
    table::read_target,
};

/// A log that could not be followed, or has ended. What the daemon answers is part of the
/// [`LogView`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The name is no name of a log, or the parameters are not JSON of at most
    /// [`LIVE_PARAMS_BYTES`](bowline_protocol::limits::LIVE_PARAMS_BYTES).
    #[error("{0}")]
    Invalid(String),
    /// The host cannot be reached through: unknown, busy, gone, or at its limit of open logs.
    #[error(transparent)]
    Host(#[from] ScreenError),
}

/// Reads a log's name and parameters.
pub(crate) fn target<P: Serialize + ?Sized>(
    name: &str,
    params: &P,
) -> Result<LiveTarget, LogError> {
    read_target(name, params, "log").map_err(LogError::Invalid)
}

/// The views of a log.
pub(crate) type LogViews = Subscription<LogView, LogError>;

/// The driver's side of a log.
pub(crate) type LogPublisher = Publisher<LogView, LogError>;
