//! How a daemon's data socket ends.

use std::time::Duration;

use bowline_protocol::{Claim, Reason};

use crate::daemon::registration::DataSocketEnd;

/// Close code of a socket whose purpose is fulfilled, RFC 6455 §7.4.1.
const NORMAL: u16 = 1000;

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

impl Ended {
    pub(super) const fn lost(reason: Reason) -> Self {
        let retry_after = None;
        Self::Lost {
            reason,
            retry_after,
        }
    }

    /// The relay closes the socket of a session without clients normally (`docs/protocol.md` §9). A
    /// reason in the clear is only a claim, which decides no more than the pause and the text.
    pub(super) fn by_close(code: Option<u16>, retry_after: Option<Duration>) -> Self {
        if code == Some(NORMAL) {
            return Self::Gone;
        }
        Self::Lost {
            reason: Claim::of_close_code(code).claimed(),
            retry_after,
        }
    }

    /// The reason sent to the relay, if the daemon ends the socket.
    pub const fn goodbye(self) -> Option<Reason> {
        match self {
            Self::Finished => Some(Reason::ServerRestarting),
            Self::Violation(reason) => Some(reason),
            Self::Gone | Self::Lost { .. } | Self::Dropped => None,
        }
    }
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
