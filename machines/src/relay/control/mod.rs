//! A daemon's control socket at its relay, from the challenge to its end (RL-2, RL-5).
//!
//! ```text
//!  Challenged ──proof──► Proved ──accepted──► Registered
//!      │                   │                      │
//!      └──deadline─────────┴──refused, closed─────┴──silence, stall, told to end──► Ended
//! ```
//!
//! The driver verifies a proof ([`Effect::Verify`]), since that needs keys and the relay's
//! settings. A daemon proves itself once: a second proof ends the socket, whatever came of the
//! first. Once registered it is pinged when silent, and ends if it does not answer or takes nothing
//! ([`SocketHealth`]).

#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{
    Reason,
    relay::{CloseText, limits::QUEUE_BYTES},
};

use super::session::Ending;
use crate::{
    MonotonicTime,
    effects::EffectQueue,
    socket_health::{HealthAction, SocketHealth},
};

/// State of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The daemon is to prove its identity.
    Challenged {
        /// When the registration fails.
        deadline: MonotonicTime,
    },
    /// Its proof is being verified.
    Proved {
        /// When the registration fails.
        deadline: MonotonicTime,
    },
    /// The daemon is registered.
    Registered {
        /// Whether it is heard, and takes what is sent to it.
        health: SocketHealth,
    },
    /// Final; no transition leaves this state (INV-12).
    Ended(Ending),
}

/// Inputs, except bytes and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The daemon answered the challenge.
    Proof,
    /// The proof is valid, and the daemon is registered.
    Accepted {
        /// Silence after which it is pinged.
        heartbeat: Duration,
    },
    /// The daemon is not registered.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// The socket ended, or its peer violated the protocol.
    Closed {
        /// How it ended.
        ending: Ending,
    },
    /// The relay ends the registration.
    End {
        /// The close text.
        text: CloseText,
    },
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Verify the proof and register the daemon; report [`Input::Accepted`] or [`Input::Refused`].
    Verify,
    /// Send a ping.
    Ping,
}

/// The machine of one control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSocket {
    state: State,
    effects: EffectQueue<Effect>,
}

impl ControlSocket {
    /// A socket that is challenged now and has this time to register.
    pub fn new(now: MonotonicTime, handshake: Duration) -> Self {
        Self {
            state: State::Challenged {
                deadline: now + handshake,
            },
            effects: EffectQueue::default(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match (self.state, input) {
            (State::Challenged { deadline }, Input::Proof) => {
                self.state = State::Proved { deadline };
                self.effects.push(Effect::Verify);
            }
            (State::Proved { .. } | State::Registered { .. }, Input::Proof) => {
                self.end(Reason::BadRequest.into());
            }
            (State::Proved { .. }, Input::Accepted { heartbeat }) => {
                let health = SocketHealth::new(now, heartbeat);
                self.state = State::Registered { health };
            }
            (State::Challenged { .. } | State::Proved { .. }, Input::Refused { reason }) => {
                self.end(reason.into());
            }
            (
                State::Challenged { .. } | State::Proved { .. } | State::Registered { .. },
                Input::Closed { ending },
            ) => self.end(ending),
            (State::Registered { .. }, Input::End { text }) => self.end(Ending::ByRelay(text)),
            // Only a proof is accepted, and only what is registered is refused or ended no more.
            (State::Challenged { .. }, Input::Accepted { .. } | Input::End { .. })
            | (State::Proved { .. }, Input::End { .. })
            | (State::Registered { .. }, Input::Accepted { .. } | Input::Refused { .. })
            | (
                State::Ended(_),
                Input::Proof
                | Input::Accepted { .. }
                | Input::Refused { .. }
                | Input::Closed { .. }
                | Input::End { .. },
            ) => {}
        }
    }

    /// Handles received bytes.
    pub fn on_received(&mut self, now: MonotonicTime) {
        if let State::Registered { health } = &mut self.state {
            health.heard(now);
        }
    }

    /// Reports the bytes queued after a write.
    pub fn on_write(&mut self, now: MonotonicTime, queued: usize, clear: bool) {
        if let State::Registered { health } = &mut self.state {
            health.on_write(now, queued, clear);
        }
    }

    /// Whether the daemon may be told the next event, with so many bytes queued for it.
    pub const fn may_tell(&self, queued: usize) -> bool {
        self.is_registered() && queued <= QUEUE_BYTES
    }

    /// Call when [`ControlSocket::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        match &mut self.state {
            State::Challenged { deadline } | State::Proved { deadline } => {
                if *deadline <= now {
                    self.end(Reason::HandshakeTimeout.into());
                }
            }
            State::Registered { health } => match health.on_timer(now, false) {
                HealthAction::Wait => {}
                HealthAction::Ping => self.effects.push(Effect::Ping),
                HealthAction::End(reason) => self.end(reason.into()),
            },
            State::Ended(_) => {}
        }
    }

    /// When to call [`ControlSocket::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        match &self.state {
            State::Challenged { deadline } | State::Proved { deadline } => Some(*deadline),
            State::Registered { health } => Some(health.deadline()),
            State::Ended(_) => None,
        }
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Whether the daemon is registered.
    pub const fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered { .. })
    }

    /// How the socket ended, if it has.
    pub const fn ended(&self) -> Option<Ending> {
        match self.state {
            State::Ended(ending) => Some(ending),
            State::Challenged { .. } | State::Proved { .. } | State::Registered { .. } => None,
        }
    }

    /// Ends the socket. What was to be done before it is done no more.
    fn end(&mut self, ending: Ending) {
        self.state = State::Ended(ending);
        self.effects = EffectQueue::default();
    }

    /// Hashes the state that determines future behaviour, relative to `now`, for the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        std::mem::discriminant(&self.state).hash(hasher);
        match &self.state {
            State::Challenged { deadline } | State::Proved { deadline } => {
                deadline.since(now).hash(hasher);
            }
            State::Registered { health } => health.fingerprint(now, hasher),
            State::Ended(_) => {}
        }
    }
}
