//! What the client machines that fetch something share: why a load failed and when it is tried again.

use std::time::Duration;

use bowline_protocol::{Reason, RpcReason};
use serde::Serialize;

/// Pause before the first repetition of a failed load; it doubles with every failure in a row.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two repetitions.
pub const RETRY_CAP: Duration = Duration::from_secs(30);
/// A load that was not answered for so long has failed (INV-12).
pub const LOAD_DEADLINE: Duration = Duration::from_secs(30);

/// Why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum LoadError {
    /// There is no connection, or it ended under the request. The next attach tries again.
    Lost(Reason),
    /// The daemon answered with one of its errors.
    Rejected(RpcReason),
    /// No answer within [`LOAD_DEADLINE`].
    TimedOut,
    /// The answer is not what was asked for.
    Malformed,
    /// More happened while the load ran than this machine keeps; it is loaded again.
    Overrun,
}

impl LoadError {
    /// Whether the machine tries again by itself after a pause. A lost connection is tried again by the
    /// attach that follows; a final answer of the daemon only by a refresh or an attach.
    pub const fn is_retried_by_timer(self) -> bool {
        match self {
            Self::Rejected(reason) => !matches!(
                reason,
                RpcReason::NotFound | RpcReason::Forbidden | RpcReason::Unsupported
            ),
            Self::Lost(_) => false,
            Self::TimedOut | Self::Malformed | Self::Overrun => true,
        }
    }

    /// The reason for the transition log, where it is one of the connection's.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Lost(reason) => Some(reason),
            Self::Rejected(_) | Self::TimedOut | Self::Malformed | Self::Overrun => None,
        }
    }
}

/// Pause before the repetition that follows so many failures in a row.
///
/// Without jitter: what spreads clients after a daemon's restart is the jitter of their reconnects.
pub(crate) fn retry_delay(failures: u32) -> Duration {
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
    fn only_answers_that_can_change_are_retried_by_timer() {
        assert!(LoadError::Rejected(RpcReason::Overloaded).is_retried_by_timer());
        assert!(LoadError::TimedOut.is_retried_by_timer());
        assert!(!LoadError::Rejected(RpcReason::NotFound).is_retried_by_timer());
        assert!(!LoadError::Lost(Reason::ConnectionLost).is_retried_by_timer());
    }
}
