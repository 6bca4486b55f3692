//! How long the sessions of a daemon outlive its control socket at a relay (RL-2).

use std::time::Duration;

use crate::{MonotonicTime, liveness::time_lost};

/// Interval of [`Absence::check`].
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Lateness of a check from which the relay's machine was suspended: daemons could not come back
/// meanwhile (LS-5).
const TOLERANCE: Duration = Duration::from_millis(1_500);

/// The rule for all absent daemons of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    grace: Duration,
    due: MonotonicTime,
    /// No absence is over before this time.
    forgiven_until: MonotonicTime,
}

impl Absence {
    /// Sessions outlive their daemon's control socket by `grace`.
    pub fn new(now: MonotonicTime, grace: Duration) -> Self {
        Self {
            grace,
            due: now + INTERVAL,
            forgiven_until: now,
        }
    }

    /// Call every [`INTERVAL`]. After a suspension every daemon gets its whole time again.
    pub fn check(&mut self, now: MonotonicTime) {
        if time_lost(now, self.due, TOLERANCE).is_some() {
            self.forgiven_until = now + self.grace;
        }
        self.due = now + INTERVAL;
    }

    /// Whether the sessions of a daemon end that has been absent since then.
    pub fn is_over(&self, now: MonotonicTime, since: MonotonicTime) -> bool {
        now >= self.forgiven_until && since + self.grace <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_millis(millis)
    }

    /// When an absence that began at `since` is over, if checks come at these intervals in turn.
    fn over(since: u64, intervals: impl Fn(u64) -> Duration) -> u64 {
        let mut absence = Absence::new(at(0), GRACE);
        let mut now = at(0);
        while !absence.is_over(now, at(since)) {
            now = now + intervals(now.as_millis());
            absence.check(now);
        }
        now.as_millis()
    }

    #[test]
    fn rl_2_sessions_outlive_their_daemons_control_socket_by_the_grace() {
        assert_eq!(over(1_000, |_| INTERVAL), 11_000);
        assert_eq!(over(1_000, |_| INTERVAL * 4), 12_000, "a busy relay");
    }

    #[test]
    fn ls_5_after_a_suspension_daemons_get_their_whole_time_again() {
        let suspended = |now| match now {
            5_000 => Duration::from_secs(3_600),
            _ => INTERVAL,
        };
        assert_eq!(over(1_000, suspended), 5_000 + 3_600_000 + 10_000);
    }
}
