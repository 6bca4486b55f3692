//! What can go wrong when asking, each with what to do about it.

use std::{io, time::Duration};

use bowline_protocol::{Reason, error::RpcError};

use crate::Endpoint;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("no daemon answers at {endpoint}")]
    NotReachable {
        /// Where.
        endpoint: Endpoint,
    },
    /// The system does not let us in: it belongs to another user.
    #[error("the local socket {endpoint} belongs to another user; ask as that user")]
    Forbidden {
        /// Where.
        endpoint: Endpoint,
    },
    /// Another user's process listens there. Nothing was sent to it.
    #[error(
        "user {uid} listens at {endpoint}, and that is neither you nor root; whatever it is, it is not your daemon"
    )]
    Stranger {
        /// Where.
        endpoint: Endpoint,
        /// Whose process it is.
        uid: u32,
    },
    /// Somebody listens, but did not take the connection in time.
    #[error("the daemon at {endpoint} did not take the connection within {deadline:?}")]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// The time it had.
        deadline: Duration,
    },
    /// This platform has no local socket we know of.
    #[error("local sockets are not supported on this platform")]
    Unsupported,
    /// Anything else.
    #[error("cannot connect to {endpoint}: {error}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        error: io::Error,
    },
}

impl ConnectError {
    /// Sorts an error of the operating system.
    pub(crate) fn of(endpoint: &Endpoint, error: io::Error) -> Self {
        let endpoint = endpoint.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotReachable { endpoint }
            }
            io::ErrorKind::PermissionDenied => Self::Forbidden { endpoint },
            _ => Self::Io { endpoint, error },
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The daemon's word (`connection.closing`), or what this side saw.
    pub reason: Reason,
    /// What the daemon said of it in words, where it did.
    pub said: Option<String>,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        match &self.said {
            Some(said) => write!(f, ": {said}"),
            None => Ok(()),
        }
    }
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon said no. The connection goes on.
    #[error("{0}")]
    Rpc(#[from] RpcError),
    /// The connection ended before the answer came; connect again. An intent sent again with its id tells whether it had
    /// an effect.
    #[error("the connection to the daemon ended ({0})")]
    Closed(Closed),
    /// The deadline passed. The connection goes on; an answer that comes later is dropped.
    #[error("no answer to `{method}` within {deadline:?}")]
    Timeout {
        /// What was asked.
        method: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The request is longer than the daemon reads, so it was not sent.
    #[error("the request has {bytes} bytes, the limit is {limit}; ask for less at once")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The batch has more calls than the daemon takes at once, so it was not sent.
    #[error("the batch has {calls} calls, the limit is {limit}; send several")]
    TooMany {
        /// Its calls and notifications.
        calls: usize,
        /// Most calls.
        limit: usize,
    },
    /// The parameters are no JSON, so nothing was sent.
    #[error("the parameters do not serialise: {0}")]
    Params(serde_json::Error),
    /// The answer is not of the type asked for.
    #[error("the result of `{method}` is not as expected: {error}")]
    Result {
        /// What was asked.
        method: String,
        /// Where it differs.
        error: serde_json::Error,
    },
}

impl CallError {
    /// Whether the connection is of no more use.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}
