//! With an active client: measurement, candidates, promotion, loss and recovery.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{Candidate, HostRuntimeManager, PathId, State};
use crate::MonotonicTime;

impl HostRuntimeManager {
    /// Handles the first connection of the active client.
    pub(super) fn become_online(&mut self, now: MonotonicTime, event: &'static str) {
        let State::ConnectingActive {
            connection,
            generation,
            ..
        } = *self.state()
        else {
            return;
        };
        self.enter_online(now, (connection, generation), None, event);
    }

    /// Handles the active client's reconnection before another path won. A candidate chosen by the
    /// user continues; any other is dropped.
    pub(super) fn recovered(&mut self, now: MonotonicTime, event: &'static str) {
        let State::Degraded {
            connection,
            generation,
            candidate,
            ..
        } = *self.state()
        else {
            return;
        };
        let wanted = candidate.filter(|candidate| self.choice == Some(candidate.connection));
        if let Some(helper) = candidate.filter(|_| wanted.is_none()) {
            self.discard(helper.generation);
        }
        self.enter_online(now, (connection, generation), wanted, event);
    }

    /// Handles the candidate's connection: it becomes the active client in one step (INV-11), and
    /// the old one finishes its requests in flight.
    pub(super) fn promote(&mut self, now: MonotonicTime, event: &'static str) {
        let (Some((left, old)), Some(candidate)) = (self.state().active(), self.candidate()) else {
            return;
        };
        let is_rescue = self.is_suspected();
        let drain = if is_rescue {
            Duration::ZERO
        } else {
            self.drain()
        };
        let generation = candidate.generation;
        self.generation = generation;
        self.switches = self.switches.saturating_add(1);
        self.core.push(super::Effect::Promote { generation });
        // Its unanswered requests were lost on the way, or are given up: not at the caller's wish.
        self.dispose(old, drain, Reason::ConnectionLost);
        self.enter_online(now, (candidate.connection, generation), None, event);
        if is_rescue {
            self.hysteresis.distrust(left);
            self.rescued(now);
        }
    }

    fn enter_online(
        &mut self,
        now: MonotonicTime,
        (connection, generation): (PathId, crate::Generation),
        candidate: Option<Candidate>,
        event: &'static str,
    ) {
        self.activity(now);
        self.end_suspicion();
        self.hysteresis.reset(connection);
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

    /// Handles the loss of the active client's connection, or its failed retry.
    pub(super) fn lost(&mut self, now: MonotonicTime, reason: Reason, event: &'static str) {
        let Some((connection, generation)) = self.state().active() else {
            return;
        };
        if self.is_terminal(reason) {
            self.fail(now, reason, event);
            return;
        }
        let was_online_for = match *self.state() {
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
        self.end_suspicion();
        let degraded = State::Degraded {
            connection,
            generation,
            reason,
            candidate: self.candidate(),
        };
        self.set_state(degraded, event, Some(reason));
        if let Some(lasted) = was_online_for {
            self.backoff.succeeded_for(lasted);
            self.hysteresis.clear();
            self.cancel_probes();
            if self.background {
                self.schedule_recovery(now);
            } else {
                self.recover_now(now);
                self.presume(now, event);
            }
        }
    }

    /// Creates a candidate on a path whose last probe succeeded, without waiting for a new proof:
    /// the probes begun at the loss would cost another round trip. If that path is dead too, the
    /// first other path to prove itself replaces the candidate; if the lost path returns first, it
    /// stays.
    fn presume(&mut self, now: MonotonicTime, event: &'static str) {
        // A candidate of a switch for improvement only must not delay this one.
        if let Some(candidate) = self.candidate() {
            self.presumed = Some(candidate.generation);
            return;
        }
        if let Some(connection) = self.working_alternative(now) {
            self.start_candidate(now, connection, event);
            self.presumed = self.candidate().map(|candidate| candidate.generation);
        }
    }

    /// Starts a candidate on a path, replacing an earlier one.
    pub(super) fn start_candidate(
        &mut self,
        now: MonotonicTime,
        connection: PathId,
        event: &'static str,
    ) {
        if let Some(earlier) = self.candidate() {
            if earlier.connection == connection {
                return;
            }
            self.discard(earlier.generation);
        }
        let candidate = Candidate {
            connection,
            generation: self.create_client(connection, true),
            deadline: now + self.config.connect_deadline,
        };
        self.set_candidate(Some(candidate), event, None);
    }

    /// Restarts the candidate's dial, which may be on a network that is gone; this is no failure of
    /// its path. The path is now unproven, so any path proven by a new cycle may replace the
    /// candidate.
    pub(super) fn redial_candidate(&mut self, now: MonotonicTime, event: &'static str) {
        let Some(old) = self.candidate() else {
            return;
        };
        self.discard(old.generation);
        let candidate = Candidate {
            connection: old.connection,
            generation: self.create_client(old.connection, true),
            deadline: now + self.config.connect_deadline,
        };
        // It is dropped like the one before if the active client is heard again.
        if self.rescue == Some(old.generation) {
            self.rescue = Some(candidate.generation);
        }
        self.set_candidate(Some(candidate), event, None);
        self.presumed = Some(candidate.generation);
    }

    /// Handles the candidate's failure: only a counter changes.
    pub(super) fn candidate_failed(
        &mut self,
        now: MonotonicTime,
        reason: Reason,
        event: &'static str,
    ) {
        let Some(candidate) = self.candidate() else {
            return;
        };
        self.switches_failed = self.switches_failed.saturating_add(1);
        self.discard(candidate.generation);
        self.hysteresis.forget(candidate.connection);
        self.set_candidate(None, event, Some(reason));
        if let State::Degraded { .. } = *self.state() {
            self.avoid = Some(candidate.connection);
            self.probes.discard(candidate.connection);
            self.advance_race(now, event);
        }
    }

    /// Drops a candidate that is no longer needed.
    pub(super) fn drop_candidate(&mut self, event: &'static str) {
        if let Some(candidate) = self.candidate() {
            self.discard(candidate.generation);
            self.set_candidate(None, event, None);
        }
    }

    fn set_candidate(
        &mut self,
        candidate: Option<Candidate>,
        event: &'static str,
        reason: Option<Reason>,
    ) {
        let mut state = *self.state();
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

    /// Applies the user's choice at once, while a client is active.
    pub(super) fn follow_choice(&mut self, now: MonotonicTime, event: &'static str) {
        let Some((connection, generation)) = self.state().active() else {
            return;
        };
        let is_degraded = matches!(*self.state(), State::Degraded { .. });
        match self.choice {
            // Paths proven by the running cycle may be taken now.
            None if is_degraded => {
                self.recover_now(now);
                self.advance_race(now, event);
            }
            None => {}
            Some(choice) if choice != connection => {
                // The user's choice stays, whatever the active client hears.
                self.rescue = None;
                self.start_candidate(now, choice, event);
            }
            Some(_) => {
                self.drop_candidate(event);
                if is_degraded {
                    self.reconnect(generation);
                }
            }
        }
    }

    /// Handles changed paths while a client is active, which stays if its path does.
    pub(super) fn follow_connections(&mut self, now: MonotonicTime, event: &'static str) {
        let Some((connection, _)) = self.state().active() else {
            return;
        };
        if self.path(connection).is_none() {
            self.reselect(now, event, None);
            return;
        }
        if let Some(candidate) = self.candidate()
            && self.path(candidate.connection).is_none()
        {
            self.drop_candidate(event);
        }
        // The running cycle probes outdated paths.
        self.cancel_probes();
        match *self.state() {
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
    pub(super) fn begin_measuring(&mut self, now: MonotonicTime) {
        if self.background {
            self.cancel_probes();
        } else if self.probes.running().is_none() {
            self.begin_cycle(now, Duration::ZERO);
        }
    }

    /// Begins a cycle while degraded, unless one is running.
    pub(super) fn begin_recovering(&mut self, now: MonotonicTime) {
        if self.probes.running().is_none() {
            self.begin_cycle(now, self.config.relay_handicap);
        }
    }

    /// Probes at once while degraded, if there is another path. A single path is retried by its
    /// client, and a second dial would only interfere.
    pub(super) fn recover_now(&mut self, now: MonotonicTime) {
        if self.connections.len() > 1 {
            self.begin_recovering(now);
        } else if self.probes.running().is_none() && self.probes.next_at.is_none() {
            self.schedule_recovery(now);
        }
    }

    /// Schedules the next probe while degraded. With a single path this is only a safety net.
    pub(super) fn schedule_recovery(&mut self, now: MonotonicTime) {
        let pause = self.next_pause();
        let least = if self.connections.len() < 2 {
            self.config.probe_interval
        } else {
            Duration::ZERO
        };
        self.probes.next_at = Some(now + pause.max(least));
    }

    /// Reconnects the active client now if `proven` is its path.
    pub(super) fn reconnect_if_active(&mut self, proven: PathId) {
        if let Some((connection, generation)) = self.state().active()
            && connection == proven
        {
            self.reconnect(generation);
        }
    }

    /// Handles a complete cycle while online, after which another path may have earned a switch.
    pub(super) fn measured(&mut self, now: MonotonicTime, event: &'static str) {
        let (Some(cycle), Some((active, path, _))) = (self.probes.finish(), self.active()) else {
            return;
        };
        let interval = self.probe_interval(now);
        self.probes.next_at = Some((cycle.started + interval).max(now));
        let earned = self.hysteresis.observe(
            &self.config,
            &self.connections,
            (active, path),
            self.probes.results(),
            &cycle,
        );
        let next = match self.choice {
            None => earned,
            Some(choice) => cycle.rtt(choice).map(|_| choice),
        };
        if let Some(next) = next.filter(|next| *next != active && !self.is_held(now, *next))
            && self.candidate().is_none()
        {
            self.start_candidate(now, next, event);
        }
    }

    fn probe_interval(&self, now: MonotonicTime) -> Duration {
        let is_quiet = now.since(self.active_at) >= self.config.quiet_after;
        if is_quiet || self.connections.len() < 2 {
            self.config.quiet_probe_interval
        } else {
            self.config.probe_interval
        }
    }
}
