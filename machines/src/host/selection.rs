//! Which path? The race when there is none, and the hysteresis when there is one.
//!
//! Kinds of path are ranked local, direct, relay. In a race the first proof wins, but a relay's waits a moment
//! for something better. While online another path must be better again and again before it is
//! switched to, so that paths do not flap (lesson 16).

use std::{collections::BTreeMap, time::Duration};

use super::{
    ConnectionId, HostConfig,
    probes::{Cycle, Proof},
};
use crate::{Moment, Path};

/// What the running cycle says so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// Nothing to take yet.
    Wait,
    /// A relay proved itself; something better may still do so until then.
    Hold(Moment),
    /// Take this path.
    Take(ConnectionId),
}

/// Who may win a race.
pub(super) struct Race<'a> {
    /// The paths that may be taken.
    pub(super) eligible: &'a [(ConnectionId, Path)],
    /// A path whose probe worked but whose client failed just before: only taken if nothing else works.
    pub(super) avoid: Option<ConnectionId>,
    /// Head start of better paths over a relay that proved itself.
    pub(super) handicap: Duration,
}

impl Race<'_> {
    /// Decides from the proofs of the cycle so far.
    pub(super) fn pick(&self, cycle: &Cycle, now: Moment) -> Pick {
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

    /// The avoided path, once everything else has failed.
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

    fn path(&self, connection: ConnectionId) -> Option<Path> {
        self.eligible
            .iter()
            .find(|(eligible, _)| *eligible == connection)
            .map(|(_, path)| *path)
    }
}

/// Successive cycles in which one path was better than the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Streak {
    /// … by being much faster.
    faster: u32,
    /// … by being of a better kind.
    better: u32,
}

/// The memory of cycles seen while online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hysteresis {
    streaks: BTreeMap<ConnectionId, Streak>,
}

impl Hysteresis {
    /// Forgets everything: another path is active.
    pub(super) fn reset(&mut self) {
        self.streaks.clear();
    }

    /// Forgets one path: it must earn its switch anew.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.streaks.remove(&connection);
    }

    /// Takes in a finished cycle and tells which path has earned a switch.
    ///
    /// `known` is the active path's last measured round-trip time, for cycles that did not measure it:
    /// a lost probe of the active path neither helps nor hurts anyone's speed (lesson 16).
    pub(super) fn observe(
        &mut self,
        config: &HostConfig,
        connections: &[(ConnectionId, Path)],
        active: (ConnectionId, Path),
        known: Option<Duration>,
        cycle: &Cycle,
    ) -> Option<ConnectionId> {
        let measured = cycle.rtt(active.0);
        let mut best: Option<(Path, Duration, ConnectionId)> = None;
        for (connection, path) in connections.iter().filter(|(other, _)| *other != active.0) {
            let Some(rtt) = cycle.rtt(*connection) else {
                self.forget(*connection);
                continue;
            };
            let streak = self.streaks.entry(*connection).or_default();
            streak.better = if *path < active.1 && !is_slower(rtt, measured.or(known), config) {
                streak.better.saturating_add(1).min(config.better_cycles)
            } else {
                0
            };
            streak.faster = match measured {
                None => streak.faster,
                Some(active) if rtt + config.faster_by <= active => {
                    streak.faster.saturating_add(1).min(config.faster_cycles)
                }
                Some(_) => 0,
            };
            let earned =
                streak.better >= config.better_cycles || streak.faster >= config.faster_cycles;
            if earned && best.is_none_or(|best| (*path, rtt) < (best.0, best.1)) {
                best = Some((*path, rtt, *connection));
            }
        }
        best.map(|(_, _, connection)| connection)
    }
}

/// Whether a path of a better kind is so slow that the speed rule would soon switch back. The threshold is
/// half of that rule's, which leaves a band in which neither rule acts.
fn is_slower(rtt: Duration, active: Option<Duration>, config: &HostConfig) -> bool {
    active.is_some_and(|active| rtt > active + config.faster_by / 2)
}
