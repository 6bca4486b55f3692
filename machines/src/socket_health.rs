//! Health of a socket between a daemon and a relay, for both of its ends: whether the peer is heard
//! (LS-3), and whether it takes what is sent to it, whatever is heard of it (TR-8).

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::Reason;

use crate::{
    MonotonicTime,
    liveness::{Liveness, LivenessAction, LivenessConfig},
    stalls::WriteStall,
};

/// Action for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthAction {
    /// Nothing.
    Wait,
    /// Send a ping.
    Ping,
    /// Close the socket, with this reason.
    End(Reason),
}

/// The health of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketHealth {
    liveness: Liveness,
    written: WriteStall,
}

impl SocketHealth {
    /// A socket on which bytes arrived at `now`. `heartbeat` is bounded; zero means the configured
    /// one.
    pub fn new(now: MonotonicTime, heartbeat: Duration) -> Self {
        Self {
            liveness: Liveness::new(now, heartbeat, &LivenessConfig::SOCKET),
            written: WriteStall::default(),
        }
    }

    /// Handles received bytes.
    pub fn heard(&mut self, now: MonotonicTime) {
        self.liveness.heard(now);
    }

    /// Handles a write; see [`WriteStall::update`].
    pub fn on_write(&mut self, now: MonotonicTime, queued: usize, clear: bool) {
        self.written.update(now, queued, clear);
    }

    /// Handles a write; see [`WriteStall::update_sent`].
    pub fn on_sent(&mut self, now: MonotonicTime, sent: u64, clear: bool) {
        self.written.update_sent(now, sent, clear);
    }

    /// Bytes queued, as last reported.
    pub const fn queued(&self) -> usize {
        self.written.queued()
    }

    /// Whether nothing waits to be written.
    pub const fn is_clear(&self) -> bool {
        self.written.is_clear()
    }

    /// When to call [`SocketHealth::on_timer`] next.
    pub fn deadline(&self) -> MonotonicTime {
        let silence = self.liveness.deadline();
        let stall = self.written.deadline();
        stall.map_or(silence, |stall| stall.min(silence))
    }

    /// Handles the timer. `held_up`: silence is excused, as in [`Liveness::on_timer`].
    pub fn on_timer(&mut self, now: MonotonicTime, held_up: bool) -> HealthAction {
        if self.written.is_over(now) {
            return HealthAction::End(Reason::SlowConsumer);
        }
        let config = &LivenessConfig::SOCKET;
        match self.liveness.on_timer(now, held_up, config) {
            LivenessAction::Wait => HealthAction::Wait,
            LivenessAction::Ping => HealthAction::Ping,
            LivenessAction::Dead => HealthAction::End(Reason::HeartbeatTimeout),
        }
    }

    /// Handles evidence that the socket may be half-open. Returns whether to send a ping.
    pub fn probe_now(&mut self, now: MonotonicTime) -> bool {
        self.liveness.probe_now(now, &LivenessConfig::SOCKET) == LivenessAction::Ping
    }

    /// Hashes the state that determines future behaviour, relative to `now`.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        self.liveness.fingerprint(now, hasher);
        self.fingerprint_writes(now, hasher);
    }

    /// Hashes the stall relative to `now`, for explorers that do not vary the liveness.
    #[doc(hidden)]
    pub fn fingerprint_writes<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        let stall = self.written.deadline();
        (stall.map(|at| at.since(now)), self.queued()).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::relay::limits::{HEARTBEAT, SOCKET_STALL};

    use super::*;

    const START: MonotonicTime = MonotonicTime::from_millis(1_000);

    #[test]
    fn ls_3_a_silent_peer_is_asked_and_then_given_up() {
        let mut health = SocketHealth::new(START, HEARTBEAT);
        assert_eq!(health.on_timer(START, false), HealthAction::Wait);
        assert_eq!(
            health.on_timer(health.deadline(), false),
            HealthAction::Ping
        );
        let dead = HealthAction::End(Reason::HeartbeatTimeout);
        assert_eq!(health.on_timer(health.deadline(), false), dead);
    }

    #[test]
    fn tr_8_a_peer_that_only_speaks_is_given_up_too() {
        let mut health = SocketHealth::new(START, HEARTBEAT);
        health.on_write(START, 7, false);
        assert_eq!((health.queued(), health.is_clear()), (7, false));
        while health.deadline() < START + SOCKET_STALL {
            health.heard(health.deadline());
        }
        let stalled = HealthAction::End(Reason::SlowConsumer);
        assert_eq!(health.on_timer(health.deadline(), true), stalled);
        let mut health = SocketHealth::new(START, HEARTBEAT);
        health.on_sent(START, 1, false);
        health.on_sent(START, 1, true);
        assert!(health.is_clear() && health.deadline() == START + HEARTBEAT);
    }
}
