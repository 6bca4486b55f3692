//! What a `DaemonClient` can be in, be told and ask for.

use std::time::Duration;

use bowline_protocol::{Reason, limits};

use crate::{Generation, Moment, Path, backoff::BackoffConfig};

/// Settings of one client. The defaults are those of the design; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// The way this client goes; only for its log records.
    pub path: Path,
    /// Bound of a whole connect: socket, Noise and welcome.
    pub connect_deadline: Duration,
    /// Pauses between attempts.
    pub backoff: BackoffConfig,
    /// Whether a lost or failed connection is tried again by itself. A probe is not, and a candidate
    /// only from its promotion on.
    pub auto_retry: bool,
    /// Silence before a liveness check, where the daemon's welcome names none (zero).
    pub heartbeat: Duration,
    /// How long one ping may go unanswered before it counts as missed.
    pub ping_wait: Duration,
    /// Missed pings after which the connection is dead.
    pub misses: u32,
    /// Deadline of the ping sent on foreground and network change.
    pub urgent_ping_deadline: Duration,
    /// A liveness timer later than this means that the clock jumped (the device slept): the peer is
    /// asked again instead of being declared dead (lesson 5).
    pub clock_jump: Duration,
    /// Longest pause that a server may ask for; a longer retry-after is cut to it.
    pub most_retry_after: Duration,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl ClientConfig {
    /// The defaults, for that path and seed.
    pub fn new(path: Path, jitter_seed: u64) -> Self {
        Self {
            path,
            connect_deadline: limits::CONNECT_DEADLINE,
            backoff: BackoffConfig::default(),
            auto_retry: true,
            heartbeat: limits::HEARTBEAT,
            ping_wait: Duration::from_secs(2),
            misses: 2,
            // With what comes after it, a silent death costs less than 3 s (lesson 3), also where the next path takes three round
            // trips of 300 ms to attach.
            urgent_ping_deadline: Duration::from_secs(2),
            clock_jump: Duration::from_secs(3),
            most_retry_after: Duration::from_secs(600),
            jitter_seed,
        }
    }
}

/// The state of a client, with its data. This is the only connection state there is (INV-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Never asked to connect.
    Idle,
    /// A transport is being opened.
    Connecting {
        /// Which attempt this is since the client was last connected, from 1.
        attempt: u32,
        /// When the attempt fails with `connect_timeout`.
        deadline: Moment,
    },
    /// The handshake is complete.
    Connected {
        /// Since when.
        since: Moment,
    },
    /// There is no transport.
    Disconnected {
        /// Why the last one ended or could not be opened.
        reason: Reason,
        /// Attempts made since the client was last connected.
        attempt: u32,
        /// When it is tried again; `None` if only a request does that.
        retry_at: Option<Moment>,
        /// The server asked for no attempt before this; only an explicit request overrides it.
        not_before: Option<Moment>,
    },
    /// The end; nothing leaves this state (INV-12).
    Disposed,
}

impl State {
    /// The name in logs and snapshots.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting { .. } => "connecting",
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::Disposed => "disposed",
        }
    }

    /// Why the client is disconnected, if it is.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Disconnected { reason, .. } => Some(*reason),
            Self::Idle | Self::Connecting { .. } | Self::Connected { .. } | Self::Disposed => None,
        }
    }

    /// The pairs (from, to) that may follow each other; [`super::DaemonClient`] writes no other.
    pub(super) const fn may_become(&self, to: &Self) -> bool {
        match self {
            Self::Idle => matches!(to, Self::Connecting { .. } | Self::Disposed),
            // To itself when a change of network replaces the dial under way.
            Self::Connecting { .. } => matches!(
                to,
                Self::Connecting { .. }
                    | Self::Connected { .. }
                    | Self::Disconnected { .. }
                    | Self::Disposed
            ),
            Self::Connected { .. } => matches!(to, Self::Disconnected { .. } | Self::Disposed),
            // To itself when a promotion arms the retry that a candidate did not have.
            Self::Disconnected { .. } => matches!(
                to,
                Self::Connecting { .. } | Self::Disconnected { .. } | Self::Disposed
            ),
            Self::Disposed => false,
        }
    }
}

/// What a client can be told. The results of effects carry the generation they were started under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Connect if not connected; while waiting to retry, connect now (`ensure_connected`).
    ConnectRequest,
    /// The whole handshake of that transport is done.
    TransportOpen {
        /// The transport.
        generation: Generation,
        /// `heartbeatMs` of the welcome; zero stands for the configured one.
        heartbeat: Duration,
    },
    /// That transport ended or could not be opened.
    TransportClosed {
        /// The transport.
        generation: Generation,
        /// Why.
        reason: Reason,
        /// The server's retry-after.
        retry_after: Option<Duration>,
    },
    /// Bytes arrived; any byte is liveness (lesson 16). Cheap: call it for every batch.
    Received {
        /// The transport.
        generation: Generation,
    },
    /// Someone doubts the connection: ping now, or retry now.
    CheckLiveness,
    /// The network changed: ping now, retry now, and dial again what was being dialled on the old network.
    NetworkChanged,
    /// The host promoted this client: it retries by itself from now on, whatever its configuration said.
    Promoted,
    /// The app went to the background: retries slow down to the slowest step.
    Background,
    /// The app came to the foreground: ping now, retry now, and dial again what was being dialled, for the system may have
    /// taken its socket away meanwhile.
    Foreground,
    /// End for good.
    Dispose,
}

impl Input {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConnectRequest => "connect_request",
            Self::TransportOpen { .. } => "transport_open",
            Self::TransportClosed { .. } => "transport_close",
            Self::Received { .. } => "received",
            Self::CheckLiveness => "check_liveness",
            Self::NetworkChanged => "network_changed",
            Self::Promoted => "promoted",
            Self::Background => "background",
            Self::Foreground => "foreground",
            Self::Dispose => "dispose",
        }
    }

    /// The transport that this is a result of, if it is one.
    pub const fn generation(&self) -> Option<Generation> {
        match self {
            Self::TransportOpen { generation, .. }
            | Self::TransportClosed { generation, .. }
            | Self::Received { generation } => Some(*generation),
            Self::ConnectRequest
            | Self::CheckLiveness
            | Self::NetworkChanged
            | Self::Promoted
            | Self::Background
            | Self::Foreground
            | Self::Dispose => None,
        }
    }
}

/// What the driver must do, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Open a transport and report `TransportOpen` or `TransportClosed` under this generation.
    OpenTransport {
        /// Its generation.
        generation: Generation,
    },
    /// Close that transport, opening or open, and forget it. Harmless if it is gone already.
    CloseTransport {
        /// Its generation.
        generation: Generation,
        /// What to tell the peer.
        reason: Reason,
    },
    /// Send a `system.ping`; its answer needs no report beyond `Received`.
    SendPing {
        /// The transport to send it on.
        generation: Generation,
    },
    /// Fail every waiter tied to the connection that just ended, at once (INV-13).
    EndWaiters {
        /// Why it ended.
        reason: Reason,
    },
}
