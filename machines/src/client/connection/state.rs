//! States, inputs, effects and settings of a `DaemonClient`.

use std::time::Duration;

use bowline_protocol::{Reason, limits};

use crate::{
    Generation, MonotonicTime, Path, backoff::BackoffConfig, liveness::LivenessConfig,
    machine_core::Table,
};

/// Settings of one client. The defaults are for production; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// Kind of this client's path; only for its log records.
    pub path: Path,
    /// Bound of a whole connect: socket, Noise handshake and welcome.
    pub connect_deadline: Duration,
    /// Pauses between attempts.
    pub backoff: BackoffConfig,
    /// Whether a lost or failed connection is retried automatically. Off for probes, and for
    /// candidates until their promotion.
    pub auto_retry: bool,
    /// When a silent peer is pinged, and when it counts as dead.
    pub liveness: LivenessConfig,
    /// Longest retry-after accepted from a server; longer ones are cut to it.
    pub most_retry_after: Duration,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl ClientConfig {
    /// The defaults for a kind of path and a seed.
    pub fn new(path: Path, jitter_seed: u64) -> Self {
        Self {
            path,
            connect_deadline: limits::CONNECT_DEADLINE,
            backoff: BackoffConfig::default(),
            auto_retry: true,
            liveness: LivenessConfig::CLIENT,
            most_retry_after: Duration::from_secs(600),
            jitter_seed,
        }
    }
}

/// State of a client, with its data. This is the only connection state of a path (INV-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connect was requested yet.
    Idle,
    /// A transport is being opened.
    Connecting {
        /// Number of this attempt since the client was last connected, from 1.
        attempt: u32,
        /// When the attempt fails with `connect_timeout`.
        deadline: MonotonicTime,
    },
    /// The handshake is complete.
    Connected {
        /// When it connected.
        since: MonotonicTime,
    },
    /// No transport.
    Disconnected {
        /// Why the last transport ended or could not be opened.
        reason: Reason,
        /// Attempts made since the client was last connected.
        attempt: u32,
        /// Time of the next attempt; `None` if only a request starts one.
        retry_at: Option<MonotonicTime>,
        /// The server's retry-after: no attempt before this time, except on an explicit request.
        not_before: Option<MonotonicTime>,
    },
    /// Final; no transition leaves this state (INV-12).
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
}

impl Table for State {
    const MACHINE: &'static str = "daemon_client";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        match self {
            Self::Idle => matches!(to, Self::Connecting { .. } | Self::Disposed),
            // To itself when a network change replaces the dial under way.
            Self::Connecting { .. } => matches!(
                to,
                Self::Connecting { .. }
                    | Self::Connected { .. }
                    | Self::Disconnected { .. }
                    | Self::Disposed
            ),
            Self::Connected { .. } => matches!(to, Self::Disconnected { .. } | Self::Disposed),
            // To itself when a promotion adds the retry that the candidate did not have.
            Self::Disconnected { .. } => matches!(
                to,
                Self::Connecting { .. } | Self::Disconnected { .. } | Self::Disposed
            ),
            Self::Disposed => false,
        }
    }
}

/// Inputs of a client. Results of effects carry the generation they were started under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Connect if not connected; while a retry is pending, connect now (`ensure_connected`).
    ConnectRequest,
    /// The transport's whole handshake is complete.
    TransportOpen {
        /// The transport.
        generation: Generation,
        /// `heartbeatMs` of the welcome; zero means the configured value.
        heartbeat: Duration,
        /// Time from the hello to the welcome.
        round_trip: Duration,
    },
    /// The transport ended or could not be opened.
    TransportClosed {
        /// The transport.
        generation: Generation,
        /// Why.
        reason: Reason,
        /// The server's retry-after, relative to now.
        retry_after: Option<Duration>,
    },
    /// Bytes arrived; any byte is proof of liveness (LS-16). Cheap: feed it for every batch.
    Received {
        /// The transport.
        generation: Generation,
    },
    /// Session events arrived, a stream that is expected to continue (SP-1). Cheap: feed it for
    /// every batch.
    Streamed {
        /// The transport.
        generation: Generation,
    },
    /// Whether requests are unanswered (SP-1). Cheap: feed it in every turn.
    Waiting {
        /// The transport.
        generation: Generation,
        /// Whether any request is unanswered.
        is_waiting: bool,
    },
    /// The peer answered a ping or a request.
    Answered {
        /// The transport.
        generation: Generation,
        /// Time since it was sent.
        round_trip: Duration,
        /// True for a ping, which the daemon answers at once.
        is_ping: bool,
    },
    /// Whether the host has another working path, to which it can switch early if this one is
    /// silent (SP-1).
    AlternativeKnown(bool),
    /// The connection may be dead: ping now, or retry now.
    CheckLiveness,
    /// The network changed: ping now, retry now, or restart the dial that began on the old network.
    NetworkChanged,
    /// The host promoted this client: it retries automatically from now on, whatever its
    /// configuration.
    Promoted,
    /// The app went to the background: retries use the longest pauses.
    Background,
    /// The app came to the foreground: ping now, retry now, or restart the dial, whose socket the
    /// system may have closed in the background.
    Foreground,
    /// Close permanently; unanswered requests end with this reason.
    Dispose(Reason),
}

impl Input {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConnectRequest => "connect_request",
            Self::TransportOpen { .. } => "transport_open",
            Self::TransportClosed { .. } => "transport_close",
            Self::Received { .. } => "received",
            Self::Streamed { .. } => "streamed",
            Self::Waiting { .. } => "waiting",
            Self::Answered { .. } => "answered",
            Self::AlternativeKnown(_) => "alternative_known",
            Self::CheckLiveness => "check_liveness",
            Self::NetworkChanged => "network_changed",
            Self::Promoted => "promoted",
            Self::Background => "background",
            Self::Foreground => "foreground",
            Self::Dispose(_) => "dispose",
        }
    }

    /// The generation of the transport that produced this input, if one did.
    pub const fn generation(&self) -> Option<Generation> {
        match self {
            Self::TransportOpen { generation, .. }
            | Self::TransportClosed { generation, .. }
            | Self::Received { generation }
            | Self::Streamed { generation }
            | Self::Waiting { generation, .. }
            | Self::Answered { generation, .. } => Some(*generation),
            Self::ConnectRequest
            | Self::AlternativeKnown(_)
            | Self::CheckLiveness
            | Self::NetworkChanged
            | Self::Promoted
            | Self::Background
            | Self::Foreground
            | Self::Dispose(_) => None,
        }
    }
}

/// Effects for the driver, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Open a transport and report `TransportOpen` or `TransportClosed` under this generation.
    OpenTransport {
        /// Its generation.
        generation: Generation,
    },
    /// Close the transport, opening or open, and forget it. Does nothing if it is already gone.
    CloseTransport {
        /// Its generation.
        generation: Generation,
        /// The reason sent to the peer.
        reason: Reason,
    },
    /// Send a `system.ping`; report its answer as `Received` and `Answered`.
    SendPing {
        /// The transport to send it on.
        generation: Generation,
    },
    /// Report to the host whether the peer is silent while a request waits (SP-1). The connection
    /// stays open.
    Suspect {
        /// False: bytes have arrived again.
        is_suspected: bool,
    },
    /// Fail every waiter of the connection that just ended, at once (INV-13).
    EndWaiters {
        /// Why it ended.
        reason: Reason,
    },
}
