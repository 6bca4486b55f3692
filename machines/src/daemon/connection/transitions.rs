//! The connection's transition table.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{Admission, Connection, Effect, Input, State};
use crate::{
    MonotonicTime,
    liveness::{SWEPT_CLOCK_JUMP, time_lost},
    machine_core::Table,
};

impl Connection {
    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input) {
        match (*self.state(), input) {
            (State::New { .. }, Input::HandshakeDone) => {
                self.active_at = now;
                self.set(State::Active, "handshake_done", None);
            }
            (
                State::New { .. } | State::Active | State::Processing { .. } | State::Idle { .. },
                Input::OutboundOverflow,
            ) => self.begin_close(now, Reason::SlowConsumer, "outbound_overflow"),
            (
                State::New { .. } | State::Active | State::Processing { .. } | State::Idle { .. },
                Input::Close { reason },
            ) => self.begin_close(now, reason, "close"),
            (
                State::New { .. } | State::Active | State::Processing { .. } | State::Idle { .. },
                Input::PeerClosed { reason },
            ) => self.terminate(reason, "peer_closed"),
            // The close keeps the reason it began with.
            (State::Closing { reason, .. }, Input::PeerClosed { .. }) => {
                self.terminate(reason, "peer_closed");
            }
            // The handshake is already complete.
            (
                State::Active | State::Processing { .. } | State::Idle { .. },
                Input::HandshakeDone,
            ) => {}
            // The close began earlier; a second cause or a late handshake changes nothing.
            (
                State::Closing { .. },
                Input::HandshakeDone | Input::OutboundOverflow | Input::Close { .. },
            ) => {}
            // Final.
            (
                State::Closed { .. },
                Input::HandshakeDone
                | Input::OutboundOverflow
                | Input::PeerClosed { .. }
                | Input::Close { .. },
            ) => {}
            // Handled before the table, the same in every state.
            (
                State::New { .. }
                | State::Active
                | State::Processing { .. }
                | State::Idle { .. }
                | State::Closing { .. }
                | State::Closed { .. },
                Input::Received | Input::Sent,
            ) => {}
        }
    }

    /// The row of the table for a request.
    pub(super) fn admit(&mut self, now: MonotonicTime) -> Admission {
        match *self.state() {
            State::Active | State::Processing { .. } | State::Idle { .. } => {
                if self.requests.pending() >= self.config.max_pending {
                    return Admission::Overloaded;
                }
                let timeout = self.config.request_timeout;
                let deadline = (!timeout.is_zero()).then(|| now + timeout);
                let slot = self.requests.start(deadline);
                self.settle(now);
                Admission::Admitted(slot)
            }
            // No requests before the handshake is complete, and no new ones after the close began.
            State::New { .. } | State::Closing { .. } | State::Closed { .. } => Admission::Refused,
        }
    }

    /// Sets the open state that matches the number of pending requests, without a record (see the
    /// module).
    pub(super) fn settle(&mut self, now: MonotonicTime) {
        match *self.state() {
            State::Active | State::Processing { .. } | State::Idle { .. } => {
                *self.core.state_mut() = match self.requests.pending() {
                    0 => {
                        // An answer is about to be sent: the idle time starts now.
                        self.active_at = self.active_at.max(now);
                        State::Idle { since: now }
                    }
                    pending => State::Processing { pending },
                };
            }
            // Requests are pending in open states only.
            State::New { .. } | State::Closing { .. } | State::Closed { .. } => {}
        }
    }

    /// Call when [`Connection::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        let Some(due) = self.poll_timeout() else {
            return;
        };
        if now < due {
            return;
        }
        let stalled = time_lost(now, due, SWEPT_CLOCK_JUMP).is_some();
        match *self.state() {
            State::New { .. } => {
                self.begin_close(now, Reason::HandshakeTimeout, "hello_deadline");
            }
            State::Active | State::Idle { .. } if stalled => self.active_at = now,
            State::Active | State::Idle { .. } => {
                self.begin_close(now, Reason::IdleTimeout, "idle_deadline");
            }
            State::Processing { .. } if stalled => {
                self.requests.extend(now + self.config.request_timeout);
            }
            State::Processing { .. } => {
                while let Some(slot) = self.requests.pop_due(now) {
                    self.core.push(Effect::RequestTimedOut { slot });
                }
                self.settle(now);
            }
            State::Closing { reason, .. } => self.terminate(reason, "closing_deadline"),
            // No deadline.
            State::Closed { .. } => {}
        }
    }

    fn begin_close(&mut self, now: MonotonicTime, reason: Reason, event: &'static str) {
        // At least 1 ms, so that the deadline is in the future and the close has a chance.
        let allowance = self.config.closing_deadline.max(Duration::from_millis(1));
        self.requests.clear();
        self.core.push(Effect::BeginClose { reason });
        let deadline = now + allowance;
        self.set(State::Closing { reason, deadline }, event, Some(reason));
    }

    fn terminate(&mut self, reason: Reason, event: &'static str) {
        self.requests.clear();
        self.core.push(Effect::Terminate { reason });
        self.set(State::Closed { reason }, event, Some(reason));
    }

    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        self.core.set(to, event, Some(self.path), None, reason);
    }
}

impl Table for State {
    const MACHINE: &'static str = "connection";

    fn name(&self) -> &'static str {
        self.name()
    }

    /// `Active`, `Processing` and `Idle` follow the number of pending requests in
    /// [`Connection::settle`] and count as one state here.
    fn may_become(&self, to: &Self) -> bool {
        matches!(
            (self, to),
            (
                State::New { .. },
                State::Active | State::Closing { .. } | State::Closed { .. }
            ) | (
                State::Active | State::Processing { .. } | State::Idle { .. },
                State::Closing { .. } | State::Closed { .. }
            ) | (State::Closing { .. }, State::Closed { .. })
        )
    }
}
