//! Load errors and retry pauses, shared by the client machines that fetch data.

use std::time::Duration;

use bowline_protocol::{Reason, RpcReason, error::RpcError};
use serde::Serialize;

use crate::MonotonicTime;

/// Pause before the first retry of a failed load; it doubles with every consecutive failure.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between retries.
pub const RETRY_CAP: Duration = Duration::from_secs(30);
/// Time after which a load without an answer has failed (INV-12).
pub const LOAD_DEADLINE: Duration = Duration::from_secs(30);

/// Where a client stands in what it follows, to go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The last event, in the epoch in force, whose effects it has.
    pub seq: u64,
    /// The follow that this is true of, as its answer said. What happened between two follows has
    /// no number in the session, so the number of an event does not tell them apart.
    pub follow: Option<u64>,
}

/// Why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum LoadError {
    /// There is no connection, or it ended before the answer. The next attach retries.
    Lost(Reason),
    /// The daemon answered with an error.
    Rejected(RpcReason),
    /// No answer within [`LOAD_DEADLINE`].
    TimedOut,
    /// The answer does not match the request.
    Malformed,
    /// More events arrived during the load than the machine keeps; it is loaded again.
    Overrun,
}

impl From<RpcError> for LoadError {
    /// JSON-RPC's own errors have no reason: an internal error may be temporary; an unknown method
    /// or invalid parameters are final.
    fn from(error: RpcError) -> Self {
        let unnamed = if error.is_final() {
            RpcReason::Unsupported
        } else {
            RpcReason::Overloaded
        };
        Self::Rejected(error.reason().unwrap_or(unnamed))
    }
}

impl LoadError {
    /// Whether the machine retries automatically after a pause. A lost connection is retried by the
    /// next attach; a final error of the daemon only by a refresh or an attach.
    pub const fn is_retried_by_timer(self) -> bool {
        match self {
            Self::Rejected(reason) => !reason.is_final(),
            Self::Lost(_) => false,
            Self::TimedOut | Self::Malformed | Self::Overrun => true,
        }
    }

    /// Whether the daemon refused it for good: only a refresh or an attach asks again.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Rejected(reason) if reason.is_final())
    }

    /// The reason for the transition log, if it is one of the connection's.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Lost(reason) => Some(reason),
            Self::Rejected(_) | Self::TimedOut | Self::Malformed | Self::Overrun => None,
        }
    }
}

/// Time of the automatic retry after `failures` consecutive failures, if there is one.
///
/// Without jitter: after a daemon's restart, the jitter of reconnects spreads the clients.
pub(crate) fn retry_at(
    now: MonotonicTime,
    error: LoadError,
    failures: u32,
) -> Option<MonotonicTime> {
    error
        .is_retried_by_timer()
        .then(|| now + retry_delay(failures))
}

fn retry_delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let seconds: Vec<u64> = (0..8).map(|n| retry_delay(n).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(retry_delay(u32::MAX), RETRY_CAP);
    }

    #[test]
    fn an_error_without_a_reason_is_tried_again_unless_it_is_final() {
        let internal = LoadError::from(RpcError::internal("defect"));
        assert_eq!(internal, LoadError::Rejected(RpcReason::Overloaded));
        let invalid = LoadError::from(RpcError::invalid_params("no such field"));
        assert_eq!(invalid, LoadError::Rejected(RpcReason::Unsupported));
    }

    #[test]
    fn only_answers_that_can_change_are_retried_by_timer() {
        assert!(LoadError::Rejected(RpcReason::Overloaded).is_retried_by_timer());
        assert!(LoadError::TimedOut.is_retried_by_timer());
        assert!(!LoadError::Rejected(RpcReason::NotFound).is_retried_by_timer());
        assert!(!LoadError::Lost(Reason::ConnectionLost).is_retried_by_timer());
    }
}
