//! Errors of connecting and calling, each with what to do about it.

use std::{io, time::Duration};

use bowline_protocol::{Reason, error::RpcError};

use crate::Endpoint;

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No process listens at the endpoint.
    #[error("no daemon answers at {endpoint}")]
    NotReachable {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// Permission denied: the socket belongs to another user.
    #[error("the local socket {endpoint} belongs to another user; run this as that user")]
    Forbidden {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The listener is another user's process (TR-17). Nothing was sent to it.
    #[error(
        "the process at {endpoint} belongs to user {user}, who is neither you nor an administrator of this machine, so \
         it is not your daemon, and nothing was sent to it: run this as that user if the daemon is theirs; otherwise \
         stop that process, or choose another path with --socket"
    )]
    Stranger {
        /// The endpoint.
        endpoint: Endpoint,
        /// The user of the listening process: a user id, on Windows a security identifier.
        user: String,
    },
    /// The listener did not accept the connection in time.
    #[error("the daemon at {endpoint} did not accept the connection within {deadline:?}")]
    Timeout {
        /// The endpoint.
        endpoint: Endpoint,
        /// The deadline.
        deadline: Duration,
    },
    /// This platform has no supported local socket.
    #[error("local sockets are not supported on this platform")]
    Unsupported,
    /// Any other I/O error.
    #[error("cannot connect to {endpoint}: {error}")]
    Io {
        /// The endpoint.
        endpoint: Endpoint,
        /// The I/O error.
        error: io::Error,
    },
}

impl ConnectError {
    /// Classifies an I/O error.
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

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The daemon's reason (`connection.closing`), or what this side observed.
    pub reason: Reason,
    /// The daemon's message, if it sent one.
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
    /// The daemon answered with an error. The connection continues.
    #[error("{0}")]
    Rpc(#[from] RpcError),
    /// The connection ended before the answer arrived; connect again. Sending an intent again with
    /// its id returns its outcome.
    #[error("the connection to the daemon ended ({0})")]
    Closed(Closed),
    /// The deadline passed. The connection continues; a late answer is dropped.
    #[error("no answer to `{method}` within {deadline:?}")]
    Timeout {
        /// The method.
        method: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The request exceeds the daemon's limit and was not sent.
    #[error("the request has {bytes} bytes, the limit is {limit}; send a smaller one")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// Longest request in bytes.
        limit: usize,
    },
    /// The batch has more calls than the daemon accepts and was not sent.
    #[error("the batch has {calls} calls, the limit is {limit}; send several")]
    TooMany {
        /// Its calls and notifications.
        calls: usize,
        /// Most calls and notifications.
        limit: usize,
    },
    /// The parameters do not serialise as JSON; nothing was sent.
    #[error("the parameters do not serialise: {0}")]
    Params(serde_json::Error),
    /// The result does not have the requested type.
    #[error("the result of `{method}` is not as expected: {error}")]
    Result {
        /// The method.
        method: String,
        /// The parser's error.
        error: serde_json::Error,
    },
}

impl CallError {
    /// Whether the connection has ended.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}
