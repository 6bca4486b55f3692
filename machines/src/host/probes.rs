//! Probe cycles: what is running, what came of it, and when the next one is due.
//!
//! A cycle probes every path once, in parallel. It is named by a number that only grows; outcomes of an
//! earlier cycle are stale (INV-10). Probes measure and nothing else (INV-8): this file knows no client.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::Reason;

use super::ConnectionId;
use crate::Moment;

/// What probing one path last showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeResult {
    /// Round-trip time when the path last worked.
    pub rtt: Option<Duration>,
    /// Why the last probe failed; `None` if it did not.
    pub error: Option<Reason>,
    /// When the last probe ended.
    pub at: Moment,
}

/// A path that worked in the running cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) connection: ConnectionId,
    pub(super) rtt: Duration,
    pub(super) at: Moment,
}

/// A cycle that waits for outcomes.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) number: u64,
    pub(super) started: Moment,
    pub(super) deadline: Moment,
    /// Without an outcome yet.
    pub(super) pending: Vec<ConnectionId>,
    /// In the order of their outcomes.
    pub(super) proven: Vec<Proof>,
    pub(super) failed: Vec<(ConnectionId, Reason)>,
    /// A path of this cycle was taken; it decides nothing more.
    pub(super) taken: bool,
}

impl Cycle {
    /// The round-trip time that this cycle measured for a path.
    pub(super) fn rtt(&self, connection: ConnectionId) -> Option<Duration> {
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
    pub(super) next_at: Option<Moment>,
    results: BTreeMap<ConnectionId, ProbeResult>,
}

impl Probes {
    /// The number of the last cycle; zero before the first.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The cycle that waits for outcomes.
    pub(super) const fn running(&self) -> Option<&Cycle> {
        self.running.as_ref()
    }

    /// The last result of each path.
    pub(super) const fn results(&self) -> &BTreeMap<ConnectionId, ProbeResult> {
        &self.results
    }

    /// Whether an outcome belongs to the running cycle and is its first for that path.
    pub(super) fn expects(&self, cycle: u64, connection: ConnectionId) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.number == cycle && running.pending.contains(&connection))
    }

    /// Begins a cycle over these paths. The one before must have been cancelled or finished.
    pub(super) fn begin(&mut self, now: Moment, deadline: Moment, paths: Vec<ConnectionId>) -> u64 {
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

    /// Writes an outcome down. True once nothing is pending.
    pub(super) fn record(
        &mut self,
        now: Moment,
        connection: ConnectionId,
        outcome: Result<Duration, Reason>,
    ) -> bool {
        let result = self.results.entry(connection).or_insert(ProbeResult {
            rtt: None,
            error: None,
            at: now,
        });
        result.at = now;
        result.error = outcome.err();
        if let Ok(rtt) = outcome {
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

    /// Its deadline has come: what is missing failed.
    pub(super) fn expire(&mut self, now: Moment) {
        let missing = self.running.as_ref().map(|running| running.pending.clone());
        for connection in missing.unwrap_or_default() {
            self.record(now, connection, Err(Reason::ConnectTimeout));
        }
    }

    /// A path of the running cycle was taken.
    pub(super) fn mark_taken(&mut self) {
        if let Some(running) = self.running.as_mut() {
            running.taken = true;
        }
    }

    /// The path that was taken did not work out: its proof is worth nothing, and others may be taken.
    pub(super) fn discard(&mut self, connection: ConnectionId) {
        if let Some(running) = self.running.as_mut() {
            running
                .proven
                .retain(|proof| proof.connection != connection);
            running.taken = false;
        }
    }

    /// Ends the running cycle, whether or not anything is pending.
    pub(super) fn finish(&mut self) -> Option<Cycle> {
        self.running.take()
    }

    /// Forgets paths that are no longer configured.
    pub(super) fn retain(&mut self, keep: impl Fn(ConnectionId) -> bool) {
        self.results.retain(|connection, _| keep(*connection));
    }

    /// Hashes what decides the future, relative to now.
    pub(super) fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        self.next_at.map(|at| at.since(now)).hash(hasher);
        for (connection, result) in &self.results {
            (connection, result.rtt).hash(hasher);
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
