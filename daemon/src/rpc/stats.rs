//! Counts of requests, by method and outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_program::metrics::{Histogram, TIME_BOUNDS};
use bowline_protocol::{
    RpcReason,
    error::{RpcError, code},
};

/// The outcome of a request. First come JSON-RPC's own, then the reasons of docs/protocol.md §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(usize);

/// The names of JSON-RPC's own outcomes.
const OWN: [&str; 7] = [
    "ok",
    "abandoned",
    "internal_error",
    "parse_error",
    "invalid_request",
    "method_not_found",
    "invalid_params",
];

impl Outcome {
    /// Number of outcomes.
    pub const COUNT: usize = OWN.len() + RpcReason::ALL.len();
    /// The request has a result.
    pub const OK: Self = Self(0);
    /// The connection ended first.
    pub const ABANDONED: Self = Self(1);

    /// The request has an error.
    pub fn of(error: &RpcError) -> Self {
        let place = |wanted| RpcReason::ALL.iter().position(|reason| *reason == wanted);
        Self(match (error.reason().and_then(place), error.code) {
            (Some(place), _) => OWN.len() + place,
            (None, code::PARSE_ERROR) => 3,
            (None, code::INVALID_REQUEST) => 4,
            (None, code::METHOD_NOT_FOUND) => 5,
            (None, code::INVALID_PARAMS) => 6,
            (None, _) => 2,
        })
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        let reason = self.0.checked_sub(OWN.len());
        let reason = reason.and_then(|place| RpcReason::ALL.get(place));
        let own = OWN.get(self.0).copied().unwrap_or("internal_error");
        reason.map_or(own, |reason| reason.as_str())
    }
}

/// Counts of one method's requests.
#[derive(Debug)]
pub struct MethodStats {
    outcomes: [AtomicU64; Outcome::COUNT],
    /// Time of requests that wait; absent for methods that never wait.
    pub(crate) times: Option<Histogram>,
}

impl MethodStats {
    /// Counts of a method that is answered immediately, or of one whose requests wait.
    pub fn new(waits: bool) -> Self {
        Self {
            outcomes: [const { AtomicU64::new(0) }; Outcome::COUNT],
            times: waits.then(|| Histogram::new(TIME_BOUNDS)),
        }
    }

    /// Counts an ended request.
    pub fn note(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome.0) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts an ended request with its duration.
    pub fn note_after(&self, outcome: Outcome, took: Duration) {
        self.note(outcome);
        if let Some(times) = &self.times {
            times.note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// The outcomes that occurred, with their counts.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Relaxed));
        let counts = (0..).map(Outcome).zip(counts);
        counts.filter_map(|(outcome, n)| (n > 0).then_some((outcome.as_str(), n)))
    }

    /// Number of ended requests: with a result, and with any other outcome.
    pub fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for (name, count) in self.outcomes() {
            if name == "ok" {
                totals.0 += count;
            } else {
                totals.1 += count;
            }
        }
        totals
    }
}

/// Counts of requests of all methods. Clones share it; only reports take its lock, not requests.
#[derive(Clone, Debug, Default)]
pub struct RequestStats(Arc<Mutex<BTreeMap<&'static str, Arc<MethodStats>>>>);

impl RequestStats {
    /// Adds a method.
    pub(crate) fn add(&self, name: &'static str, stats: Arc<MethodStats>) {
        self.lock().insert(name, stats);
    }

    /// Every method with its counts, by name.
    pub fn all(&self) -> Vec<(&'static str, Arc<MethodStats>)> {
        let all = self.lock();
        all.iter()
            .map(|(name, stats)| (*name, Arc::clone(stats)))
            .collect()
    }

    /// Number of ended requests: with a result, and with any other outcome.
    pub fn totals(&self) -> (u64, u64) {
        let totals = self.lock();
        let totals = totals.values().map(|stats| stats.totals());
        totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<MethodStats>>> {
        // No code panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_an_outcome_of_its_own() {
        for reason in RpcReason::ALL {
            let error = RpcError::new(*reason, "");
            assert_eq!(Outcome::of(&error).as_str(), reason.as_str());
        }
        let named = [
            (RpcError::parse(""), "parse_error"),
            (RpcError::invalid_request(""), "invalid_request"),
            (RpcError::method_not_found(""), "method_not_found"),
            (RpcError::invalid_params(""), "invalid_params"),
            (RpcError::internal(""), "internal_error"),
        ];
        for (error, name) in named {
            assert_eq!(Outcome::of(&error).as_str(), name);
        }
        assert_eq!(Outcome::OK.as_str(), "ok");
        assert_eq!(Outcome::ABANDONED.as_str(), "abandoned");
        let names = (0..Outcome::COUNT).map(|n| Outcome(n).as_str());
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.len(), Outcome::COUNT);
    }

    #[test]
    fn requests_are_counted_by_outcome_and_timed_where_they_wait() {
        let stats = MethodStats::new(true);
        stats.note_after(Outcome::OK, Duration::from_micros(300));
        stats.note_after(Outcome::OK, Duration::from_secs(60));
        stats.note(Outcome::of(&RpcError::invalid_params("")));
        assert_eq!(stats.totals(), (2, 1));
        let all: Vec<_> = stats.outcomes().collect();
        assert_eq!(all, [("ok", 2), ("invalid_params", 1)]);
        assert_eq!(stats.times.unwrap().snapshot().count(), 2);
        MethodStats::new(false).note_after(Outcome::OK, Duration::ZERO);
    }
}
