//! What the ledger has done so far, for `daemon.status` and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters { $( pub(super) $name: AtomicU64, )* }

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
    /// Transactions that failed; nothing of them happened.
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
    /// Attaches.
    attaches,
    /// Sessions that have expired.
    sessions_expired,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
