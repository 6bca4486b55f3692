//! The monotonic clock of the machines.

use std::{sync::LazyLock, time::Duration};

use bowline_machines::MonotonicTime;
use tokio::time::Instant;

/// Start of the clock: once per process, so that sessions need not store it.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The current time, for machines.
pub(crate) fn now() -> MonotonicTime {
    let elapsed = Instant::now().saturating_duration_since(*ZERO).as_millis();
    MonotonicTime::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
}

/// A machine's time, for timers.
pub(crate) fn instant(time: MonotonicTime) -> Instant {
    *ZERO + Duration::from_millis(time.as_millis())
}
