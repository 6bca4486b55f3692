//! The rule for clocks that jump (LS-5): a timer that fires far too late means that this machine
//! slept or the process was suspended. Time in which peers could not act does not count against
//! them.

use std::time::Duration;

use crate::MonotonicTime;

/// Least time by which the wall clock must gain on the monotonic clock to count as sleep.
/// Corrections of the wall clock are smaller.
const SLEEP: Duration = Duration::from_secs(60);

/// Measures sleep of this device that the monotonic clock does not count: on Linux and on Apple's
/// systems it stops meanwhile. A wall clock that was set forward looks the same, and counts.
#[derive(Clone, Copy, Debug)]
pub struct SleepMeter {
    /// Milliseconds by which the wall clock is ahead of the monotonic clock, without sleep.
    ahead: i64,
}

impl SleepMeter {
    /// Starts with the present times; `wall` in milliseconds since the Unix epoch.
    pub const fn new(now: MonotonicTime, wall: i64) -> Self {
        Self {
            ahead: ahead(now, wall),
        }
    }

    /// Time slept since the last call that returned some, once it exceeds a minute.
    pub fn check(&mut self, now: MonotonicTime, wall: i64) -> Option<Duration> {
        let ahead = ahead(now, wall);
        let gained = ahead.saturating_sub(self.ahead);
        if gained < 0 {
            // The wall clock was set back.
            self.ahead = ahead;
        }
        let slept = Duration::from_millis(u64::try_from(gained).unwrap_or(0));
        if slept <= SLEEP {
            return None;
        }
        self.ahead = ahead;
        Some(slept)
    }
}

const fn ahead(now: MonotonicTime, wall: i64) -> i64 {
    wall.saturating_sub_unsigned(now.as_millis())
}

/// Tolerance of a task's own timer.
pub const CLOCK_JUMP: Duration = Duration::from_secs(3);

/// Tolerance of a deadline checked by a sweep over all connections (ADR 0015).
pub const SWEPT_CLOCK_JUMP: Duration = Duration::from_secs(10);

/// Time lost if a timer due at `due` fires only at `now`; `None` within the tolerance.
pub fn time_lost(now: MonotonicTime, due: MonotonicTime, tolerance: Duration) -> Option<Duration> {
    let late = now.since(due);
    (late > tolerance).then_some(late)
}
