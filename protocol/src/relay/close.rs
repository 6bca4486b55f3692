//! The text beside a close code: its reason and the least delay before a reconnect.

use std::{fmt, time::Duration};

use super::limits::MAX_RETRY_AFTER;
use crate::Reason;

const RETRY_AFTER: &str = ";retryAfterMs=";

/// Text of a close frame: `rate_limited`, or `rate_limited;retryAfterMs=1500`.
///
/// The close code alone is sufficient for a client. The delay spreads the reconnects after a
/// restart of a relay, and is the least wait of a rate-limited client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseText {
    /// The reason, same as the code's.
    pub reason: Reason,
    /// Least delay of the next attempt.
    pub retry_after: Option<Duration>,
}

impl CloseText {
    /// The retry delay in the text of a received close frame, at most [`MAX_RETRY_AFTER`]; `None`
    /// if there is none.
    pub fn retry_after(text: &str) -> Option<Duration> {
        let (_, millis) = text.split_once(RETRY_AFTER)?;
        // Bounded, so that no relay can stop a client for ever.
        let millis = millis.parse::<u64>().ok()?;
        Some(Duration::from_millis(millis).min(MAX_RETRY_AFTER))
    }
}

impl From<Reason> for CloseText {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

impl fmt::Display for CloseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        match self.retry_after {
            Some(time) => write!(f, "{RETRY_AFTER}{}", time.as_millis()),
            None => Ok(()),
        }
    }
}
