//! Is the peer still there? Pings after silence, misses, urgent checks and clock jumps.
//!
//! Any received byte answers every question (lesson 16), with one exception: what arrives at once after an urgent question may
//! have been under way before it, on a path that is no more, so the question is put again. A timer that fires far too late means that this
//! device slept, not that the peer is gone: the peer is asked once more (lesson 5).

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use super::ClientConfig;
use crate::Moment;

/// Bounds put on what a welcome may ask for: never a ping storm, never a dead peer unnoticed for long.
const HEARTBEATS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// How long after an urgent question received bytes may be older than what gave rise to it: they were in a buffer of the system's.
const STALE: Duration = Duration::from_millis(100);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Wait,
    /// Send a ping.
    Ping,
    /// The peer is gone.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Heard from the peer within the heartbeat, as far as we know.
    Quiet,
    /// Asked after a silence; so many pings were missed before the one in flight.
    Asked { missed: u32, deadline: Moment },
    /// Asked with a short deadline; a miss is the end. Until then, what arrives may be stale.
    Urgent {
        stale_until: Moment,
        deadline: Moment,
    },
    /// Something arrived that may be stale: to be asked once more.
    Doubted { again: Moment },
}

/// The liveness of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Liveness {
    heartbeat: Duration,
    heard: Moment,
    phase: Phase,
}

impl Liveness {
    /// For a connection that opened now.
    pub(super) fn opened(now: Moment, heartbeat: Duration, config: &ClientConfig) -> Self {
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

    /// Bytes arrived. On the hot path: two stores.
    pub(super) fn heard(&mut self, now: Moment) {
        self.heard = now;
        self.phase = match self.phase {
            Phase::Urgent { stale_until, .. } if now < stale_until => {
                Phase::Doubted { again: stale_until }
            }
            doubted @ Phase::Doubted { .. } => doubted,
            Phase::Quiet | Phase::Asked { .. } | Phase::Urgent { .. } => Phase::Quiet,
        };
    }

    /// When [`Self::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Moment {
        match self.phase {
            Phase::Quiet => self.heard + self.heartbeat,
            Phase::Asked { deadline, .. } | Phase::Urgent { deadline, .. } => deadline,
            Phase::Doubted { again } => again,
        }
    }

    /// The timer fired, perhaps early, perhaps far too late.
    pub(super) fn on_timer(&mut self, now: Moment, config: &ClientConfig) -> Verdict {
        let deadline = self.deadline();
        if now < deadline {
            return Verdict::Wait;
        }
        if now.since(deadline) > config.clock_jump {
            return self.ask_urgently(now, now + config.urgent_ping_deadline);
        }
        match self.phase {
            Phase::Quiet => self.ask(now, 0, config),
            Phase::Asked { missed, .. } if missed.saturating_add(1) < config.misses => {
                self.ask(now, missed.saturating_add(1), config)
            }
            Phase::Doubted { .. } => {
                // Whatever arrives from here on is an answer. It has the rest of the time, no more.
                let rest = config.urgent_ping_deadline.saturating_sub(STALE);
                self.phase = Phase::Urgent {
                    stale_until: now,
                    deadline: now + rest,
                };
                Verdict::Ping
            }
            Phase::Asked { .. } | Phase::Urgent { .. } => Verdict::Dead,
        }
    }

    /// Someone doubts the connection. Never moves the end of a check under way further off, so that
    /// repeated doubts cannot keep a dead connection.
    pub(super) fn check(&mut self, now: Moment, config: &ClientConfig) -> Verdict {
        let urgent = now + config.urgent_ping_deadline;
        match self.phase {
            Phase::Quiet => self.ask_urgently(now, urgent),
            Phase::Asked { missed, deadline } => {
                let more = config.misses.saturating_sub(missed.saturating_add(1));
                let end = deadline + config.ping_wait.saturating_mul(more);
                self.ask_urgently(now, urgent.min(end))
            }
            Phase::Urgent { .. } | Phase::Doubted { .. } => Verdict::Wait,
        }
    }

    fn ask(&mut self, now: Moment, missed: u32, config: &ClientConfig) -> Verdict {
        let deadline = now + config.ping_wait;
        self.phase = Phase::Asked { missed, deadline };
        Verdict::Ping
    }

    fn ask_urgently(&mut self, now: Moment, deadline: Moment) -> Verdict {
        self.phase = Phase::Urgent {
            stale_until: now + STALE,
            deadline,
        };
        Verdict::Ping
    }

    /// Hashes what matters for the future, relative to now.
    pub(super) fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        let kind = match self.phase {
            Phase::Quiet => (0, 0),
            Phase::Asked { missed, .. } => (1, missed),
            Phase::Urgent { stale_until, .. } => (2, u32::from(now < stale_until)),
            Phase::Doubted { .. } => (3, 0),
        };
        (kind, self.deadline().since(now), now.since(self.deadline())).hash(hasher);
    }
}
