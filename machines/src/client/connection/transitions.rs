//! The transition table of the client: every pair of state and input.
//!
//! `DaemonClient::admit` drops results of older transports on entry. A result in a state without a
//! transport can therefore not be current, as its rows state.

use bowline_protocol::Reason;

use super::{DaemonClient, Effect, Input, State};
use crate::MonotonicTime;

impl DaemonClient {
    /// Applies one cell of the table.
    pub(super) fn apply(&mut self, now: MonotonicTime, input: Input) {
        let event = input.name();
        match (*self.state(), input) {
            // ---- idle: no connect was requested yet ----
            (State::Idle, Input::ConnectRequest) => self.connect(now, 0, event),
            (State::Idle, Input::Background) => self.background = true,
            (State::Idle, Input::Foreground) => self.background = false,
            // No connect was requested, so there is no connection to check and none to retry.
            (State::Idle, Input::CheckLiveness | Input::NetworkChanged) => {}

            // The host repeats these after the connection is open.
            (
                State::Idle | State::Connecting { .. } | State::Disconnected { .. },
                Input::AlternativeKnown(_),
            ) => {}

            // ---- promotion, from any state but disposed ----
            (State::Idle | State::Connecting { .. } | State::Connected { .. }, Input::Promoted) => {
                self.auto_retry = true
            }
            (State::Disconnected { .. }, Input::Promoted) => self.promoted_late(now, event),

            // ---- connecting: one transport is opening ----
            (
                State::Connecting { .. },
                Input::TransportOpen {
                    heartbeat,
                    round_trip,
                    ..
                },
            ) => self.opened(now, heartbeat, round_trip, event),
            (
                State::Connecting { .. },
                Input::TransportClosed {
                    reason,
                    retry_after,
                    ..
                },
            ) => self.lose(now, reason, retry_after, event),
            // Already connecting, with a deadline.
            (State::Connecting { .. }, Input::ConnectRequest | Input::CheckLiveness) => {}
            // Handshake bytes: the connect deadline covers the whole handshake, with progress or
            // without.
            (
                State::Connecting { .. },
                Input::Received { .. }
                | Input::Streamed { .. }
                | Input::Waiting { .. }
                | Input::Answered { .. },
            ) => {}
            (State::Connecting { .. }, Input::Background) => self.background = true,
            // The dial may be on a network that is gone, or on a socket that the system closed.
            (State::Connecting { .. }, Input::NetworkChanged) => self.redial(now, event),
            (State::Connecting { .. }, Input::Foreground) => {
                self.background = false;
                self.redial(now, event);
            }

            // ---- connected ----
            (State::Connected { .. }, Input::Received { .. }) => self.heard(now),
            (State::Connected { .. }, Input::Streamed { .. }) => self.detector.streamed(now),
            (State::Connected { .. }, Input::Waiting { is_waiting, .. }) => {
                self.detector.set_waiting(now, is_waiting);
            }
            (
                State::Connected { .. },
                Input::Answered {
                    round_trip,
                    is_ping,
                    ..
                },
            ) => self.detector.answered(round_trip, is_ping),
            (
                State::Connected { .. },
                Input::TransportClosed {
                    reason,
                    retry_after,
                    ..
                },
            ) => self.lose(now, reason, retry_after, event),
            (State::Connected { .. }, Input::CheckLiveness | Input::NetworkChanged) => {
                self.check(now);
            }
            (State::Connected { .. }, Input::Foreground) => {
                self.background = false;
                self.check(now);
            }
            (State::Connected { .. }, Input::Background) => self.background = true,
            (State::Connected { .. }, Input::AlternativeKnown(is_known)) => {
                self.detector.set_armed(is_known);
            }
            // Already connected.
            (State::Connected { .. }, Input::ConnectRequest) => {}
            // The active transport reported twice; closing it would break a working connection.
            (State::Connected { .. }, Input::TransportOpen { .. }) => {}

            // ---- disconnected ----
            (State::Disconnected { attempt, .. }, Input::ConnectRequest) => {
                self.connect(now, attempt, event);
            }
            (State::Disconnected { .. }, Input::CheckLiveness | Input::NetworkChanged) => {
                self.hurry(now, event);
            }
            (State::Disconnected { .. }, Input::Foreground) => {
                self.background = false;
                self.hurry(now, event);
            }
            // The current pause is unchanged; later ones are long (LS-4).
            (State::Disconnected { .. }, Input::Background) => self.background = true,

            // ---- these states have no transport, so `admit` drops all of these ----
            (
                State::Idle | State::Disconnected { .. } | State::Disposed,
                Input::TransportOpen { .. }
                | Input::TransportClosed { .. }
                | Input::Received { .. }
                | Input::Streamed { .. }
                | Input::Waiting { .. }
                | Input::Answered { .. },
            ) => {}

            // ---- dispose, from any state (INV-12) ----
            (State::Idle | State::Disconnected { .. }, Input::Dispose(reason)) => {
                self.set_state(State::Disposed, event, Some(reason));
            }
            (State::Connecting { .. }, Input::Dispose(reason)) => {
                self.set_state(State::Disposed, event, Some(reason));
                self.close_transport(Reason::ClosedLocally);
            }
            (State::Connected { .. }, Input::Dispose(reason)) => {
                self.set_state(State::Disposed, event, Some(reason));
                self.core.push(Effect::EndWaiters { reason });
                self.close_transport(Reason::ClosedLocally);
            }
            // Disposed is final: no input has an effect.
            (
                State::Disposed,
                Input::ConnectRequest
                | Input::CheckLiveness
                | Input::NetworkChanged
                | Input::Promoted
                | Input::AlternativeKnown(_)
                | Input::Background
                | Input::Foreground
                | Input::Dispose(_),
            ) => {}
        }
    }

    /// Call at [`Self::poll_timeout`]; an earlier call does nothing.
    ///
    /// The timer column. Each state has at most one timer, stored in its data, so none can be
    /// stale.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        match *self.state() {
            State::Connecting { deadline, .. } if deadline <= now => {
                let reason = Reason::ConnectTimeout;
                self.lose(now, reason, None, "connect_timeout");
                self.close_transport(reason);
            }
            State::Connected { .. } => self.look(now),
            State::Disconnected {
                attempt,
                retry_at: Some(at),
                ..
            } if at <= now => self.connect(now, attempt, "reconnect_timer"),
            // Called early, or this state has no timer.
            State::Connecting { .. }
            | State::Disconnected { .. }
            | State::Idle
            | State::Disposed => {}
        }
    }
}
