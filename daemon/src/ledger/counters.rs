//! What the ledger has done so far, for `daemon.status` and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::metrics::{COUNT_BOUNDS, Histogram, TIME_BOUNDS};

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        #[derive(Debug)]
        pub(super) struct Counters {
            $( pub(super) $name: AtomicU64, )*
            /// Writing jobs of one commit.
            pub(super) commit_jobs: Histogram,
            /// Microseconds of one commit.
            pub(super) commit_times: Histogram,
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $( $name: AtomicU64::new(0), )*
                    commit_jobs: Histogram::new(COUNT_BOUNDS),
                    commit_times: Histogram::new(TIME_BOUNDS),
                }
            }
        }

        /// Counts since the start of the process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct LedgerCounters { $( $(#[$doc])* pub $name: u64, )* }

        impl Counters {
            pub(super) fn snapshot(&self) -> LedgerCounters {
                LedgerCounters { $( $name: self.$name.load(Ordering::Relaxed), )* }
            }
        }
    };
}

counters! {
    /// Transactions committed for jobs.
    commits,
    /// Transactions of any kind that failed; nothing of them happened.
    failed_commits,
    /// Writing jobs committed.
    writes,
    /// Intents run.
    intents_run,
    /// Intents answered from memory.
    intents_repeated,
    /// Intents refused because their id had come with other parameters.
    intent_conflicts,
    /// Events made; each is serialised once, whatever the number of sessions and connections.
    events_serialised,
    /// Frames handed to connections.
    frames_pushed,
    /// Events that left a replay log before they were acknowledged, for want of room.
    replay_evicted,
    /// Attaches.
    attaches,
    /// Sessions that have expired.
    sessions_expired,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
