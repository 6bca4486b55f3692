//! The text beside a close code: its reason, and how long to stay away.

use std::{fmt, time::Duration};

use super::limits::MAX_RETRY_AFTER;
use crate::Reason;

const RETRY_AFTER: &str = ";retryAfterMs=";

/// Text of a close frame: `rate_limited`, or `rate_limited;retryAfterMs=1500`.
///
/// The code alone says everything that a client must know. The time is what makes the peers of a restarted relay come
/// back one after the other, and what a limited client waits at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseText {
    /// What the code says as well.
    pub reason: Reason,
    /// Not to be tried again earlier than this.
    pub retry_after: Option<Duration>,
}

impl CloseText {
    /// The time to stay away that the text of a received close frame asks for; `None` when it asks for none.
    pub fn retry_after(text: &str) -> Option<Duration> {
        let (_, millis) = text.split_once(RETRY_AFTER)?;
        // Nobody is to be sent away for ever.
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
