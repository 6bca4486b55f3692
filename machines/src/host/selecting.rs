//! From no active client to one: rounds of selection, the first connect, and the ends of it.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{ConnectionId, Effect, HostRuntimeManager, State, probes::Cycle, selection::Pick};
use crate::{Moment, Path, backoff::Pace};

impl HostRuntimeManager {
    /// Takes over the configured paths. False if they are what they were.
    pub(super) fn set_connections(&mut self, connections: Vec<(ConnectionId, Path)>) -> bool {
        let mut kept: Vec<(ConnectionId, Path)> = Vec::new();
        for (connection, path) in connections {
            let is_new = kept.iter().all(|(other, _)| *other != connection);
            if is_new && kept.len() < self.config.most_connections {
                kept.push((connection, path));
            }
        }
        if kept == self.connections {
            return false;
        }
        self.connections = kept;
        self.avoid = None;
        let connections = &self.connections;
        let is_kept = |id| connections.iter().any(|(kept, _)| *kept == id);
        self.probes.retain(is_kept);
        self.held.retain(|id, _| is_kept(*id));
        self.choice = self.choice.filter(|choice| is_kept(*choice));
        self.hysteresis.reset();
        self.changed = true;
        true
    }

    /// Takes over the user's choice. False, and nothing changes, if that path is not configured.
    pub(super) fn choose(&mut self, now: Moment, choice: Option<ConnectionId>) -> bool {
        if choice.is_some_and(|choice| self.path(choice).is_none()) {
            return false;
        }
        self.activity(now);
        self.choice = choice;
        self.avoid = None;
        self.changed = true;
        true
    }

    /// Ends whatever is under way and looks for a path from the beginning. With a single path there is
    /// nothing to choose, and connecting is the best probe. `reason` is that of the active client's end,
    /// if it ended.
    pub(super) fn reselect(&mut self, now: Moment, event: &'static str, reason: Option<Reason>) {
        self.drop_clients(if reason.is_some() {
            Duration::ZERO
        } else {
            self.drain()
        });
        self.cancel_probes();
        let mut usable = self.usable(now);
        let (first, second) = (usable.next(), usable.next());
        drop(usable);
        match (first, second) {
            (None, _) if self.allowed().next().is_some() => {
                let selecting = State::SelectingActiveConnection {
                    cycle: self.probes.last(),
                    retry_at: Some(self.usable_at(now)),
                };
                self.set_state(selecting, event, reason);
            }
            (None, _) => self.set_state(State::NoConnections, event, reason),
            (Some((only, _)), None) => self.connect(now, only, event),
            (Some(_), Some(_)) => {
                let cycle = self.begin_cycle(now, self.config.relay_handicap);
                let selecting = State::SelectingActiveConnection {
                    cycle,
                    retry_at: None,
                };
                self.set_state(selecting, event, reason);
            }
        }
    }

    /// Starts the next round now if it is being waited for.
    pub(super) fn retry_selection_now(&mut self, now: Moment, event: &'static str) {
        if let State::SelectingActiveConnection {
            retry_at: Some(_), ..
        } = self.state
        {
            self.reselect(now, event, None);
        }
    }

    /// Whether the running cycle is so young that a change of network is the one it was begun for.
    pub(super) fn is_unsettled(&self, now: Moment) -> bool {
        self.probes
            .running()
            .is_some_and(|cycle| now.since(cycle.started) < self.config.settle)
    }

    /// Looks at the running cycle: takes a path if one has won, ends the cycle if it is over.
    pub(super) fn advance_race(&mut self, now: Moment, event: &'static str) {
        match (self.pick(now), self.state) {
            (Pick::Take(winner), State::SelectingActiveConnection { .. }) => {
                self.probes.mark_taken();
                self.connect(now, winner, event);
            }
            (Pick::Take(winner), _) => {
                self.probes.mark_taken();
                self.start_candidate(now, winner, event);
            }
            (Pick::Wait | Pick::Hold(_), _) => {}
        }
        let is_over = self
            .probes
            .running()
            .is_some_and(|cycle| cycle.pending.is_empty());
        if is_over {
            self.race_over(now, event);
        }
    }

    /// The cycle of a race is over. In `ConnectingActive` a path was taken; nothing more to decide.
    fn race_over(&mut self, now: Moment, event: &'static str) {
        let Some(cycle) = self.probes.finish() else {
            return;
        };
        let failed = self.allowed_failures(&cycle);
        match self.state {
            State::SelectingActiveConnection { .. } => match self.terminal(&failed) {
                Some(reason) => self.fail(now, reason, event),
                None => self.pause_selection(now, telling(&failed), event),
            },
            State::Degraded { .. } => {
                let verdict = self.terminal(&failed);
                match verdict.filter(|_| cycle.proven.is_empty()) {
                    Some(reason) => self.fail(now, reason, event),
                    None => self.schedule_recovery(now),
                }
            }
            State::Booting
            | State::NoConnections
            | State::ConnectingActive { .. }
            | State::Online { .. }
            | State::Error { .. }
            | State::Stopped => {}
        }
    }

    /// Waits before the next round.
    fn pause_selection(&mut self, now: Moment, reason: Option<Reason>, event: &'static str) {
        if reason.is_some() {
            self.last_error = reason;
        }
        let pause = self.next_pause();
        let selecting = State::SelectingActiveConnection {
            cycle: self.probes.last(),
            retry_at: Some(self.usable_at(now).max(now + pause)),
        };
        self.set_state(selecting, event, reason);
    }

    /// Leaves a path alone, because a peer on it asked for it: not quite to the moment, since others were asked the same.
    pub(super) fn stay_away(&mut self, now: Moment, connection: ConnectionId, pause: Duration) {
        if self.path(connection).is_some() {
            let pause = pause.min(self.config.most_retry_after);
            let until = now + pause + self.backoff.jitter(pause / 8);
            self.held.insert(connection, until);
        }
    }

    /// Whether a path is left alone now.
    pub(super) fn is_held(&self, now: Moment, connection: ConnectionId) -> bool {
        self.held.get(&connection).is_some_and(|until| *until > now)
    }

    /// The paths that may become active and are not left alone.
    fn usable(&self, now: Moment) -> impl Iterator<Item = (ConnectionId, Path)> {
        self.allowed()
            .filter(move |(connection, _)| !self.is_held(now, *connection))
    }

    /// When the first of the paths that may become active may be tried.
    fn usable_at(&self, now: Moment) -> Moment {
        let held = self.allowed().map(|(connection, _)| {
            let until = self.held.get(&connection).copied();
            until.unwrap_or(now).max(now)
        });
        held.min().unwrap_or(now)
    }

    /// Counts a failure and draws the pause after it.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pace = if self.background {
            Pace::Slowest
        } else {
            Pace::Usual
        };
        self.backoff.fail(pace)
    }

    /// Connects the active client over that path. Probes that still run go on: none is aborted for being
    /// slow (lesson 9).
    fn connect(&mut self, now: Moment, connection: ConnectionId, event: &'static str) {
        let generation = self.create_client(connection, false);
        self.generation = generation;
        let connecting = State::ConnectingActive {
            connection,
            generation,
            since: now,
            deadline: now + self.config.connect_deadline,
        };
        self.set_state(connecting, event, None);
    }

    /// The chosen path's client came to nothing.
    pub(super) fn connecting_failed(&mut self, now: Moment, reason: Reason, event: &'static str) {
        let State::ConnectingActive {
            connection,
            generation,
            ..
        } = self.state
        else {
            return;
        };
        if self.is_terminal(reason) {
            self.fail(now, reason, event);
            return;
        }
        self.dispose(generation, Duration::ZERO);
        self.last_error = Some(reason);
        self.avoid = Some(connection);
        self.probes.discard(connection);
        match self.probes.running() {
            Some(cycle) => {
                let selecting = State::SelectingActiveConnection {
                    cycle: cycle.number,
                    retry_at: None,
                };
                self.set_state(selecting, event, Some(reason));
                self.advance_race(now, event);
            }
            None => self.pause_selection(now, Some(reason), event),
        }
    }

    /// The user has to do something. It is looked at again all the same, but rarely: a daemon that was updated or restored takes
    /// back what it said (C48).
    pub(super) fn fail(&mut self, now: Moment, reason: Reason, event: &'static str) {
        self.last_error = Some(reason);
        self.drop_clients(Duration::ZERO);
        self.cancel_probes();
        let half = self.config.second_look / 2;
        let retry_at = now + half + self.backoff.jitter(half);
        self.set_state(State::Error { reason, retry_at }, event, Some(reason));
    }

    /// The end.
    pub(super) fn stop(&mut self, event: &'static str) {
        self.drop_clients(self.drain());
        self.cancel_probes();
        self.set_state(State::Stopped, event, Some(Reason::ClosedLocally));
    }

    /// Time for the active client to finish what it has in flight; none if it is not connected.
    pub(super) const fn drain(&self) -> Duration {
        match self.state {
            State::Online { .. } => self.config.drain,
            State::Booting
            | State::NoConnections
            | State::SelectingActiveConnection { .. }
            | State::ConnectingActive { .. }
            | State::Degraded { .. }
            | State::Error { .. }
            | State::Stopped => Duration::ZERO,
        }
    }

    /// Disposes of the active client and the candidate. The state must be left at once.
    fn drop_clients(&mut self, drain: Duration) {
        if let Some((_, generation)) = self.state.active() {
            self.dispose(generation, drain);
        }
        if let Some(candidate) = self.state.candidate() {
            self.dispose(candidate.generation, Duration::ZERO);
        }
    }

    /// Whether a reason ends the host's attempts. Another daemon behind one address says nothing about
    /// the host while it has other paths (lesson 10); what this side closed itself says nothing at all.
    pub(super) fn is_terminal(&self, reason: Reason) -> bool {
        match reason {
            Reason::ClosedLocally => false,
            Reason::ServerIdentityMismatch => self.allowed().count() <= 1,
            reason => !reason.is_recoverable(),
        }
    }

    /// What the cycle says about the paths that could have been taken.
    fn allowed_failures(&self, cycle: &Cycle) -> Vec<Reason> {
        let is_allowed = |connection| self.allowed().any(|(allowed, _)| allowed == connection);
        let failed = cycle.failed.iter();
        failed
            .filter(|(connection, _)| is_allowed(*connection))
            .map(|(_, reason)| *reason)
            .collect()
    }

    /// The terminal reason of a cycle in which nothing could be taken: one that the daemon itself gave, or
    /// that every path gave.
    fn terminal(&self, failed: &[Reason]) -> Option<Reason> {
        let said = failed
            .iter()
            .copied()
            .find(|reason| self.is_terminal(*reason));
        let is_mismatch = |reason: &Reason| *reason == Reason::ServerIdentityMismatch;
        let all_mismatch = !failed.is_empty() && failed.iter().all(is_mismatch);
        said.or(all_mismatch.then_some(Reason::ServerIdentityMismatch))
    }

    /// Begins a cycle over every path. Better kinds of path get a head start of `handicap` over relays.
    pub(super) fn begin_cycle(&mut self, now: Moment, handicap: Duration) -> u64 {
        self.cancel_probes();
        let mut targets = self.connections.clone();
        targets.retain(|(connection, _)| !self.is_held(now, *connection));
        if targets.is_empty() {
            // Nobody wants to be asked before then.
            let until = self.held.values().filter(|until| **until > now).min();
            self.probes.next_at = until.copied();
            return self.probes.last();
        }
        targets.sort_by_key(|(_, path)| *path);
        let has_better = targets.iter().any(|(_, path)| *path != Path::Relay);
        let ids = targets.iter().map(|(connection, _)| *connection).collect();
        let cycle = self
            .probes
            .begin(now, now + self.config.probe_deadline, ids);
        for (connection, path) in targets {
            let delay = match path {
                Path::Relay if has_better => handicap,
                Path::Local | Path::Direct | Path::Relay => Duration::ZERO,
            };
            self.effects.push_back(Effect::StartProbe {
                cycle,
                connection,
                delay,
            });
        }
        cycle
    }

    /// Ends the running cycle and the wait for the next one.
    pub(super) fn cancel_probes(&mut self) {
        self.probes.next_at = None;
        if let Some(cycle) = self.probes.finish() {
            let cycle = cycle.number;
            self.effects.push_back(Effect::CancelProbes { cycle });
        }
    }

    /// Writes down what a probe showed. True once its cycle has every outcome.
    pub(super) fn record(
        &mut self,
        now: Moment,
        connection: ConnectionId,
        outcome: Result<Duration, Reason>,
    ) -> bool {
        self.changed = true;
        self.probes.record(now, connection, outcome)
    }

    /// The running cycle's deadline has come. If the clock jumped past it, the paths had no chance: the
    /// cycle is run again. Otherwise what is missing failed.
    pub(super) fn cycle_expired(&mut self, now: Moment, event: &'static str) {
        let Some(cycle) = self.probes.running() else {
            return;
        };
        let number = cycle.number;
        let slept = now.since(cycle.deadline) > self.config.clock_jump;
        match self.state {
            State::SelectingActiveConnection { .. } if slept => self.reselect(now, event, None),
            State::Online { .. } if slept => {
                self.cancel_probes();
                self.begin_measuring(now);
            }
            State::Degraded { .. } if slept => {
                self.cancel_probes();
                self.begin_recovering(now);
            }
            State::ConnectingActive { .. } if slept => self.cancel_probes(),
            State::SelectingActiveConnection { .. }
            | State::Degraded { .. }
            | State::Online { .. }
            | State::ConnectingActive { .. }
            | State::Booting
            | State::NoConnections
            | State::Error { .. }
            | State::Stopped => {
                self.effects
                    .push_back(Effect::CancelProbes { cycle: number });
                self.changed = true;
                self.probes.expire(now);
                self.expired_cycle_over(now, event);
            }
        }
    }

    fn expired_cycle_over(&mut self, now: Moment, event: &'static str) {
        match self.state {
            State::SelectingActiveConnection { .. } | State::Degraded { .. } => {
                self.advance_race(now, event);
            }
            State::Online { .. } => self.measured(now, event),
            State::ConnectingActive { .. }
            | State::Booting
            | State::NoConnections
            | State::Error { .. }
            | State::Stopped => {
                self.probes.finish();
            }
        }
    }
}

/// The reason most worth showing: one that a peer gave, else the first.
fn telling(failed: &[Reason]) -> Option<Reason> {
    let said = failed.iter().find(|reason| reason.close_code().is_some());
    said.or(failed.first()).copied()
}
