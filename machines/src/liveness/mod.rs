//! Liveness of the peer on a socket: one engine for a client's connections and for both ends of the
//! sockets to a relay.
//!
//! Any received byte is proof of life (LS-16), with one exception: bytes that arrive right after an
//! urgent ping may predate it, on a path that is gone, so the ping is repeated. A timer that fires
//! far too late means that this machine slept: the peer is pinged once more before it is declared
//! dead (LS-5, [`time_lost`]). A daemon's connections do not use this engine: the client pings, and
//! the sweep over all connections notices silence, so a quiet one needs no timer (ADR 0015). While
//! a request waits, a client's connection also has a [`FailureDetector`] (SP-1).
//!
//! ```text
//!   Quiet ── heartbeat of silence ──► Asked ── as many misses as configured ──► dead
//!     ▲  ╲                              │ probe                                  ▲
//!     │    probe, clock jump ─────► Urgent ── a miss ────────────────────────────┘
//!     │                             │    ▲
//!     └──── received ───────────────┘    │ stale bytes received
//!                                     Repeated
//! ```

mod clock;
mod config;
mod detector;
mod rtt;
#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

pub use self::{
    clock::{CLOCK_JUMP, SWEPT_CLOCK_JUMP, SleepMeter, time_lost},
    config::LivenessConfig,
    detector::{DetectorAction, FailureDetector},
    rtt::RoundTrips,
};
use crate::MonotonicTime;

/// Bounds of a peer's heartbeat: no ping storm, and no dead peer that stays unnoticed for
/// long.
const HEARTBEATS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// Action for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessAction {
    /// Nothing.
    Wait,
    /// Send a ping.
    Ping,
    /// Close the socket: the peer is dead.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Bytes arrived within the heartbeat, as far as is known.
    Quiet,
    /// A ping after a silence is in flight; this many pings before it were missed.
    Asked {
        missed: u32,
        deadline: MonotonicTime,
    },
    /// A ping with a short deadline is in flight; a miss means dead. Until `stale_until`, received
    /// bytes may be stale.
    Urgent {
        stale_until: MonotonicTime,
        deadline: MonotonicTime,
        /// Whether [`Liveness::probe_now`] caused it, which blocked queues do not excuse; else a
        /// clock jump.
        probed: bool,
    },
    /// Possibly stale bytes arrived: the ping is repeated at `again`.
    Repeated { again: MonotonicTime },
}

/// The liveness of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    heartbeat: Duration,
    heard: MonotonicTime,
    phase: Phase,
}

impl Liveness {
    /// Creates the state of a socket on which bytes arrived at `now`. `heartbeat` is bounded; zero
    /// means the configured one.
    pub fn new(now: MonotonicTime, heartbeat: Duration, config: &LivenessConfig) -> Self {
        let heartbeat = if heartbeat.is_zero() {
            config.heartbeat
        } else {
            heartbeat
        };
        let (least, most) = HEARTBEATS;
        Self {
            heartbeat: heartbeat.clamp(least, most),
            heard: now,
            phase: Phase::Quiet,
        }
    }

    /// When bytes last arrived.
    pub const fn last_heard(&self) -> MonotonicTime {
        self.heard
    }

    /// Handles received bytes. Hot path: two stores.
    pub fn heard(&mut self, now: MonotonicTime) {
        self.heard = now;
        self.phase = match self.phase {
            Phase::Urgent { stale_until, .. } if now < stale_until => {
                Phase::Repeated { again: stale_until }
            }
            repeated @ Phase::Repeated { .. } => repeated,
            Phase::Quiet | Phase::Asked { .. } | Phase::Urgent { .. } => Phase::Quiet,
        };
    }

    /// When to call [`Self::on_timer`] next.
    pub fn deadline(&self) -> MonotonicTime {
        match self.phase {
            Phase::Quiet => self.heard + self.heartbeat,
            Phase::Asked { deadline, .. } | Phase::Urgent { deadline, .. } => deadline,
            Phase::Repeated { again } => again,
        }
    }

    /// Handles the timer, which may fire early or far too late. `held_up`: bytes wait to be sent or
    /// read, so that ping or answer may be queued behind them; this excuses silence, except after
    /// [`Self::probe_now`].
    pub fn on_timer(
        &mut self,
        now: MonotonicTime,
        held_up: bool,
        config: &LivenessConfig,
    ) -> LivenessAction {
        let due = self.deadline();
        if now < due {
            return LivenessAction::Wait;
        }
        let is_probed = match self.phase {
            Phase::Urgent { probed, .. } => probed,
            Phase::Repeated { .. } => true,
            Phase::Quiet | Phase::Asked { .. } => false,
        };
        if held_up && !is_probed {
            self.heard(now);
            return LivenessAction::Wait;
        }
        if time_lost(now, due, config.clock_jump).is_some() {
            let deadline = now + self.urgent_wait(config);
            return self.ask_urgently(now, deadline, is_probed, config);
        }
        match self.phase {
            Phase::Quiet => self.ask(now, 0, config),
            Phase::Asked { missed, .. } if missed.saturating_add(1) < config.misses => {
                self.ask(now, missed.saturating_add(1), config)
            }
            Phase::Repeated { .. } => {
                // All bytes from here on count as the answer, within the remaining time.
                let rest = self.urgent_wait(config).saturating_sub(config.stale);
                self.phase = Phase::Urgent {
                    stale_until: now,
                    deadline: now + rest,
                    probed: true,
                };
                LivenessAction::Ping
            }
            Phase::Asked { .. } | Phase::Urgent { .. } => LivenessAction::Dead,
        }
    }

    /// Checks at once whether the peer is alive. Never extends the deadline of a ping in flight, so
    /// that repeated calls cannot keep a dead socket. Never returns [`LivenessAction::Dead`]: only
    /// the timer does.
    pub fn probe_now(&mut self, now: MonotonicTime, config: &LivenessConfig) -> LivenessAction {
        let urgent = now + self.urgent_wait(config);
        match self.phase {
            Phase::Quiet => self.ask_urgently(now, urgent, true, config),
            Phase::Asked { missed, deadline } => {
                let more = config.misses.saturating_sub(missed.saturating_add(1));
                let end = deadline + self.ping_wait(config).saturating_mul(more);
                self.ask_urgently(now, urgent.min(end), true, config)
            }
            Phase::Urgent {
                stale_until,
                deadline,
                ..
            } => {
                self.phase = Phase::Urgent {
                    stale_until,
                    deadline,
                    probed: true,
                };
                LivenessAction::Wait
            }
            Phase::Repeated { .. } => LivenessAction::Wait,
        }
    }

    fn ping_wait(&self, config: &LivenessConfig) -> Duration {
        config.ping_wait.unwrap_or(self.heartbeat)
    }

    fn urgent_wait(&self, config: &LivenessConfig) -> Duration {
        config.urgent_wait.unwrap_or(self.heartbeat)
    }

    fn ask(&mut self, now: MonotonicTime, missed: u32, config: &LivenessConfig) -> LivenessAction {
        let deadline = now + self.ping_wait(config);
        self.phase = Phase::Asked { missed, deadline };
        LivenessAction::Ping
    }

    fn ask_urgently(
        &mut self,
        now: MonotonicTime,
        deadline: MonotonicTime,
        probed: bool,
        config: &LivenessConfig,
    ) -> LivenessAction {
        self.phase = Phase::Urgent {
            stale_until: now + config.stale,
            deadline,
            probed,
        };
        LivenessAction::Ping
    }

    /// Hashes the state that determines future behaviour, relative to `now`.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        let kind = match self.phase {
            Phase::Quiet => (0, 0, false),
            Phase::Asked { missed, .. } => (1, missed, false),
            Phase::Urgent {
                stale_until,
                probed,
                ..
            } => (2, u32::from(now < stale_until), probed),
            Phase::Repeated { .. } => (3, 0, true),
        };
        (kind, self.deadline().since(now), now.since(self.deadline())).hash(hasher);
    }
}
