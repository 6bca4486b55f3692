//! The closed list of why there is no socket.

use std::{io, time::Duration};

use bowline_protocol::Reason;

use crate::{endpoint::AddressError, proxy::ProxyProblem, resolver::NameError, tls::TlsProblem};

/// Why there is no socket. No text holds a token or a password.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address does not read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The URL or a header in front of the socket does not read.
    #[error("not a usable address: {0}")]
    Request(String),
    /// The name has no address.
    #[error("not reachable at {place}: {problem}")]
    Name {
        /// `host:port`.
        place: String,
        /// What is wrong.
        problem: NameError,
    },
    /// No address answers.
    #[error("not reachable at {place}: {error}")]
    Connect {
        /// `host:port`.
        place: String,
        /// Of the address that failed last.
        error: io::Error,
    },
    /// The proxy on the way does not let it through.
    #[error("not reachable at {place}: {problem}")]
    Proxy {
        /// `host:port` behind the proxy.
        place: String,
        /// What is wrong.
        problem: ProxyProblem,
    },
    /// No TLS.
    #[error("no TLS with {place}: {problem}")]
    Tls {
        /// `host:port`.
        place: String,
        /// What is wrong.
        problem: TlsProblem,
    },
    /// An HTTP answer instead of a WebSocket.
    #[error("not usable at {place}: answered {status}, {}", meaning(*.status, *.is_relay))]
    Status {
        /// `host:port`.
        place: String,
        /// The HTTP status.
        status: u16,
        /// Not to be dialled again earlier than this, it says.
        retry_after: Option<Duration>,
        /// Whether a relay was expected there.
        is_relay: bool,
    },
    /// The connection ended during the upgrade.
    #[error("{place} hung up: {error}")]
    HungUp {
        /// `host:port`.
        place: String,
        /// How.
        error: io::Error,
    },
    /// Something answers that is no WebSocket of ours.
    #[error("{place} does not speak the protocol: {problem}")]
    Protocol {
        /// `host:port`.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

impl DialError {
    /// The closed reason. The one table of what an HTTP status means before there is a socket: Bowline's daemons and relays
    /// refuse their clients with close codes, so a status other than of load comes from something else.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Address(_)
            | Self::Request(_)
            | Self::Name { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. } => Reason::Unreachable,
            Self::Tls { .. } => Reason::TlsFailed,
            Self::Status { status: 429, .. } => Reason::RateLimited,
            Self::Status {
                status: 502..=504, ..
            } => Reason::ServerRestarting,
            Self::Status { .. } | Self::Protocol { .. } => Reason::NotBowline,
            Self::HungUp { .. } => Reason::ConnectionLost,
        }
    }

    /// Not to be dialled again earlier than this, says whoever answered.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Proxy { problem, .. } => problem.retry_after(),
            _ => None,
        }
    }

    /// The HTTP status of what was dialled.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// What a status says to people.
const fn meaning(status: u16, is_relay: bool) -> &'static str {
    match (status, is_relay) {
        (429, _) => "too many attempts",
        (503, _) => "it is overloaded or restarting",
        (502 | 504, _) => "a gateway is there, and what it leads to does not answer",
        (300..=399, _) => "it points elsewhere, and that is not followed; write the address itself",
        (401 | 403, true) => "it demands a permission that is not a Bowline relay's",
        (_, true) => "no relay there; are host, port and path of its URL right?",
        (_, false) => "no Bowline daemon there; are host and port right?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, is_relay: bool) -> DialError {
        DialError::Status {
            place: "h:1".to_owned(),
            status,
            retry_after: Some(Duration::from_secs(7)),
            is_relay,
        }
    }

    /// C32: a 404 where a relay should be was told as `daemon_offline`.
    #[test]
    fn case_c32_a_status_is_told_as_what_it_is() {
        assert_eq!(status(404, true).reason(), Reason::NotBowline);
        assert!(
            status(404, true)
                .to_string()
                .contains("answered 404, no relay there")
        );
        assert!(
            status(404, false)
                .to_string()
                .contains("no Bowline daemon there")
        );
        for (code, reason) in [
            (200, Reason::NotBowline),
            (301, Reason::NotBowline),
            (400, Reason::NotBowline),
            (401, Reason::NotBowline),
            (403, Reason::NotBowline),
            (426, Reason::NotBowline),
            (429, Reason::RateLimited),
            (500, Reason::NotBowline),
            (502, Reason::ServerRestarting),
            (503, Reason::ServerRestarting),
            (504, Reason::ServerRestarting),
        ] {
            for is_relay in [true, false] {
                let error = status(code, is_relay);
                assert_eq!(error.reason(), reason, "{code}");
                assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
                assert!(
                    reason.is_recoverable(),
                    "a stranger's status is never final"
                );
            }
        }
    }
}
