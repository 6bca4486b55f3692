//! The choice of a path: the race while there is none, the hysteresis while there is one.
//!
//! Kinds of path are ranked local, direct, relay. In a race the first proof wins, but a relay's
//! waits a moment for a better path. While online another path must be better in several successive
//! cycles before a switch, so that paths do not flap (LS-16).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    HostConfig, PathId,
    probes::{Cycle, ProbeResult, Proof},
};
use crate::{MonotonicTime, Path};

/// Result of the running cycle so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// Nothing to take yet.
    Wait,
    /// A relay proved itself; a better path may still do so until this time.
    Hold(MonotonicTime),
    /// Take this path.
    Take(PathId),
}

/// The conditions of a race.
pub(super) struct Race<'a> {
    /// The paths that may be taken.
    pub(super) eligible: &'a [(PathId, Path)],
    /// A path whose probe succeeded but whose client just failed: taken only if nothing else works.
    pub(super) avoid: Option<PathId>,
    /// Time that a relay which proved itself waits for better paths.
    pub(super) handicap: Duration,
}

impl Race<'_> {
    /// Decides by the proofs so far.
    pub(super) fn pick(&self, cycle: &Cycle, now: MonotonicTime) -> Pick {
        if cycle.taken {
            return Pick::Wait;
        }
        let mut wanted = cycle.proven.iter().filter_map(|proof| {
            let path = self.path(proof.connection)?;
            (self.avoid != Some(proof.connection)).then_some((proof, path))
        });
        let Some((first, path)) = wanted.next() else {
            return self.last_resort(cycle);
        };
        if path != Path::Relay {
            return Pick::Take(first.connection);
        }
        if let Some((better, _)) = wanted.find(|(_, path)| *path != Path::Relay) {
            return Pick::Take(better.connection);
        }
        let until = first.at + self.handicap;
        if now < until && self.better_pending(cycle) {
            Pick::Hold(until)
        } else {
            Pick::Take(first.connection)
        }
    }

    /// The avoided path, once all others have failed.
    fn last_resort(&self, cycle: &Cycle) -> Pick {
        let others_pending = cycle
            .pending
            .iter()
            .any(|pending| self.path(*pending).is_some());
        let is_avoided = |proof: &&Proof| {
            self.avoid == Some(proof.connection) && self.path(proof.connection).is_some()
        };
        match cycle.proven.iter().find(is_avoided) {
            Some(proof) if !others_pending => Pick::Take(proof.connection),
            Some(_) | None => Pick::Wait,
        }
    }

    fn better_pending(&self, cycle: &Cycle) -> bool {
        cycle.pending.iter().any(|pending| {
            self.avoid != Some(*pending)
                && self.path(*pending).is_some_and(|path| path != Path::Relay)
        })
    }

    fn path(&self, connection: PathId) -> Option<Path> {
        self.eligible
            .iter()
            .find(|(eligible, _)| *eligible == connection)
            .map(|(_, path)| *path)
    }
}

/// Successive cycles in which one path was better than the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Streak {
    /// Cycles in which it was much faster.
    faster: u32,
    /// Cycles in which it was of a better kind.
    better: u32,
}

/// Results of earlier cycles while online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hysteresis {
    streaks: BTreeMap<PathId, Streak>,
    /// Paths left because they fell silent, until they are active again.
    distrusted: BTreeSet<PathId>,
}

impl Hysteresis {
    /// Starts over with `active` as the active path.
    pub(super) fn reset(&mut self, active: PathId) {
        self.streaks.clear();
        self.distrusted.remove(&active);
    }

    /// Clears everything: the paths changed, or the active one was lost.
    pub(super) fn clear(&mut self) {
        self.streaks.clear();
        self.distrusted.clear();
    }

    /// Marks a path as left because it fell silent.
    pub(super) fn distrust(&mut self, connection: PathId) {
        self.distrusted.insert(connection);
    }

    /// Clears all distrust: the network changed.
    pub(super) fn trust_all(&mut self) {
        self.distrusted.clear();
    }

    /// Clears the counts of one path.
    pub(super) fn forget(&mut self, connection: PathId) {
        self.streaks.remove(&connection);
    }

    /// Evaluates a finished cycle and returns the path that has earned a switch.
    ///
    /// `results` has the active path's last round-trip time, for cycles that did not measure it: a
    /// lost probe of the active path affects no path's speed (LS-16). It also separates jitter from
    /// a difference in speed.
    pub(super) fn observe(
        &mut self,
        config: &HostConfig,
        connections: &[(PathId, Path)],
        active: (PathId, Path),
        results: &BTreeMap<PathId, ProbeResult>,
        cycle: &Cycle,
    ) -> Option<PathId> {
        let measured = cycle.rtt(active.0);
        let known = results.get(&active.0).and_then(|result| result.rtt);
        let mut best: Option<(Path, Duration, PathId)> = None;
        for (connection, path) in connections.iter().filter(|(other, _)| *other != active.0) {
            let Some(rtt) = cycle.rtt(*connection) else {
                self.forget(*connection);
                continue;
            };
            let is_distrusted = self.distrusted.contains(connection);
            let least = |cycles: u32| {
                if is_distrusted {
                    cycles.max(config.distrusted_cycles)
                } else {
                    cycles
                }
            };
            let is_noise = is_noise(config, results.get(connection), results.get(&active.0));
            let better_cycles = least(config.better_cycles);
            let faster_cycles = least(config.faster_cycles);
            let streak = self.streaks.entry(*connection).or_default();
            streak.better = if *path < active.1 && !is_slower(rtt, measured.or(known), config) {
                streak.better.saturating_add(1).min(better_cycles)
            } else {
                0
            };
            streak.faster = match measured {
                None => streak.faster,
                Some(active) if rtt + config.faster_by <= active && !is_noise => {
                    streak.faster.saturating_add(1).min(faster_cycles)
                }
                Some(_) => 0,
            };
            let earned = streak.better >= better_cycles || streak.faster >= faster_cycles;
            if earned && best.is_none_or(|best| (*path, rtt) < (best.0, best.1)) {
                best = Some((*path, rtt, *connection));
            }
        }
        best.map(|(_, _, connection)| connection)
    }
}

/// Whether a path of a better kind is so slow that the speed rule would soon switch back. The
/// threshold is half of that rule's, which leaves a band in which neither rule applies.
fn is_slower(rtt: Duration, active: Option<Duration>, config: &HostConfig) -> bool {
    active.is_some_and(|active| rtt > active + config.faster_by / 2)
}

/// Whether being faster in one cycle may be chance: the paths' jitter exceeds half the threshold of
/// the speed rule, and their means do not differ by more than the jitter.
fn is_noise(
    config: &HostConfig,
    other: Option<&ProbeResult>,
    active: Option<&ProbeResult>,
) -> bool {
    let (Some(other), Some(active)) = (other, active) else {
        return false;
    };
    let jitter = other.jitter + active.jitter;
    jitter > config.faster_by / 2 && other.mean + config.faster_by + jitter > active.mean
}
