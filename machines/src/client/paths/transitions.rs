//! The transition tables of the host: every state with every input, every client status and every
//! timer.
//!
//! `HostRuntimeManager::admit` drops results of older cycles, and of clients that are neither
//! active nor candidate, on entry.

use bowline_protocol::Reason;

use super::{ClientStatus, Effect, HostRuntimeManager, Input, Role, State, Timer};
use crate::{Generation, MonotonicTime};

impl HostRuntimeManager {
    /// Applies one cell of the table of inputs.
    pub(super) fn apply(&mut self, now: MonotonicTime, input: Input) {
        let event = input.name();
        match (*self.state(), input) {
            // ---- booting: only start and stop have an effect ----
            (State::Booting, Input::Start { connections }) => {
                self.set_connections(connections);
                self.reselect(now, event, None);
            }
            (State::Booting, Input::Background) => self.background = true,
            (State::Booting, Input::Foreground) => self.background = false,
            // The start brings the paths and connects; a choice needs configured paths.
            (
                State::Booting,
                Input::ConnectionsChanged(_)
                | Input::UserSelect(_)
                | Input::ReconnectNow
                | Input::IntentQueued
                | Input::NetworkChanged,
            ) => {}

            // ---- a second start in any state: already started ----
            (
                State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::ConnectingActive { .. }
                | State::Online { .. }
                | State::Degraded { .. }
                | State::Error { .. },
                Input::Start { .. },
            ) => {}

            // ---- no connections: only new paths have an effect ----
            (
                State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::Error { .. },
                Input::ConnectionsChanged(connections),
            ) => {
                if self.set_connections(connections) {
                    self.reselect(now, event, None);
                }
            }
            (State::NoConnections | State::Error { .. }, Input::Background) => {
                self.background = true;
            }
            (State::NoConnections, Input::Foreground) => self.background = false,
            (
                State::NoConnections,
                Input::UserSelect(_)
                | Input::ReconnectNow
                | Input::IntentQueued
                | Input::NetworkChanged,
            ) => {}

            // ---- selecting: a round is running or scheduled ----
            (
                State::SelectingActiveConnection { .. },
                Input::ProbeFinished {
                    connection,
                    outcome,
                    ..
                },
            ) => {
                self.record(now, connection, outcome);
                self.advance_race(now, event);
            }
            (State::SelectingActiveConnection { retry_at, .. }, Input::UserSelect(choice)) => {
                let is_other = self.choice != choice;
                if self.choose(now, choice) && (is_other || retry_at.is_some()) {
                    self.reselect(now, event, None);
                }
            }
            (State::SelectingActiveConnection { .. }, Input::ReconnectNow) => {
                self.activity(now);
                self.retry_selection_now(now, event);
            }
            // Intents wait for the connection; a retry for each would defeat the pauses.
            (State::SelectingActiveConnection { .. }, Input::IntentQueued) => self.activity(now),
            (State::SelectingActiveConnection { .. }, Input::Foreground) => {
                if self.foreground(now) {
                    self.reselect(now, event, None);
                } else {
                    self.retry_selection_now(now, event);
                }
            }
            // Rounds continue, with the longest pauses (LS-4).
            (State::SelectingActiveConnection { .. }, Input::Background) => self.background = true,
            (State::SelectingActiveConnection { .. }, Input::NetworkChanged) => {
                self.network_changed(now);
                self.reselect(now, event, None);
            }

            // ---- connecting active: the client of the chosen path is connecting ----
            // Results are recorded and displayed, and used if the chosen path fails.
            (
                State::ConnectingActive { .. },
                Input::ProbeFinished {
                    connection,
                    outcome,
                    ..
                },
            ) => {
                if self.record(now, connection, outcome) {
                    self.probes.finish();
                }
            }
            (State::ConnectingActive { connection, .. }, Input::UserSelect(choice)) => {
                if self.choose(now, choice) && choice.is_some_and(|choice| choice != connection) {
                    self.reselect(now, event, None);
                }
            }
            // Already connecting, with a deadline.
            (State::ConnectingActive { .. }, Input::ReconnectNow | Input::IntentQueued) => {
                self.activity(now);
            }
            (State::ConnectingActive { .. }, Input::Foreground) => {
                if self.foreground(now) {
                    self.reselect(now, event, None);
                }
            }
            (State::ConnectingActive { .. } | State::Degraded { .. }, Input::Background) => {
                self.set_background(true)
            }
            // The dial may be on a network that is gone.
            (State::ConnectingActive { .. }, Input::NetworkChanged) => {
                self.network_changed(now);
                self.reselect(now, event, None);
            }

            // ---- online ----
            (
                State::Online { .. },
                Input::ProbeFinished {
                    connection,
                    outcome,
                    ..
                },
            ) => {
                let is_over = self.record(now, connection, outcome);
                if outcome.is_ok() {
                    self.rescue_over(now, connection, event);
                }
                if is_over {
                    self.measured(now, event);
                }
            }
            (State::Online { generation, .. }, Input::ReconnectNow) => {
                self.activity(now);
                self.check_liveness(generation);
                self.begin_measuring(now);
            }
            (State::Online { .. }, Input::IntentQueued) => self.activity(now),
            (State::Online { generation, .. }, Input::Foreground) => {
                if self.foreground(now) {
                    self.redial_candidate(now, event);
                }
                self.check_liveness(generation);
                self.begin_measuring(now);
            }
            // The connection stays; only probes stop.
            (State::Online { .. }, Input::Background) => {
                self.set_background(true);
                self.cancel_probes();
            }
            (State::Online { generation, .. }, Input::NetworkChanged) => {
                self.network_changed(now);
                self.tell_network_changed(generation);
                self.redial_candidate(now, event);
                // Nothing waits for this cycle; if the connection is lost, another begins.
                if !self.is_unsettled(now) {
                    self.cancel_probes();
                }
                self.begin_measuring(now);
            }

            // ---- degraded: the old client retries while other paths are probed ----
            (
                State::Degraded { .. },
                Input::ProbeFinished {
                    connection,
                    outcome,
                    ..
                },
            ) => {
                self.record(now, connection, outcome);
                if outcome.is_ok() {
                    self.reconnect_if_active(connection);
                }
                self.advance_race(now, event);
            }
            (State::Degraded { generation, .. }, Input::ReconnectNow) => {
                self.activity(now);
                self.reconnect(generation);
                self.recover_now(now);
            }
            // Intents wait for the connection; both ways to recover are being tried.
            (State::Degraded { .. }, Input::IntentQueued) => self.activity(now),
            (State::Degraded { generation, .. }, Input::Foreground) => {
                if self.foreground(now) {
                    self.redial_candidate(now, event);
                    self.cancel_probes();
                }
                self.check_liveness(generation);
                self.recover_now(now);
            }
            (State::Degraded { generation, .. }, Input::NetworkChanged) => {
                self.network_changed(now);
                self.tell_network_changed(generation);
                self.redial_candidate(now, event);
                self.cancel_probes();
                self.recover_now(now);
            }

            // ---- error: left by an intent, the user, new paths, or events after which the cause
            // may be gone ----
            (State::Error { .. }, Input::IntentQueued | Input::ReconnectNow) => {
                self.activity(now);
                self.reselect(now, event, None);
            }
            (State::Error { .. }, Input::UserSelect(choice)) => {
                if self.choose(now, choice) {
                    self.reselect(now, event, None);
                }
            }
            (State::Error { .. }, Input::Foreground) => {
                if self.foreground(now) {
                    self.reselect(now, event, None);
                }
            }
            (State::Error { .. }, Input::NetworkChanged) => {
                self.network_changed(now);
                self.reselect(now, event, None);
            }

            // ---- states with an active client ----
            (State::Online { .. } | State::Degraded { .. }, Input::UserSelect(choice)) => {
                if self.choose(now, choice) {
                    self.follow_choice(now, event);
                }
            }
            (
                State::ConnectingActive { .. } | State::Online { .. } | State::Degraded { .. },
                Input::ConnectionsChanged(connections),
            ) => {
                if self.set_connections(connections) {
                    self.follow_connections(now, event);
                }
            }
            (
                State::ConnectingActive { .. } | State::Online { .. } | State::Degraded { .. },
                Input::ClientState { generation, state },
            ) => {
                let is_active = self.role(generation) == Some(Role::Active);
                self.apply_client_state(now, generation, state, event);
                self.tell_data(generation, state, is_active);
            }

            (
                State::Online { .. },
                Input::Suspected {
                    generation,
                    is_suspected,
                },
            ) => self.suspicion(now, generation, is_suspected, event),
            // The client is not connected: it is being replaced or retried already.
            (State::ConnectingActive { .. } | State::Degraded { .. }, Input::Suspected { .. }) => {}

            // ---- these states have no client, so `admit` drops all of these ----
            (
                State::Booting
                | State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::Error { .. }
                | State::Stopped,
                Input::ClientState { .. } | Input::Suspected { .. },
            ) => {}
            // ---- these states have no cycle ----
            (
                State::Booting | State::NoConnections | State::Error { .. } | State::Stopped,
                Input::ProbeFinished { .. },
            ) => {}

            // ---- stop, from any state (INV-12) ----
            (
                State::Booting
                | State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::ConnectingActive { .. }
                | State::Online { .. }
                | State::Degraded { .. }
                | State::Error { .. },
                Input::Stop,
            ) => self.stop(event),
            // Stopped is final.
            (
                State::Stopped,
                Input::Start { .. }
                | Input::ConnectionsChanged(_)
                | Input::UserSelect(_)
                | Input::ReconnectNow
                | Input::IntentQueued
                | Input::Foreground
                | Input::Background
                | Input::NetworkChanged
                | Input::Stop,
            ) => {}
        }
    }

    /// Applies one cell of the table of client statuses: state, role of the client, status.
    fn apply_client_state(
        &mut self,
        now: MonotonicTime,
        generation: Generation,
        status: ClientStatus,
        event: &'static str,
    ) {
        let Some(role) = self.role(generation) else {
            return;
        };
        match (*self.state(), role, status) {
            // ---- connecting active ----
            (State::ConnectingActive { .. }, Role::Active, ClientStatus::Connected) => {
                self.become_online(now, event);
            }
            (
                State::ConnectingActive { .. },
                Role::Active,
                ClientStatus::Disconnected { reason, .. },
            ) => self.connecting_failed(now, reason, event),
            (State::ConnectingActive { .. }, Role::Active, ClientStatus::Disposed) => {
                self.connecting_failed(now, Reason::ClosedLocally, event);
            }
            // The expected start.
            (State::ConnectingActive { .. }, Role::Active, ClientStatus::Connecting) => {}

            // ---- online ----
            (State::Online { .. }, Role::Active, ClientStatus::Disconnected { reason, .. }) => {
                self.lost(now, reason, event)
            }
            // It reconnects already: the newer status overtook the report of the loss.
            (State::Online { .. }, Role::Active, ClientStatus::Connecting) => {
                self.lost(now, Reason::ConnectionLost, event);
            }
            // It lost and regained its connection between two reports.
            (State::Online { .. }, Role::Active, ClientStatus::Connected) => {}

            // ---- degraded ----
            (State::Degraded { .. }, Role::Active, ClientStatus::Connected) => {
                self.recovered(now, event);
            }
            (State::Degraded { .. }, Role::Active, ClientStatus::Disconnected { reason, .. }) => {
                self.lost(now, reason, event)
            }
            // The retry that `Degraded` waits for.
            (State::Degraded { .. }, Role::Active, ClientStatus::Connecting) => {}

            // ---- a disposed client cannot return: select again ----
            (
                State::Online { .. } | State::Degraded { .. },
                Role::Active,
                ClientStatus::Disposed,
            ) => {
                self.reselect(now, event, Some(Reason::ClosedLocally));
            }

            // ---- the candidate ----
            (
                State::Online { .. } | State::Degraded { .. },
                Role::Candidate,
                ClientStatus::Connected,
            ) => self.promote(now, event),
            (
                State::Online { .. } | State::Degraded { .. },
                Role::Candidate,
                ClientStatus::Disconnected { reason, .. },
            ) => self.candidate_failed(now, reason, event),
            (
                State::Online { .. } | State::Degraded { .. },
                Role::Candidate,
                ClientStatus::Disposed,
            ) => self.candidate_failed(now, Reason::ClosedLocally, event),
            // The expected start.
            (
                State::Online { .. } | State::Degraded { .. },
                Role::Candidate,
                ClientStatus::Connecting,
            ) => {}

            // ---- `role` returns no such client in these states ----
            (
                State::ConnectingActive { .. },
                Role::Candidate,
                ClientStatus::Connecting
                | ClientStatus::Connected
                | ClientStatus::Disconnected { .. }
                | ClientStatus::Disposed,
            )
            | (
                State::Booting
                | State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::Error { .. }
                | State::Stopped,
                Role::Active | Role::Candidate,
                ClientStatus::Connecting
                | ClientStatus::Connected
                | ClientStatus::Disconnected { .. }
                | ClientStatus::Disposed,
            ) => {}
        }
    }

    /// Queues the effects of a client's status on the host's data, after the other effects. A
    /// candidate that connected is the active client by now; the loss of a candidate has no effect
    /// on data.
    fn tell_data(&mut self, generation: Generation, status: ClientStatus, was_active: bool) {
        match status {
            ClientStatus::Connected => self.core.push(Effect::Attached { generation }),
            ClientStatus::Disconnected { reason, .. } if was_active => {
                self.core.push(Effect::Lost { reason });
            }
            ClientStatus::Connecting
            | ClientStatus::Disconnected { .. }
            | ClientStatus::Disposed => {}
        }
    }

    /// Applies one cell of the table of timers. A timer is stored in its state or cycle, so none
    /// can be stale.
    pub(super) fn apply_timer(&mut self, now: MonotonicTime, timer: Timer) {
        match (*self.state(), timer) {
            (State::SelectingActiveConnection { .. }, Timer::Retry) => {
                self.reselect(now, "retry_timer", None);
            }
            (State::Error { .. }, Timer::Retry) => self.reselect(now, "second_look", None),
            (State::ConnectingActive { .. }, Timer::Connect) => {
                self.connecting_failed(now, Reason::ConnectTimeout, "connect_timeout");
            }
            (State::Online { .. } | State::Degraded { .. }, Timer::Candidate) => {
                self.candidate_failed(now, Reason::ConnectTimeout, "candidate_timeout");
            }
            (State::SelectingActiveConnection { .. } | State::Degraded { .. }, Timer::Hold) => {
                self.advance_race(now, "hold_timer");
            }
            (
                State::SelectingActiveConnection { .. }
                | State::ConnectingActive { .. }
                | State::Online { .. }
                | State::Degraded { .. },
                Timer::Cycle,
            ) => self.cycle_expired(now, "probe_deadline"),
            (
                State::Booting
                | State::NoConnections
                | State::SelectingActiveConnection { .. }
                | State::ConnectingActive { .. }
                | State::Online { .. }
                | State::Degraded { .. }
                | State::Error { .. },
                Timer::NetworkChange,
            ) => self.handle(now, Input::NetworkChanged),
            (State::Online { .. }, Timer::NextCycle) => self.begin_measuring(now),
            (State::Degraded { .. }, Timer::NextCycle) => self.begin_recovering(now),

            // ---- these states do not have these timers; `due` returns none ----
            (
                State::SelectingActiveConnection { .. },
                Timer::Connect | Timer::Candidate | Timer::NextCycle,
            )
            | (
                State::ConnectingActive { .. },
                Timer::Retry | Timer::Candidate | Timer::Hold | Timer::NextCycle,
            )
            | (State::Online { .. }, Timer::Retry | Timer::Connect | Timer::Hold)
            | (State::Degraded { .. }, Timer::Retry | Timer::Connect)
            | (
                State::Error { .. },
                Timer::Connect | Timer::Candidate | Timer::Hold | Timer::Cycle | Timer::NextCycle,
            )
            | (
                State::Booting | State::NoConnections | State::Stopped,
                Timer::Retry
                | Timer::Connect
                | Timer::Candidate
                | Timer::Hold
                | Timer::Cycle
                | Timer::NextCycle,
            )
            | (State::Stopped, Timer::NetworkChange) => {}
        }
    }
}
