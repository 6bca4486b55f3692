//! Requests, by method and outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_protocol::{
    RpcReason,
    error::{RpcError, code},
};

use super::{Histogram, TIME_BOUNDS};

/// How a request ended: a place in [`OUTCOMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(usize);

/// Every outcome's name. After `ok` come the reasons of docs/protocol.md §5, then JSON-RPC's own errors.
pub const OUTCOMES: [&str; REASONS + 7] = names();

const REASONS: usize = RpcReason::ALL.len();

const fn names() -> [&'static str; REASONS + 7] {
    let own = [
        "parse_error",
        "invalid_request",
        "method_not_found",
        "invalid_params",
        "internal_error",
        "abandoned",
    ];
    let mut all = ["ok"; REASONS + 7];
    let mut n = 0;
    #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    while n < REASONS + own.len() {
        all[n + 1] = if n < REASONS {
            RpcReason::ALL[n].as_str()
        } else {
            own[n - REASONS]
        };
        n += 1;
    }
    all
}

impl Outcome {
    /// It has a result.
    pub const OK: Self = Self(0);
    /// Its connection ended first.
    pub const ABANDONED: Self = Self(REASONS + 6);

    /// It has an error.
    pub fn of(error: &RpcError) -> Self {
        let place = |wanted| RpcReason::ALL.iter().position(|reason| *reason == wanted);
        Self(match (error.reason().and_then(place), error.code) {
            (Some(place), _) => 1 + place,
            (None, code::PARSE_ERROR) => REASONS + 1,
            (None, code::INVALID_REQUEST) => REASONS + 2,
            (None, code::METHOD_NOT_FOUND) => REASONS + 3,
            (None, code::INVALID_PARAMS) => REASONS + 4,
            (None, _) => REASONS + 5,
        })
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        OUTCOMES.get(self.0).copied().unwrap_or("internal_error")
    }
}

/// What became of the requests of one method.
#[derive(Debug)]
pub struct MethodStats {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Of those that had to wait; absent for methods that never do.
    pub(super) times: Option<Histogram>,
}

impl MethodStats {
    /// Of a method that is answered on sight, or else of one whose requests wait for something.
    pub fn new(waits: bool) -> Self {
        Self {
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES.len()],
            times: waits.then(|| Histogram::new(TIME_BOUNDS)),
        }
    }

    /// Notes how a request ended.
    pub fn note(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome.0) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Notes how a request ended that took its time.
    pub fn note_after(&self, outcome: Outcome, took: Duration) {
        self.note(outcome);
        if let Some(times) = &self.times {
            times.note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// The outcomes there were, with their numbers.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Relaxed));
        OUTCOMES.into_iter().zip(counts).filter(|(_, n)| *n > 0)
    }

    /// How many requests have ended: with a result, and with anything else.
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

/// The requests of every method of a daemon. Clones share it; looked into when somebody asks, not for requests.
#[derive(Clone, Debug, Default)]
pub struct RequestStats(Arc<Mutex<BTreeMap<&'static str, Arc<MethodStats>>>>);

impl RequestStats {
    /// Adds a method.
    pub(crate) fn add(&self, name: &'static str, stats: Arc<MethodStats>) {
        self.lock().insert(name, stats);
    }

    /// Every method with its requests, by name.
    pub fn all(&self) -> Vec<(&'static str, Arc<MethodStats>)> {
        let all = self.lock();
        all.iter()
            .map(|(name, stats)| (*name, Arc::clone(stats)))
            .collect()
    }

    /// How many requests have ended: with a result, and with anything else.
    pub fn totals(&self) -> (u64, u64) {
        let totals = self.lock();
        let totals = totals.values().map(|stats| stats.totals());
        totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<MethodStats>>> {
        // Nothing panics while the lock is held.
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
        let mut names = OUTCOMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OUTCOMES.len());
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
