//! Whether the store can be written: since when not, who is told, and how often the log says so (C8).

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use bowline_machines::Moment;
use bowline_protocol::{error::RpcError, model::UnixMillis};

/// How often the log repeats that nothing can be written.
const REMINDER: Duration = Duration::from_secs(60);

/// Since when the store cannot be written, for whoever asks; zero while it can.
#[derive(Debug, Default)]
pub(super) struct FailingSince(AtomicI64);

impl FailingSince {
    pub(super) fn get(&self) -> Option<UnixMillis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// What the ledger remembers of transactions that failed.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Moment,
    said: Moment,
    unsaid: u64,
}

impl Health {
    /// Whether the last transaction that had something to write could not write it.
    pub(super) const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// A transaction could not be written.
    pub(super) fn failed(
        &mut self,
        now: Moment,
        wall: UnixMillis,
        shown: &FailingSince,
        error: &RpcError,
    ) {
        match &mut self.failing {
            None => {
                shown.0.store(wall.max(1), Ordering::Relaxed);
                tracing::error!(%error, "the store cannot be written: requests that change something are refused until it can");
                self.failing = Some(Failing {
                    since: now,
                    said: now,
                    unsaid: 0,
                });
            }
            Some(failing) => {
                failing.unsaid += 1;
                if now.since(failing.said) >= REMINDER {
                    let secs = now.since(failing.since).as_secs();
                    tracing::warn!(%error, transactions = failing.unsaid, secs, "the store still cannot be written");
                    failing.said = now;
                    failing.unsaid = 0;
                }
            }
        }
    }

    /// A transaction was written.
    pub(super) fn written(&mut self, now: Moment, shown: &FailingSince) {
        if let Some(failing) = self.failing.take() {
            shown.0.store(0, Ordering::Relaxed);
            let secs = now.since(failing.since).as_secs();
            tracing::info!(secs, "the store can be written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::RpcReason;

    use super::*;

    #[test]
    fn case_c8_since_when_nothing_can_be_written_is_known() {
        let (mut health, shown) = (Health::default(), FailingSince::default());
        let error = RpcError::new(RpcReason::StorageUnavailable, "full");
        let at = Moment::from_millis;
        assert!(!health.is_failing());
        health.failed(at(1), 77, &shown, &error);
        health.failed(at(70_000), 99, &shown, &error);
        assert_eq!((health.is_failing(), shown.get()), (true, Some(77)));
        health.written(at(80_000), &shown);
        assert_eq!((health.is_failing(), shown.get()), (false, None));
    }
}
