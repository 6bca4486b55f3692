//! Probe cycles: the running one, the results, and the time of the next.
//!
//! A cycle probes every path once, in parallel. Its number only grows; outcomes of an earlier cycle
//! are stale (INV-10). Probes only measure (INV-8): no client appears in this file.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::Reason;

use super::PathId;
use crate::MonotonicTime;

/// Latest probe results of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeResult {
    /// Round-trip time of the last successful probe.
    pub rtt: Option<Duration>,
    /// Moving mean of the round-trip time, over about four probes.
    pub mean: Duration,
    /// Moving mean of the difference between successive probes, as in RFC 3550.
    pub jitter: Duration,
    /// Why the last probe failed; `None` if it succeeded.
    pub error: Option<Reason>,
    /// When the last probe finished.
    pub at: MonotonicTime,
}

/// A path that worked in the running cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) connection: PathId,
    pub(super) rtt: Duration,
    pub(super) at: MonotonicTime,
}

/// A running cycle.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) number: u64,
    pub(super) started: MonotonicTime,
    pub(super) deadline: MonotonicTime,
    /// Paths without an outcome yet.
    pub(super) pending: Vec<PathId>,
    /// Successful paths, in the order of their outcomes.
    pub(super) proven: Vec<Proof>,
    pub(super) failed: Vec<(PathId, Reason)>,
    /// Whether a path of this cycle was taken; the cycle then decides nothing more.
    pub(super) taken: bool,
}

impl Cycle {
    /// The round-trip time measured by this cycle for a path.
    pub(super) fn rtt(&self, connection: PathId) -> Option<Duration> {
        self.proven
            .iter()
            .find(|proof| proof.connection == connection)
            .map(|proof| proof.rtt)
    }
}

/// The cycles of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    last: u64,
    running: Option<Cycle>,
    /// When the next cycle is due, if none is running.
    pub(super) next_at: Option<MonotonicTime>,
    results: BTreeMap<PathId, ProbeResult>,
}

impl Probes {
    /// Number of the last cycle; zero before the first.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The running cycle.
    pub(super) const fn running(&self) -> Option<&Cycle> {
        self.running.as_ref()
    }

    /// The last result of each path.
    pub(super) const fn results(&self) -> &BTreeMap<PathId, ProbeResult> {
        &self.results
    }

    /// Whether an outcome belongs to the running cycle and is its first for that path.
    pub(super) fn expects(&self, cycle: u64, connection: PathId) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.number == cycle && running.pending.contains(&connection))
    }

    /// Begins a cycle over `paths`. The previous one must have been cancelled or finished.
    pub(super) fn begin(
        &mut self,
        now: MonotonicTime,
        deadline: MonotonicTime,
        paths: Vec<PathId>,
    ) -> u64 {
        self.last = self.last.saturating_add(1);
        self.next_at = None;
        self.running = Some(Cycle {
            number: self.last,
            started: now,
            deadline,
            pending: paths,
            proven: Vec::new(),
            failed: Vec::new(),
            taken: false,
        });
        self.last
    }

    /// Records an outcome. Returns true once none is pending.
    pub(super) fn record(
        &mut self,
        now: MonotonicTime,
        connection: PathId,
        outcome: Result<Duration, Reason>,
    ) -> bool {
        let result = self.results.entry(connection).or_insert(ProbeResult {
            rtt: None,
            mean: Duration::ZERO,
            jitter: Duration::ZERO,
            error: None,
            at: now,
        });
        result.at = now;
        result.error = outcome.err();
        if let Ok(rtt) = outcome {
            let mean = result.rtt.map_or(rtt, |_| (result.mean * 3 + rtt) / 4);
            let difference = result.rtt.map_or(Duration::ZERO, |it| it.abs_diff(rtt));
            result.mean = mean;
            result.jitter = (result.jitter * 3 + difference) / 4;
            result.rtt = Some(rtt);
        }
        let Some(running) = self.running.as_mut() else {
            return false;
        };
        running.pending.retain(|pending| *pending != connection);
        match outcome {
            Ok(rtt) => running.proven.push(Proof {
                connection,
                rtt,
                at: now,
            }),
            Err(reason) => running.failed.push((connection, reason)),
        }
        running.pending.is_empty()
    }

    /// Fails the paths still pending at the cycle's deadline.
    pub(super) fn expire(&mut self, now: MonotonicTime) {
        let missing = self.running.as_ref().map(|running| running.pending.clone());
        for connection in missing.unwrap_or_default() {
            self.record(now, connection, Err(Reason::ConnectTimeout));
        }
    }

    /// Marks that a path of the running cycle was taken.
    pub(super) fn mark_taken(&mut self) {
        if let Some(running) = self.running.as_mut() {
            running.taken = true;
        }
    }

    /// Discards the proof of the path that was taken and failed; others may be taken.
    pub(super) fn discard(&mut self, connection: PathId) {
        if let Some(running) = self.running.as_mut() {
            running
                .proven
                .retain(|proof| proof.connection != connection);
            running.taken = false;
        }
    }

    /// Ends the running cycle, with or without pending paths.
    pub(super) fn finish(&mut self) -> Option<Cycle> {
        self.running.take()
    }

    /// Removes paths that are no longer configured.
    pub(super) fn retain(&mut self, keep: impl Fn(PathId) -> bool) {
        self.results.retain(|connection, _| keep(*connection));
    }

    /// Hashes the state that determines future behaviour, relative to `now`.
    pub(super) fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        self.next_at.map(|at| at.since(now)).hash(hasher);
        for (connection, result) in &self.results {
            (connection, result.rtt, result.mean, result.jitter).hash(hasher);
        }
        if let Some(cycle) = &self.running {
            (cycle.deadline.since(now), now.since(cycle.started)).hash(hasher);
            (&cycle.pending, &cycle.failed, cycle.taken).hash(hasher);
            for proof in &cycle.proven {
                (proof.connection, proof.rtt, now.since(proof.at)).hash(hasher);
            }
        }
    }
}
