//! The registration's transition table.

use std::{sync::Arc, time::Duration};

use bowline_protocol::Reason;

use super::{Effect, Input, NETWORK_WAS_GONE, RelayRegistration, State};
use crate::machine_core::Table;
use crate::socket_health::{HealthAction, SocketHealth};
use crate::{Generation, MonotonicTime, Path};

impl RelayRegistration {
    /// Whether an input is about a control or data socket that is gone: the only such check
    /// (INV-10).
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        match input {
            Input::Challenged { generation }
            | Input::Registered { generation, .. }
            | Input::Received { generation }
            | Input::Wrote { generation, .. }
            | Input::Ended { generation, .. }
            | Input::Sync { generation, .. }
            | Input::SessionOpened { generation, .. }
            | Input::SessionClosed { generation, .. } => *generation != self.live_generation(),
            Input::DataOpened { socket } | Input::DataEnded { socket, .. } => {
                !self.sessions.knows(*socket)
            }
            Input::Start | Input::Hurry | Input::Known { .. } | Input::Stop { .. } => false,
        }
    }

    /// Generation of the current control socket; between two of them no generation is valid.
    const fn live_generation(&self) -> Generation {
        match *self.state() {
            State::Connecting { .. } | State::Registered { .. } => self.generation,
            State::Idle | State::Waiting { .. } | State::Stopped => Generation::ZERO,
        }
    }

    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input) {
        match (*self.state(), input) {
            (
                State::Idle
                | State::Connecting { .. }
                | State::Registered { .. }
                | State::Waiting { .. }
                | State::Stopped,
                Input::Known { routes },
            ) => {
                self.sessions.know(routes);
                self.tell_devices();
            }
            (State::Idle, Input::Start) => self.connect(now, "start"),
            (State::Connecting { .. }, Input::Challenged { .. }) => {
                self.core.push(Effect::Answer);
            }
            (State::Connecting { .. }, Input::Registered { heartbeat, .. }) => {
                let registered = State::Registered {
                    since: now,
                    health: SocketHealth::new(now, heartbeat),
                };
                self.set(registered, "registered", None);
                if std::mem::take(&mut self.tries) >= NETWORK_WAS_GONE {
                    self.core.push(Effect::HurryOthers);
                }
                self.tell_devices();
            }
            // The deadline of the whole attempt applies.
            (State::Connecting { .. }, Input::Received { .. } | Input::Wrote { .. }) => {}
            (
                State::Connecting { .. } | State::Registered { .. },
                Input::Ended {
                    reason,
                    retry_after,
                    ..
                },
            ) => self.retire(now, reason, retry_after, "ended"),
            // Events before the registration, or a second challenge, violate the protocol.
            (
                State::Connecting { .. },
                Input::Sync { .. } | Input::SessionOpened { .. } | Input::SessionClosed { .. },
            )
            | (State::Registered { .. }, Input::Challenged { .. } | Input::Registered { .. }) => {
                let reason = Reason::BadRequest;
                self.core.push(Effect::Disconnect { reason });
                self.retire(now, reason, None, "wrong_order");
            }
            (State::Registered { since, mut health }, Input::Received { .. }) => {
                health.heard(now);
                // The same state, so there is no transition to record.
                *self.core.state_mut() = State::Registered { since, health };
            }
            (State::Registered { since, mut health }, Input::Wrote { sent, clear, .. }) => {
                health.on_sent(now, sent, clear);
                *self.core.state_mut() = State::Registered { since, health };
            }
            (State::Registered { .. }, Input::Sync { sessions, .. }) => {
                self.sessions.sync(now, sessions, &mut self.core.effects);
            }
            (State::Registered { .. }, Input::SessionOpened { session, .. }) => {
                self.sessions.opened(now, &session, &mut self.core.effects);
            }
            (State::Registered { .. }, Input::SessionClosed { session, .. }) => {
                self.sessions.close(now, &session, &mut self.core.effects);
            }
            (
                State::Connecting { .. } | State::Registered { .. } | State::Waiting { .. },
                Input::DataOpened { socket },
            ) => self.sessions.data_opened(now, socket),
            (State::Registered { .. }, Input::DataEnded { socket, end }) => {
                self.sessions
                    .data_ended(now, socket, end, true, &mut self.core.effects);
            }
            (
                State::Connecting { .. } | State::Waiting { .. },
                Input::DataEnded { socket, end },
            ) => {
                self.sessions
                    .data_ended(now, socket, end, false, &mut self.core.effects);
            }
            (State::Connecting { .. } | State::Registered { .. }, Input::Stop { reason }) => {
                self.core.push(Effect::Disconnect { reason });
                self.stop(reason);
            }
            (State::Idle | State::Waiting { .. }, Input::Stop { reason }) => self.stop(reason),
            (State::Waiting { earliest, .. }, Input::Hurry) => self.hurry(now, earliest),
            // No attempt to hurry.
            (
                State::Idle | State::Connecting { .. } | State::Registered { .. } | State::Stopped,
                Input::Hurry,
            ) => {}
            // Already connecting.
            (
                State::Connecting { .. } | State::Registered { .. } | State::Waiting { .. },
                Input::Start,
            ) => {}
            // Final.
            (State::Stopped, Input::Start | Input::Stop { .. }) => {}
            // Without a control socket and data sockets these are stale, and dropped before the
            // table.
            (
                State::Idle | State::Waiting { .. } | State::Stopped,
                Input::Challenged { .. }
                | Input::Registered { .. }
                | Input::Received { .. }
                | Input::Wrote { .. }
                | Input::Ended { .. }
                | Input::Sync { .. }
                | Input::SessionOpened { .. }
                | Input::SessionClosed { .. },
            )
            | (State::Idle | State::Stopped, Input::DataOpened { .. } | Input::DataEnded { .. }) => {
            }
        }
    }

    /// Call when [`RelayRegistration::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        match *self.state() {
            State::Connecting { deadline } if deadline <= now => {
                let reason = Reason::HandshakeTimeout;
                self.core.push(Effect::Disconnect { reason });
                self.retire(now, reason, None, "register_deadline");
            }
            State::Registered { since, mut health } => {
                let action = health.on_timer(now, false);
                *self.core.state_mut() = State::Registered { since, health };
                match action {
                    HealthAction::Wait => {}
                    HealthAction::Ping => self.core.push(Effect::Ping),
                    HealthAction::End(reason) => {
                        self.core.push(Effect::Disconnect { reason });
                        self.retire(now, reason, None, "health");
                    }
                }
            }
            State::Waiting { until, .. } if until <= now => self.connect(now, "retry"),
            // Not due yet, or no deadline.
            State::Connecting { .. } | State::Waiting { .. } | State::Idle | State::Stopped => {}
        }
        let registered = matches!(*self.state(), State::Registered { .. });
        self.sessions
            .expire(now, registered, &mut self.core.effects);
    }

    fn connect(&mut self, now: MonotonicTime, event: &'static str) {
        self.generation = self.generation.next();
        self.core.push(Effect::Connect {
            generation: self.generation,
        });
        let deadline = now + self.config.register_deadline;
        self.set(State::Connecting { deadline }, event, None);
    }

    fn tell_devices(&mut self) {
        if let (State::Registered { .. }, Some(routes)) = (self.state(), self.sessions.known()) {
            let routes = Arc::clone(routes);
            self.core.push(Effect::TellDevices { routes });
        }
    }

    /// Ends the control socket; data sockets stay (`docs/protocol.md` §9).
    fn retire(
        &mut self,
        now: MonotonicTime,
        reason: Reason,
        retry_after: Option<Duration>,
        event: &'static str,
    ) {
        if let State::Registered { since, .. } = *self.state() {
            self.pacing.lasted(now.since(since));
        }
        self.tries = self.tries.saturating_add(1);
        let pause = self.pacing.fail(reason);
        let asked = now + retry_after.unwrap_or_default();
        let until = asked.max(now + pause);
        // After `replaced` or a refusal, an earlier attempt would fail again.
        let earliest = if reason.is_recoverable() {
            asked
        } else {
            until
        };
        self.sessions.orphaned();
        let waiting = State::Waiting {
            reason,
            until,
            earliest,
        };
        self.set(waiting, event, Some(reason));
    }

    /// Retries now, at most once per `between_hurries`; if it fails the pauses continue to grow.
    fn hurry(&mut self, now: MonotonicTime, earliest: MonotonicTime) {
        let again = self.hurried_at.map(|at| at + self.config.between_hurries);
        if earliest <= now && again.is_none_or(|again| again <= now) {
            self.hurried_at = Some(now);
            self.connect(now, "hurry");
        }
    }

    fn stop(&mut self, reason: Reason) {
        self.sessions.stop();
        self.set(State::Stopped, "stop", Some(reason));
    }

    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let generation = Some(self.generation);
        self.core
            .set(to, event, Some(Path::Relay), generation, reason);
    }
}

impl Table for State {
    const MACHINE: &'static str = "relay_registration";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        matches!(
            (self, to),
            (
                State::Idle | State::Waiting { .. },
                State::Connecting { .. } | State::Stopped
            ) | (
                State::Connecting { .. },
                State::Registered { .. } | State::Waiting { .. } | State::Stopped
            ) | (
                State::Registered { .. },
                State::Waiting { .. } | State::Stopped
            )
        )
    }
}
