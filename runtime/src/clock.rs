//! The runtime's monotonic clock and one lazily armed alarm per driver.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use bowline_machines::Moment;
use tokio::time::{Instant, Sleep, sleep_until};

/// Milliseconds since this clock began. Follows tokio's clock, so that tests and simulations can hold time.
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

    pub(crate) fn now(&self) -> Moment {
        let millis = self.zero.elapsed().as_millis();
        Moment::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.zero + Duration::from_millis(moment.as_millis())
    }
}

/// One timer that is moved only when it must fire earlier. Deadlines mostly move away with every message;
/// letting the timer fire once in vain is cheaper than moving it each time.
#[derive(Default)]
pub(crate) struct Alarm {
    armed: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl Alarm {
    /// True when the alarm has rung for `deadline`; otherwise the task is woken by then at the latest.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Option<Moment>,
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

/// Milliseconds since the Unix epoch, by this machine's clock; only for what people and journals see.
pub(crate) fn unix_millis() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
