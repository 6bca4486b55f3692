//! The connection's transition table.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{Admission, Connection, Effect, Input, STALL, State};
use crate::{Moment, Transition};

impl Connection {
    pub(super) fn transition(&mut self, now: Moment, input: Input) {
        match (self.state, input) {
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
            // Already through the handshake.
            (
                State::Active | State::Processing { .. } | State::Idle { .. },
                Input::HandshakeDone,
            ) => {}
            // The close was decided first; a second cause, or a handshake that ends late, adds nothing.
            (
                State::Closing { .. },
                Input::HandshakeDone | Input::OutboundOverflow | Input::Close { .. },
            ) => {}
            // Over is over.
            (
                State::Closed { .. },
                Input::HandshakeDone
                | Input::OutboundOverflow
                | Input::PeerClosed { .. }
                | Input::Close { .. },
            ) => {}
            // Taken care of before the table, in every state alike.
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
    pub(super) fn admit(&mut self, now: Moment) -> Admission {
        match self.state {
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
            // Nothing is asked before the handshake is done, and nothing new after the close began.
            State::New { .. } | State::Closing { .. } | State::Closed { .. } => Admission::Refused,
        }
    }

    /// Brings an open state in line with the number of pending requests, without a record (see the module).
    pub(super) fn settle(&mut self, now: Moment) {
        match self.state {
            State::Active | State::Processing { .. } | State::Idle { .. } => {
                self.state = match self.requests.pending() {
                    0 => {
                        // An answer is about to go out: the idle time begins now.
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

    pub(super) fn expire(&mut self, now: Moment) {
        let Some(due) = self.poll_timeout() else {
            return;
        };
        if now < due {
            return;
        }
        let stalled = now.since(due) > STALL;
        match self.state {
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
                    self.effects.push(Effect::RequestTimedOut { slot });
                }
                self.settle(now);
            }
            State::Closing { reason, .. } => self.terminate(reason, "closing_deadline"),
            // Has no deadline.
            State::Closed { .. } => {}
        }
    }

    fn begin_close(&mut self, now: Moment, reason: Reason, event: &'static str) {
        // At least a moment, so that the close has a chance and the state has a deadline ahead of it.
        let allowance = self.config.closing_deadline.max(Duration::from_millis(1));
        self.requests.clear();
        self.effects.push(Effect::BeginClose { reason });
        let deadline = now + allowance;
        self.set(State::Closing { reason, deadline }, event, Some(reason));
    }

    fn terminate(&mut self, reason: Reason, event: &'static str) {
        self.requests.clear();
        self.effects.push(Effect::Terminate { reason });
        self.set(State::Closed { reason }, event, Some(reason));
    }

    /// Which changes of state exist. `Active`, `Processing` and `Idle` follow the number of pending requests in
    /// [`Connection::settle`] and count as one here.
    const fn is_in_table(from: State, to: State) -> bool {
        matches!(
            (from, to),
            (
                State::New { .. },
                State::Active | State::Closing { .. } | State::Closed { .. }
            ) | (
                State::Active | State::Processing { .. } | State::Idle { .. },
                State::Closing { .. } | State::Closed { .. }
            ) | (State::Closing { .. }, State::Closed { .. })
        )
    }

    /// The only writer of the states of a connection's life.
    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if !Self::is_in_table(self.state, to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: "connection",
            from: self.state.name(),
            to: to.name(),
            event,
            path: Some(self.path),
            generation: None,
            reason,
        });
        self.state = to;
    }
}
