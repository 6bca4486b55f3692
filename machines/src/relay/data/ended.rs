//! How a daemon's data socket ends.

use std::time::Duration;

use bowline_protocol::Reason;

use crate::daemon::registration::DataSocketEnd;

/// How a data socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The session has no clients, according to the relay.
    Gone,
    /// It broke, or the relay closed it.
    Lost {
        /// The reason.
        reason: Reason,
        /// Least delay before it is opened again.
        retry_after: Option<Duration>,
    },
    /// The relay violated the protocol; the reason is sent to it.
    Violation(Reason),
    /// The daemon is stopping, and all lanes have ended.
    Finished,
    /// Dropped by the registration.
    Dropped,
}

impl From<Ended> for DataSocketEnd {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone | Ended::Finished | Ended::Dropped => Self::Gone,
            Ended::Lost {
                reason,
                retry_after,
            } => Self::Lost {
                reason,
                retry_after,
            },
            Ended::Violation(reason) => Self::Lost {
                reason,
                retry_after: None,
            },
        }
    }
}
