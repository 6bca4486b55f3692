//! Reports of a network change: the first takes effect at once, and those within a pause after it
//! as one, at its end. Each report restarts dials, so repeated reports of one change would delay
//! the connection that the change made possible (LS-3).

use std::time::Duration;

use crate::MonotonicTime;

/// The delayed report, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NetworkReports {
    is_waiting: bool,
    /// No report takes effect before this time.
    quiet_until: MonotonicTime,
}

impl NetworkReports {
    /// Whether a report takes effect now; otherwise it does at [`Self::deadline`].
    pub(super) fn report(&mut self, now: MonotonicTime, pause: Duration) -> bool {
        self.is_waiting = now < self.quiet_until;
        if !self.is_waiting {
            self.quiet_until = now + pause;
        }
        !self.is_waiting
    }

    /// When the delayed report takes effect.
    pub(super) fn deadline(self) -> Option<MonotonicTime> {
        self.is_waiting.then_some(self.quiet_until)
    }

    /// The state that determines future behaviour, relative to `now`.
    pub(super) fn fingerprint(self, now: MonotonicTime) -> (bool, Duration) {
        (self.is_waiting, self.quiet_until.since(now))
    }
}
