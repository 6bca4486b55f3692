//! The runtime's monotonic clock and one lazily armed alarm per driver.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use bowline_machines::MonotonicTime;
use tokio::time::{Instant, Sleep, sleep_until};

/// Milliseconds since the creation of this clock. Follows tokio's clock, so that tests and
/// simulations control time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            zero: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> MonotonicTime {
        self.at(Instant::now())
    }

    /// An instant on this clock; its beginning for an earlier one.
    pub(crate) fn at(&self, instant: Instant) -> MonotonicTime {
        let millis = instant.saturating_duration_since(self.zero).as_millis();
        MonotonicTime::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn instant(&self, moment: MonotonicTime) -> Instant {
        self.zero + Duration::from_millis(moment.as_millis())
    }
}

/// One timer that is moved only if it must fire earlier. Deadlines usually move later with every
/// message; one spurious wake-up is cheaper than moving the timer each time.
#[derive(Default)]
pub(crate) struct Alarm {
    armed: Option<(MonotonicTime, Pin<Box<Sleep>>)>,
}

impl Alarm {
    /// True if `deadline` has passed; otherwise the task is woken by then at the latest.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Option<MonotonicTime>,
    ) -> bool {
        let Some(deadline) = deadline else {
            self.armed = None;
            return false;
        };
        loop {
            match &mut self.armed {
                Some((at, sleep)) if *at <= deadline => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return false;
                    }
                    self.armed = None;
                    if deadline <= clock.now() {
                        return true;
                    }
                }
                Some((at, sleep)) => {
                    *at = deadline;
                    sleep.as_mut().reset(clock.instant(deadline));
                }
                None => {
                    let sleep = Box::pin(sleep_until(clock.instant(deadline)));
                    self.armed = Some((deadline, sleep));
                }
            }
        }
    }
}

/// Milliseconds since the Unix epoch by the system clock; only for display and journals.
pub(crate) fn unix_millis() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
