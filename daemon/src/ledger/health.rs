//! Store health: since when writes fail, how it is reported, and how often the log repeats it (C8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bowline_machines::MonotonicTime;
use bowline_protocol::{error::RpcError, model::UnixMillis};

/// Interval at which the log repeats that the store cannot be written.
const REMINDER: Duration = Duration::from_secs(60);

/// Time since which the store cannot be written, shared with readers; zero while it can.
#[derive(Debug, Default)]
pub(super) struct FailingSince(AtomicI64);

impl FailingSince {
    pub(super) fn get(&self) -> Option<UnixMillis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// The ledger's record of failed transactions.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: Option<Failing>,
    pub(super) shown: Arc<FailingSince>,
}

#[derive(Debug)]
struct Failing {
    since: MonotonicTime,
    logged_at: MonotonicTime,
    unlogged: u64,
}

impl Health {
    /// Whether the last transaction with changes failed to write them.
    pub(super) const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Records a transaction that could not be written.
    pub(super) fn failed(&mut self, now: MonotonicTime, wall: UnixMillis, error: &RpcError) {
        match &mut self.failing {
            None => {
                self.shown.0.store(wall.max(1), Ordering::Relaxed);
                tracing::error!(%error, "the store cannot be written: requests that change something are refused until it can");
                self.failing = Some(Failing {
                    since: now,
                    logged_at: now,
                    unlogged: 0,
                });
            }
            Some(failing) => {
                failing.unlogged += 1;
                if now.since(failing.logged_at) >= REMINDER {
                    let secs = now.since(failing.since).as_secs();
                    tracing::warn!(%error, transactions = failing.unlogged, secs, "the store still cannot be written");
                    failing.logged_at = now;
                    failing.unlogged = 0;
                }
            }
        }
    }

    /// Records a transaction that was written.
    pub(super) fn written(&mut self, now: MonotonicTime) {
        if let Some(failing) = self.failing.take() {
            self.shown.0.store(0, Ordering::Relaxed);
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
        let mut health = Health::default();
        let shown = Arc::clone(&health.shown);
        let error = RpcError::new(RpcReason::StorageUnavailable, "full");
        let at = MonotonicTime::from_millis;
        assert!(!health.is_failing());
        health.failed(at(1), 77, &error);
        health.failed(at(70_000), 99, &error);
        assert_eq!((health.is_failing(), shown.get()), (true, Some(77)));
        health.written(at(80_000));
        assert_eq!((health.is_failing(), shown.get()), (false, None));
    }
}
