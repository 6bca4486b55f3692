//! The transition table of the client: every state with every input, written out.
//!
//! Results of an older transport never get here: `DaemonClient::admit` drops them at the entrance. So a
//! result in a state that has no transport cannot be current, and its rows say so.

use bowline_protocol::Reason;

use super::{DaemonClient, Effect, Input, State, liveness::Verdict};
use crate::Moment;

impl DaemonClient {
    /// One cell of the table.
    pub(super) fn apply(&mut self, now: Moment, input: Input) {
        let event = input.name();
        match (self.state, input) {
            // ---- idle: nothing was asked yet ----
            (State::Idle, Input::ConnectRequest) => self.connect(now, 0, event),
            (State::Idle, Input::Background) => self.background = true,
            (State::Idle, Input::Foreground) => self.background = false,
            // Nobody asked for a connection, so there is none to doubt and none to retry.
            (State::Idle, Input::CheckLiveness | Input::NetworkChanged) => {}

            // ---- promotion, from anywhere but the end ----
            (State::Idle | State::Connecting { .. } | State::Connected { .. }, Input::Promoted) => {
                self.auto_retry = true
            }
            (State::Disconnected { .. }, Input::Promoted) => self.promoted_late(now, event),

            // ---- connecting: one transport is opening ----
            (State::Connecting { .. }, Input::TransportOpen { heartbeat, .. }) => {
                self.opened(now, heartbeat, event);
            }
            (
                State::Connecting { .. },
                Input::TransportClosed {
                    reason,
                    retry_after,
                    ..
                },
            ) => self.lose(now, reason, retry_after, event),
            // Already under way, with a deadline of its own.
            (State::Connecting { .. }, Input::ConnectRequest | Input::CheckLiveness) => {}
            // Handshake bytes: the connect deadline covers the whole handshake, progress or not.
            (State::Connecting { .. }, Input::Received { .. }) => {}
            (State::Connecting { .. }, Input::Background) => self.background = true,
            // The dial under way may be on a network that is gone, or on a socket that the system took away.
            (State::Connecting { .. }, Input::NetworkChanged) => self.redial(now, event),
            (State::Connecting { .. }, Input::Foreground) => {
                self.background = false;
                self.redial(now, event);
            }

            // ---- connected ----
            (State::Connected { .. }, Input::Received { .. }) => self.liveness.heard(now),
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
            // Already there.
            (State::Connected { .. }, Input::ConnectRequest) => {}
            // The transport that is in use reported twice; closing it would break what works.
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
            // The pause under way stays as it is; the next ones are long (lesson 4).
            (State::Disconnected { .. }, Input::Background) => self.background = true,

            // ---- no transport lives in these states, so `admit` lets none of these through ----
            (
                State::Idle | State::Disconnected { .. } | State::Disposed,
                Input::TransportOpen { .. }
                | Input::TransportClosed { .. }
                | Input::Received { .. },
            ) => {}

            // ---- dispose, from anywhere (INV-12) ----
            (State::Idle | State::Disconnected { .. }, Input::Dispose) => {
                self.set_state(State::Disposed, event, Some(Reason::ClosedLocally));
            }
            (State::Connecting { .. }, Input::Dispose) => {
                self.set_state(State::Disposed, event, Some(Reason::ClosedLocally));
                self.close_transport(Reason::ClosedLocally);
            }
            (State::Connected { .. }, Input::Dispose) => {
                self.set_state(State::Disposed, event, Some(Reason::ClosedLocally));
                self.effects.push_back(Effect::EndWaiters {
                    reason: Reason::ClosedLocally,
                });
                self.close_transport(Reason::ClosedLocally);
            }
            // Disposed is terminal: `ensure_connected` and everything else do nothing.
            (
                State::Disposed,
                Input::ConnectRequest
                | Input::CheckLiveness
                | Input::NetworkChanged
                | Input::Promoted
                | Input::Background
                | Input::Foreground
                | Input::Dispose,
            ) => {}
        }
    }

    /// The timer column. Each state has at most one timer, held in its own data, so none can be stale.
    pub(super) fn apply_timeout(&mut self, now: Moment) {
        match self.state {
            State::Connecting { deadline, .. } if deadline <= now => {
                let reason = Reason::ConnectTimeout;
                self.lose(now, reason, None, "connect_timeout");
                self.close_transport(reason);
            }
            State::Connected { .. } => match self.liveness.on_timer(now, &self.config) {
                Verdict::Wait => {}
                Verdict::Ping => self.ping(),
                Verdict::Dead => {
                    let reason = Reason::HeartbeatTimeout;
                    self.lose(now, reason, None, "heartbeat_timeout");
                    self.close_transport(reason);
                }
            },
            State::Disconnected {
                attempt,
                retry_at: Some(at),
                ..
            } if at <= now => self.connect(now, attempt, "reconnect_timer"),
            // Called early, or there is no timer in this state.
            State::Connecting { .. }
            | State::Disconnected { .. }
            | State::Idle
            | State::Disposed => {}
        }
    }
}
