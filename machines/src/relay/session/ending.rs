//! How a socket of a session ends.

use bowline_protocol::{Reason, relay::CloseText};

/// Close code of a client socket that ended without a close frame, RFC 6455 §7.1.5.
const ABNORMAL: u16 = 1006;

/// How a client socket or a data socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ended without a close frame.
    Lost,
    /// The peer closed it with this code.
    ByPeer(u16),
    /// The daemon requested the end of a client socket, with this code.
    ByDaemon(u16),
    /// The relay closes it.
    ByRelay(CloseText),
    /// The session is over.
    Finished,
}

impl Ending {
    /// The close code sent to the daemon for a lane that ended this way; `None` if the daemon
    /// requested the end, or learns it from the end of its data socket.
    pub const fn told(self) -> Option<u16> {
        match self {
            Self::Lost => Some(ABNORMAL),
            Self::ByPeer(code) => Some(code),
            Self::ByRelay(text) => text.reason.close_code(),
            Self::ByDaemon(_) | Self::Finished => None,
        }
    }
}

impl From<Reason> for Ending {
    fn from(reason: Reason) -> Self {
        Self::ByRelay(reason.into())
    }
}
