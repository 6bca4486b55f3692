//! From no active client to one: rounds of selection, the first connect, and its failures.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{
    ClientStatus, Effect, HostRuntimeManager, Input, PathId, State, probes::Cycle, selection::Pick,
};
use crate::{
    MonotonicTime, Path,
    backoff::Pace,
    liveness::{CLOCK_JUMP, time_lost},
};

impl HostRuntimeManager {
    /// Replaces the configured paths. Returns false if they are unchanged.
    pub(super) fn set_connections(&mut self, connections: Vec<(PathId, Path)>) -> bool {
        let mut kept: Vec<(PathId, Path)> = Vec::new();
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
        self.hysteresis.clear();
        true
    }

    /// Sets the user's choice. Returns false, without an effect, if that path is not configured.
    pub(super) fn choose(&mut self, now: MonotonicTime, choice: Option<PathId>) -> bool {
        if choice.is_some_and(|choice| self.path(choice).is_none()) {
            return false;
        }
        self.activity(now);
        self.choice = choice;
        self.avoid = None;
        true
    }

    /// Ends all attempts and selects a path from the beginning. A single path needs no selection:
    /// the connect is its probe. `reason` is why the active client ended, if it did.
    pub(super) fn reselect(
        &mut self,
        now: MonotonicTime,
        event: &'static str,
        reason: Option<Reason>,
    ) {
        let drain = if reason.is_some() {
            Duration::ZERO
        } else {
            self.drain()
        };
        self.drop_clients(drain, reason.unwrap_or(Reason::ConnectionLost));
        self.cancel_probes();
        self.hysteresis.clear();
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

    /// Starts the next round now if one is scheduled.
    pub(super) fn retry_selection_now(&mut self, now: MonotonicTime, event: &'static str) {
        if let State::SelectingActiveConnection {
            retry_at: Some(_), ..
        } = *self.state()
        {
            self.reselect(now, event, None);
        }
    }

    /// Whether the running cycle is too young to be restarted by a change of network, which
    /// probably started it.
    pub(super) fn is_unsettled(&self, now: MonotonicTime) -> bool {
        self.probes
            .running()
            .is_some_and(|cycle| now.since(cycle.started) < self.config.settle)
    }

    /// Evaluates the running cycle: takes a path if one has won, ends the cycle if it is complete.
    pub(super) fn advance_race(&mut self, now: MonotonicTime, event: &'static str) {
        match (self.pick(now), *self.state()) {
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

    /// Handles a completed race. In `ConnectingActive` a path was already taken, so nothing is left
    /// to decide.
    fn race_over(&mut self, now: MonotonicTime, event: &'static str) {
        let Some(cycle) = self.probes.finish() else {
            return;
        };
        let failed = self.allowed_failures(&cycle);
        match *self.state() {
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

    /// Schedules the next round.
    fn pause_selection(&mut self, now: MonotonicTime, reason: Option<Reason>, event: &'static str) {
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

    /// Avoids a path for the retry-after of its peer, plus jitter, because other clients received
    /// the same. It counts for every probe, and for the active client and the candidate.
    pub(super) fn note_retry_after(&mut self, now: MonotonicTime, input: &Input) {
        let (connection, pause) = match *input {
            Input::ProbeFinished {
                connection,
                retry_after,
                ..
            } => (self.path(connection).map(|_| connection), retry_after),
            Input::ClientState {
                generation,
                state: ClientStatus::Disconnected { retry_after, .. },
            } => (self.path_of(generation), retry_after),
            _ => return,
        };
        if let (Some(connection), Some(pause)) = (connection, pause)
            && *self.state() != State::Stopped
        {
            let pause = pause.min(self.config.most_retry_after);
            let until = now + pause + self.backoff.jitter(pause / 8);
            self.held.insert(connection, until);
        }
    }

    /// Whether a path must not be tried now.
    pub(super) fn is_held(&self, now: MonotonicTime, connection: PathId) -> bool {
        self.held.get(&connection).is_some_and(|until| *until > now)
    }

    /// The paths that may become active and may be tried now.
    fn usable(&self, now: MonotonicTime) -> impl Iterator<Item = (PathId, Path)> {
        self.allowed()
            .filter(move |(connection, _)| !self.is_held(now, *connection))
    }

    /// When the first of the allowed paths may be tried.
    fn usable_at(&self, now: MonotonicTime) -> MonotonicTime {
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

    /// Connects the active client over a path. Running probes continue: none is aborted for being
    /// slow (LS-9).
    fn connect(&mut self, now: MonotonicTime, connection: PathId, event: &'static str) {
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

    /// Handles the failure of the chosen path's client.
    pub(super) fn connecting_failed(
        &mut self,
        now: MonotonicTime,
        reason: Reason,
        event: &'static str,
    ) {
        let State::ConnectingActive {
            connection,
            generation,
            ..
        } = *self.state()
        else {
            return;
        };
        if self.is_terminal(reason) {
            self.fail(now, reason, event);
            return;
        }
        self.discard(generation);
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

    /// Enters `Error`, which needs the user. The host retries rarely all the same: a daemon that
    /// was updated or restored may accept it again (C48).
    pub(super) fn fail(&mut self, now: MonotonicTime, reason: Reason, event: &'static str) {
        self.last_error = Some(reason);
        self.drop_clients(Duration::ZERO, reason);
        self.cancel_probes();
        let half = self.config.second_look / 2;
        let retry_at = now + half + self.backoff.jitter(half);
        self.set_state(State::Error { reason, retry_at }, event, Some(reason));
    }

    /// Stops the host.
    pub(super) fn stop(&mut self, event: &'static str) {
        self.drop_clients(self.drain(), Reason::ClosedLocally);
        self.cancel_probes();
        self.set_state(State::Stopped, event, Some(Reason::ClosedLocally));
    }

    /// Time for the active client to finish its requests in flight; zero if it is not connected.
    pub(super) const fn drain(&self) -> Duration {
        match *self.state() {
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

    /// Disposes of the active client and the candidate; `reason` ends the active client's requests.
    /// The caller must change the state at once.
    fn drop_clients(&mut self, drain: Duration, reason: Reason) {
        if let Some((_, generation)) = self.state().active() {
            self.dispose(generation, drain, reason);
        }
        if let Some(candidate) = self.candidate() {
            self.discard(candidate.generation);
        }
    }

    /// Whether a reason ends the host's attempts. A wrong daemon behind one address is not terminal
    /// while there are other paths (LS-10); a close by this side never is.
    pub(super) fn is_terminal(&self, reason: Reason) -> bool {
        match reason {
            Reason::ClosedLocally => false,
            Reason::ServerIdentityMismatch => self.allowed().count() <= 1,
            reason => !reason.is_recoverable(),
        }
    }

    /// The failures of the allowed paths in the cycle.
    fn allowed_failures(&self, cycle: &Cycle) -> Vec<Reason> {
        let is_allowed = |connection| self.allowed().any(|(allowed, _)| allowed == connection);
        let failed = cycle.failed.iter();
        failed
            .filter(|(connection, _)| is_allowed(*connection))
            .map(|(_, reason)| *reason)
            .collect()
    }

    /// The terminal reason of a cycle without a usable path: one given by the daemon itself, or by
    /// every path.
    fn terminal(&self, failed: &[Reason]) -> Option<Reason> {
        let said = failed
            .iter()
            .copied()
            .find(|reason| self.is_terminal(*reason));
        let is_mismatch = |reason: &Reason| *reason == Reason::ServerIdentityMismatch;
        let all_mismatch = !failed.is_empty() && failed.iter().all(is_mismatch);
        said.or(all_mismatch.then_some(Reason::ServerIdentityMismatch))
    }

    /// Begins a cycle over every path. Relays are probed `handicap` later than other kinds.
    pub(super) fn begin_cycle(&mut self, now: MonotonicTime, handicap: Duration) -> u64 {
        self.cancel_probes();
        let mut targets = self.connections.clone();
        targets.retain(|(connection, _)| !self.is_held(now, *connection));
        if targets.is_empty() {
            // No path may be tried before then.
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
            self.core.push(Effect::StartProbe {
                cycle,
                connection,
                delay,
            });
        }
        cycle
    }

    /// Cancels the running cycle and the scheduled next one.
    pub(super) fn cancel_probes(&mut self) {
        self.probes.next_at = None;
        if let Some(cycle) = self.probes.finish() {
            let cycle = cycle.number;
            self.core.push(Effect::CancelProbes { cycle });
        }
    }

    /// Records a probe outcome. Returns true once the cycle has every outcome.
    pub(super) fn record(
        &mut self,
        now: MonotonicTime,
        connection: PathId,
        outcome: Result<Duration, Reason>,
    ) -> bool {
        self.probes.record(now, connection, outcome)
    }

    /// Handles the running cycle's deadline. If the clock jumped past it, the paths had no chance
    /// and the cycle runs again; otherwise pending paths have failed.
    pub(super) fn cycle_expired(&mut self, now: MonotonicTime, event: &'static str) {
        let Some(cycle) = self.probes.running() else {
            return;
        };
        let number = cycle.number;
        let slept = time_lost(now, cycle.deadline, CLOCK_JUMP).is_some();
        match *self.state() {
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
                self.core.push(Effect::CancelProbes { cycle: number });
                self.probes.expire(now);
                self.expired_cycle_over(now, event);
            }
        }
    }

    fn expired_cycle_over(&mut self, now: MonotonicTime, event: &'static str) {
        match *self.state() {
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

/// The most informative reason: one given by a peer, else the first.
fn telling(failed: &[Reason]) -> Option<Reason> {
    let said = failed.iter().find(|reason| reason.close_code().is_some());
    said.or(failed.first()).copied()
}
