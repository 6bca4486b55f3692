//! With an active client: measuring, candidates, promotion, loss and recovery.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{Candidate, ConnectionId, HostRuntimeManager, State};
use crate::Moment;

impl HostRuntimeManager {
    /// The active client connected for the first time.
    pub(super) fn online(&mut self, now: Moment, event: &'static str) {
        let State::ConnectingActive {
            connection,
            generation,
            ..
        } = self.state
        else {
            return;
        };
        self.enter_online(now, (connection, generation), None, event);
    }

    /// The active client has its connection back before any other path won. A candidate that the user
    /// asked for goes on; one that was only to help out has nothing left to do.
    pub(super) fn recovered(&mut self, now: Moment, event: &'static str) {
        let State::Degraded {
            connection,
            generation,
            candidate,
            ..
        } = self.state
        else {
            return;
        };
        let wanted = candidate.filter(|candidate| self.choice == Some(candidate.connection));
        if let Some(helper) = candidate.filter(|_| wanted.is_none()) {
            self.dispose(helper.generation, Duration::ZERO);
        }
        self.enter_online(now, (connection, generation), wanted, event);
    }

    /// The candidate connected: it becomes the active client in one step (INV-11), and the old one
    /// finishes what it has in flight.
    pub(super) fn promote(&mut self, now: Moment, event: &'static str) {
        let (Some((_, old)), Some(candidate)) = (self.state.active(), self.state.candidate())
        else {
            return;
        };
        let drain = self.drain();
        let generation = candidate.generation;
        self.generation = generation;
        self.effects
            .push_back(super::Effect::Promote { generation });
        self.dispose(old, drain);
        self.enter_online(now, (candidate.connection, generation), None, event);
    }

    fn enter_online(
        &mut self,
        now: Moment,
        (connection, generation): (ConnectionId, crate::Generation),
        candidate: Option<Candidate>,
        event: &'static str,
    ) {
        self.activity(now);
        self.hysteresis.reset();
        self.avoid = None;
        self.held.remove(&connection);
        self.last_error = None;
        let online = State::Online {
            connection,
            generation,
            since: now,
            candidate,
        };
        self.set_state(online, event, None);
        if self.background {
            self.cancel_probes();
        } else if self.probes.running().is_none() {
            self.probes.next_at = Some(now + self.probe_interval(now));
        }
    }

    /// The active client lost its connection, or failed to get it back.
    pub(super) fn lost(&mut self, now: Moment, reason: Reason, event: &'static str) {
        let Some((connection, generation)) = self.state.active() else {
            return;
        };
        if self.is_terminal(reason) {
            self.fail(now, reason, event);
            return;
        }
        let was_online_for = match self.state {
            State::Online { since, .. } => Some(now.since(since)),
            State::Booting
            | State::NoConnections
            | State::SelectingActiveConnection { .. }
            | State::ConnectingActive { .. }
            | State::Degraded { .. }
            | State::Error { .. }
            | State::Stopped => None,
        };
        self.last_error = Some(reason);
        self.changed = true;
        let degraded = State::Degraded {
            connection,
            generation,
            reason,
            candidate: self.state.candidate(),
        };
        self.set_state(degraded, event, Some(reason));
        if let Some(lasted) = was_online_for {
            self.backoff.succeeded_for(lasted);
            self.hysteresis.reset();
            self.cancel_probes();
            if self.background {
                self.schedule_recovery(now);
            } else {
                self.recover_now(now);
                self.presume(now, connection, event);
            }
        }
    }

    /// A path that worked when it was last measured need not prove itself once more before its client is made: the probes
    /// that began with the loss would cost as much time again. Should it be dead too, whichever of them proves another
    /// path first takes the candidate's place, and should the lost path come back first, it stays.
    fn presume(&mut self, now: Moment, lost: ConnectionId, event: &'static str) {
        // The candidate of a switch that was only to be an improvement must not keep better news waiting either.
        if let Some(candidate) = self.state.candidate() {
            self.presumed = Some(candidate.generation);
            return;
        }
        let fresh = self.config.quiet_probe_interval + self.config.probe_deadline;
        let results = self.probes.results();
        let known = self.allowed().filter_map(|(connection, path)| {
            let result = results.get(&connection)?;
            let works = result.error.is_none() && now.since(result.at) <= fresh;
            let works = works && !self.is_held(now, connection);
            (works && connection != lost).then_some((path, result.rtt?, connection))
        });
        if let Some((_, _, connection)) = known.min() {
            self.start_candidate(now, connection, event);
            self.presumed = self.state.candidate().map(|candidate| candidate.generation);
        }
    }

    /// Starts a client of that path beside the active one, in place of an earlier candidate.
    pub(super) fn start_candidate(
        &mut self,
        now: Moment,
        connection: ConnectionId,
        event: &'static str,
    ) {
        if let Some(earlier) = self.state.candidate() {
            if earlier.connection == connection {
                return;
            }
            self.dispose(earlier.generation, Duration::ZERO);
        }
        let candidate = Candidate {
            connection,
            generation: self.create_client(connection, true),
            deadline: now + self.config.connect_deadline,
        };
        self.set_candidate(Some(candidate), event, None);
    }

    /// The candidate's dial may be on a network that is gone, so it is begun again, which is no failure of its path. The path
    /// is unproven now: whatever a new cycle proves may take the candidate's place.
    pub(super) fn redial_candidate(&mut self, now: Moment, event: &'static str) {
        let Some(old) = self.state.candidate() else {
            return;
        };
        self.dispose(old.generation, Duration::ZERO);
        let candidate = Candidate {
            connection: old.connection,
            generation: self.create_client(old.connection, true),
            deadline: now + self.config.connect_deadline,
        };
        self.set_candidate(Some(candidate), event, None);
        self.presumed = Some(candidate.generation);
    }

    /// The candidate came to nothing: nothing changes but a counter.
    pub(super) fn candidate_failed(&mut self, now: Moment, reason: Reason, event: &'static str) {
        let Some(candidate) = self.state.candidate() else {
            return;
        };
        self.switches_failed = self.switches_failed.saturating_add(1);
        self.dispose(candidate.generation, Duration::ZERO);
        self.hysteresis.forget(candidate.connection);
        self.set_candidate(None, event, Some(reason));
        if let State::Degraded { .. } = self.state {
            self.avoid = Some(candidate.connection);
            self.probes.discard(candidate.connection);
            self.advance_race(now, event);
        }
    }

    fn set_candidate(
        &mut self,
        candidate: Option<Candidate>,
        event: &'static str,
        reason: Option<Reason>,
    ) {
        let mut state = self.state;
        match &mut state {
            State::Online {
                candidate: place, ..
            }
            | State::Degraded {
                candidate: place, ..
            } => *place = candidate,
            State::Booting
            | State::NoConnections
            | State::SelectingActiveConnection { .. }
            | State::ConnectingActive { .. }
            | State::Error { .. }
            | State::Stopped => return,
        }
        self.set_state(state, event, reason);
    }

    /// Does at once what the user chose, while a client is active.
    pub(super) fn follow_choice(&mut self, now: Moment, event: &'static str) {
        let Some((connection, generation)) = self.state.active() else {
            return;
        };
        let is_degraded = matches!(self.state, State::Degraded { .. });
        match self.choice {
            // What the running cycle has proven may be taken now.
            None if is_degraded => {
                self.recover_now(now);
                self.advance_race(now, event);
            }
            None => {}
            Some(choice) if choice != connection => self.start_candidate(now, choice, event),
            Some(_) => {
                if let Some(candidate) = self.state.candidate() {
                    self.dispose(candidate.generation, Duration::ZERO);
                    self.set_candidate(None, event, None);
                }
                if is_degraded {
                    self.reconnect(generation);
                }
            }
        }
    }

    /// The configured paths changed while a client is active. It stays if its path does.
    pub(super) fn follow_connections(&mut self, now: Moment, event: &'static str) {
        let Some((connection, _)) = self.state.active() else {
            return;
        };
        if self.path(connection).is_none() {
            self.reselect(now, event, None);
            return;
        }
        if let Some(candidate) = self.state.candidate()
            && self.path(candidate.connection).is_none()
        {
            self.dispose(candidate.generation, Duration::ZERO);
            self.set_candidate(None, event, None);
        }
        // The running cycle asked the wrong paths.
        self.cancel_probes();
        match self.state {
            State::Online { .. } => self.begin_measuring(now),
            State::Degraded { .. } => self.recover_now(now),
            State::Booting
            | State::NoConnections
            | State::SelectingActiveConnection { .. }
            | State::ConnectingActive { .. }
            | State::Error { .. }
            | State::Stopped => {}
        }
    }

    /// Begins a cycle while online, unless one is running or the app is in the background.
    pub(super) fn begin_measuring(&mut self, now: Moment) {
        if self.background {
            self.cancel_probes();
        } else if self.probes.running().is_none() {
            self.begin_cycle(now, Duration::ZERO);
        }
    }

    /// Begins a cycle while degraded, unless one is running.
    pub(super) fn begin_recovering(&mut self, now: Moment) {
        if self.probes.running().is_none() {
            self.begin_cycle(now, self.config.relay_handicap);
        }
    }

    /// Probes at once while degraded, if there is another path to find. A single path is retried by its
    /// client; a second dial beside it would only be in the way.
    pub(super) fn recover_now(&mut self, now: Moment) {
        if self.connections.len() > 1 {
            self.begin_recovering(now);
        } else if self.probes.running().is_none() && self.probes.next_at.is_none() {
            self.schedule_recovery(now);
        }
    }

    /// When to probe next while degraded. On a single path this is only the safety net.
    pub(super) fn schedule_recovery(&mut self, now: Moment) {
        let pause = self.next_pause();
        let least = if self.connections.len() < 2 {
            self.config.probe_interval
        } else {
            Duration::ZERO
        };
        self.probes.next_at = Some(now + pause.max(least));
    }

    /// The old path works again: its client need not wait for its own retry.
    pub(super) fn reconnect_if_active(&mut self, proven: ConnectionId) {
        if let Some((connection, generation)) = self.state.active()
            && connection == proven
        {
            self.reconnect(generation);
        }
    }

    /// A cycle is complete while online: perhaps another path has earned a switch.
    pub(super) fn measured(&mut self, now: Moment, event: &'static str) {
        let (Some(cycle), Some((active, path, _))) = (self.probes.finish(), self.active()) else {
            return;
        };
        let interval = self.probe_interval(now);
        self.probes.next_at = Some((cycle.started + interval).max(now));
        let known = self.probes.results().get(&active);
        let known = known.and_then(|result| result.rtt);
        let earned = self.hysteresis.observe(
            &self.config,
            &self.connections,
            (active, path),
            known,
            &cycle,
        );
        let next = match self.choice {
            None => earned,
            Some(choice) => cycle.rtt(choice).map(|_| choice),
        };
        if let Some(next) = next.filter(|next| *next != active)
            && self.state.candidate().is_none()
        {
            self.start_candidate(now, next, event);
        }
    }

    fn probe_interval(&self, now: Moment) -> Duration {
        let is_quiet = now.since(self.active_at) >= self.config.quiet_after;
        if is_quiet || self.connections.len() < 2 {
            self.config.quiet_probe_interval
        } else {
            self.config.probe_interval
        }
    }
}
