//! The closed list of dial errors.

use std::{io, time::Duration};

use bowline_protocol::Reason;

use crate::{destination::AddressError, proxy::ProxyProblem, resolver::NameError, tls::TlsProblem};

/// Why no TCP connection was made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum ConnectProblem {
    /// The host name did not resolve.
    Name(#[from] NameError),
    /// No address answered: the error of the one that failed last.
    Address(#[from] io::Error),
}

/// Why no WebSocket was opened. No text contains a token or a password.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is malformed.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The URL or a request header is malformed.
    #[error("not a usable address: {0}")]
    Request(String),
    /// No TCP connection.
    #[error("not reachable at {place}: {problem}")]
    Connect {
        /// `host:port`.
        place: String,
        /// The problem.
        problem: ConnectProblem,
    },
    /// The proxy did not open the connection.
    #[error("not reachable at {place}: {problem}")]
    Proxy {
        /// `host:port` behind the proxy.
        place: String,
        /// The proxy's problem.
        problem: ProxyProblem,
    },
    /// The TLS handshake failed.
    #[error("no TLS with {place}: {problem}")]
    Tls {
        /// `host:port`.
        place: String,
        /// The TLS problem.
        problem: TlsProblem,
    },
    /// The server answered the upgrade with an HTTP status.
    #[error("not usable at {place}: answered {status}, {}", meaning(*.status, *.is_relay))]
    Status {
        /// `host:port`.
        place: String,
        /// The HTTP status.
        status: u16,
        /// Least delay of the next attempt, from `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether the destination is a relay.
        is_relay: bool,
    },
    /// The connection ended during the upgrade.
    #[error("{place} closed the connection during the upgrade: {error}")]
    HungUp {
        /// `host:port`.
        place: String,
        /// The I/O error.
        error: io::Error,
    },
    /// The server does not speak Bowline's WebSocket protocol.
    #[error("{place} does not speak the protocol: {problem}")]
    Protocol {
        /// `host:port`.
        place: String,
        /// The problem.
        problem: String,
    },
}

impl DialError {
    /// The closed reason, from the only table of HTTP statuses: Bowline's daemons and relays refuse
    /// clients with close codes, so every status except those of load comes from another server.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Address(_) | Self::Request(_) | Self::Connect { .. } | Self::Proxy { .. } => {
                Reason::Unreachable
            }
            Self::Tls { .. } => Reason::TlsFailed,
            Self::Status { status: 429, .. } => Reason::RateLimited,
            Self::Status {
                status: 502..=504, ..
            } => Reason::ServerRestarting,
            Self::Status { .. } | Self::Protocol { .. } => Reason::NotBowline,
            Self::HungUp { .. } => Reason::ConnectionLost,
        }
    }

    /// Least delay of the next attempt, if the server or proxy sent one.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Proxy { problem, .. } => problem.retry_after(),
            _ => None,
        }
    }

    /// HTTP status of the server, if it answered with one.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Meaning of a status, for people.
const fn meaning(status: u16, is_relay: bool) -> &'static str {
    match (status, is_relay) {
        (429, _) => "too many attempts",
        (503, _) => "it is overloaded or restarting",
        (502 | 504, _) => "a gateway answers, but not the server behind it",
        (300..=399, _) => "it redirects, which is not followed; use the target address itself",
        (401 | 403, true) => "it requires an authorization that no Bowline relay asks for",
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

    /// C32: a 404 instead of a relay was reported as `daemon_offline`.
    #[test]
    fn case_c32_a_status_is_reported_as_such() {
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
                    "an unauthenticated status is never final"
                );
            }
        }
    }
}
