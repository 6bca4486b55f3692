//! Counters of the ledger, for `daemon.status` and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::Serialize;

use bowline_program::metrics::{COUNT_BOUNDS, Histogram, TIME_BOUNDS};

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        #[derive(Debug)]
        pub(super) struct Counters {
            $( pub(super) $name: AtomicU64, )*
            /// Writing jobs of one commit.
            pub(super) commit_jobs: Histogram,
            /// Microseconds per commit.
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
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
    /// Failed transactions of any kind; none of their changes remain.
    failed_commits,
    /// Writing jobs committed.
    writes,
    /// Intents run.
    intents_run,
    /// Intents answered with a stored outcome.
    intents_repeated,
    /// Intents refused because their id was used with other parameters.
    intent_conflicts,
    /// Events created; each is serialised once for all sessions and connections.
    events_serialised,
    /// Frames queued to connections.
    frames_pushed,
    /// Events dropped from a full replay log before they were acknowledged.
    replay_evicted,
    /// Bytes of timelines dropped by retention.
    dropped_bytes,
    /// Attaches.
    attaches,
    /// Sessions that have expired.
    sessions_expired,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
