//! Liveness settings of each kind of socket.

use std::time::Duration;

use bowline_protocol::limits;

use super::CLOCK_JUMP;

/// Settings of one kind of socket. Shared by all of a kind, so that each socket stores only its
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LivenessConfig {
    /// Silence before a ping, unless the peer sets it (nonzero).
    pub heartbeat: Duration,
    /// Time for the answer to a ping; `None`: one heartbeat.
    pub ping_wait: Option<Duration>,
    /// Consecutive missed pings after which the peer is dead.
    pub misses: u32,
    /// Time for the answer to an urgent ping, sent by [`super::Liveness::probe_now`] or after a
    /// clock jump; `None`: one heartbeat. A miss declares the peer dead.
    pub urgent_wait: Option<Duration>,
    /// Time after an urgent ping in which received bytes may predate it, from a buffer of the
    /// system.
    pub stale: Duration,
    /// Tolerance of the timer (LS-5).
    pub clock_jump: Duration,
}

impl LivenessConfig {
    /// An app's connection to a daemon, over a changing network.
    pub const CLIENT: Self = Self {
        heartbeat: limits::HEARTBEAT,
        ping_wait: Some(Duration::from_secs(2)),
        misses: 2,
        // Together with the reconnect, a silent death costs less than 3 s (LS-3), even if the next
        // path needs three round trips of 300 ms to attach.
        urgent_wait: Some(Duration::from_secs(2)),
        stale: Duration::from_millis(100),
        clock_jump: CLOCK_JUMP,
    };

    /// A socket between a daemon and a relay, at either end: a ping after one heartbeat of silence,
    /// dead after two.
    pub const SOCKET: Self = Self {
        heartbeat: limits::HEARTBEAT,
        ping_wait: None,
        misses: 1,
        urgent_wait: None,
        stale: Duration::ZERO,
        clock_jump: CLOCK_JUMP,
    };
}
