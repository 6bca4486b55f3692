//! The link's transition table.

use std::time::Duration;

use bowline_protocol::Reason;

use super::{Effect, Heartbeat, Input, Pulse, RelayLink, State};
use crate::{Generation, Moment, Path, Transition};

impl RelayLink {
    /// The one place where news is checked for being of something that is no more (INV-10).
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        match input {
            Input::Challenged { generation }
            | Input::Registered { generation, .. }
            | Input::Heard { generation }
            | Input::Ended { generation, .. }
            | Input::Sync { generation, .. }
            | Input::SessionOpened { generation, .. }
            | Input::SessionClosed { generation, .. } => *generation != self.live_generation(),
            Input::PeerOpened { peer } | Input::PeerEnded { peer, .. } => {
                !self.sessions.knows(*peer)
            }
            Input::Start | Input::Hurry | Input::Stop { .. } => false,
        }
    }

    /// Of the control socket there is; between two of them no generation is the right one.
    const fn live_generation(&self) -> Generation {
        match self.state {
            State::Connecting { .. } | State::Registered { .. } => self.generation,
            State::Idle | State::Waiting { .. } | State::Stopped => Generation::ZERO,
        }
    }

    pub(super) fn transition(&mut self, now: Moment, input: Input) {
        match (self.state, input) {
            (State::Idle, Input::Start) => self.connect(now, "start"),
            (State::Connecting { .. }, Input::Challenged { .. }) => {
                self.effects.push(Effect::Answer);
            }
            (State::Connecting { .. }, Input::Registered { heartbeat, .. }) => {
                let heartbeat = Heartbeat::new(now, heartbeat, self.config.clock_jump);
                let since = now;
                self.set(State::Registered { since, heartbeat }, "registered", None);
            }
            // The deadline of the whole is what counts.
            (State::Connecting { .. }, Input::Heard { .. }) => {}
            (
                State::Connecting { .. } | State::Registered { .. },
                Input::Ended {
                    reason,
                    retry_after,
                    ..
                },
            ) => self.retire(now, reason, retry_after, "ended"),
            // News before the registration, or a second challenge: not a relay that we know.
            (
                State::Connecting { .. },
                Input::Sync { .. } | Input::SessionOpened { .. } | Input::SessionClosed { .. },
            )
            | (State::Registered { .. }, Input::Challenged { .. } | Input::Registered { .. }) => {
                let reason = Reason::BadRequest;
                self.effects.push(Effect::Disconnect { reason });
                self.retire(now, reason, None, "wrong_order");
            }
            (
                State::Registered {
                    since,
                    mut heartbeat,
                },
                Input::Heard { .. },
            ) => {
                heartbeat.heard(now);
                // The same state, of which there is nothing to record.
                self.state = State::Registered { since, heartbeat };
            }
            (State::Registered { .. }, Input::Sync { sessions, .. }) => {
                self.sessions.sync(now, sessions, &mut self.effects);
            }
            (State::Registered { .. }, Input::SessionOpened { session, .. }) => {
                self.sessions.opened(now, &session, &mut self.effects);
            }
            (State::Registered { .. }, Input::SessionClosed { session, .. }) => {
                self.sessions.close(now, &session, &mut self.effects);
            }
            (
                State::Connecting { .. } | State::Registered { .. } | State::Waiting { .. },
                Input::PeerOpened { peer },
            ) => self.sessions.peer_opened(now, peer),
            (State::Registered { .. }, Input::PeerEnded { peer, end }) => {
                self.sessions
                    .peer_ended(now, peer, end, true, &mut self.effects);
            }
            (State::Connecting { .. } | State::Waiting { .. }, Input::PeerEnded { peer, end }) => {
                self.sessions
                    .peer_ended(now, peer, end, false, &mut self.effects);
            }
            (State::Connecting { .. } | State::Registered { .. }, Input::Stop { reason }) => {
                self.effects.push(Effect::Disconnect { reason });
                self.stop(reason);
            }
            (State::Idle | State::Waiting { .. }, Input::Stop { reason }) => self.stop(reason),
            (State::Waiting { earliest, .. }, Input::Hurry) => self.hurry(now, earliest),
            // There is nothing to hurry.
            (
                State::Idle | State::Connecting { .. } | State::Registered { .. } | State::Stopped,
                Input::Hurry,
            ) => {}
            // Under way already.
            (
                State::Connecting { .. } | State::Registered { .. } | State::Waiting { .. },
                Input::Start,
            ) => {}
            // Over is over.
            (State::Stopped, Input::Start | Input::Stop { .. }) => {}
            // There is no control socket and no peer that this could be about: stale, and dropped before the table.
            (
                State::Idle | State::Waiting { .. } | State::Stopped,
                Input::Challenged { .. }
                | Input::Registered { .. }
                | Input::Heard { .. }
                | Input::Ended { .. }
                | Input::Sync { .. }
                | Input::SessionOpened { .. }
                | Input::SessionClosed { .. },
            )
            | (State::Idle | State::Stopped, Input::PeerOpened { .. } | Input::PeerEnded { .. }) => {
            }
        }
    }

    pub(super) fn expire(&mut self, now: Moment) {
        match self.state {
            State::Connecting { deadline } if deadline <= now => {
                let reason = Reason::HandshakeTimeout;
                self.effects.push(Effect::Disconnect { reason });
                self.retire(now, reason, None, "register_deadline");
            }
            State::Registered {
                since,
                mut heartbeat,
            } => {
                let pulse = heartbeat.on_timer(now, false);
                self.state = State::Registered { since, heartbeat };
                match pulse {
                    Pulse::Wait => {}
                    Pulse::Ask => self.effects.push(Effect::Ping),
                    Pulse::Dead => {
                        let reason = Reason::HeartbeatTimeout;
                        self.effects.push(Effect::Disconnect { reason });
                        self.retire(now, reason, None, "heartbeat");
                    }
                }
            }
            State::Waiting { until, .. } if until <= now => self.connect(now, "retry"),
            // Not yet, or without a deadline.
            State::Connecting { .. } | State::Waiting { .. } | State::Idle | State::Stopped => {}
        }
        let registered = matches!(self.state, State::Registered { .. });
        self.sessions.expire(now, registered, &mut self.effects);
    }

    fn connect(&mut self, now: Moment, event: &'static str) {
        self.generation = self.generation.next();
        self.effects.push(Effect::Connect {
            generation: self.generation,
        });
        let deadline = now + self.config.register_deadline;
        self.set(State::Connecting { deadline }, event, None);
    }

    /// The control socket is no more; peers stay (`docs/protocol.md` §9).
    fn retire(
        &mut self,
        now: Moment,
        reason: Reason,
        retry_after: Option<Duration>,
        event: &'static str,
    ) {
        if let State::Registered { since, .. } = self.state {
            self.pacing.lasted(now.since(since));
        }
        let pause = self.pacing.fail(reason);
        let asked = now + retry_after.unwrap_or_default();
        let until = asked.max(now + pause);
        // Whoever was pushed out by a copy of itself, or refused, gains nothing by being early.
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

    /// Tries now, at most once in a while: the pauses go on growing should that fail.
    fn hurry(&mut self, now: Moment, earliest: Moment) {
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

    /// Which changes of state exist.
    const fn is_in_table(from: State, to: State) -> bool {
        matches!(
            (from, to),
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

    /// The only writer of the state, apart from the heartbeat within `Registered`.
    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if !Self::is_in_table(self.state, to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: "relay_link",
            from: self.state.name(),
            to: to.name(),
            event,
            path: Some(Path::Relay),
            generation: Some(self.generation),
            reason,
        });
        self.state = to;
    }
}
