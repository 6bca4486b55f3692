//! States, inputs, effects and settings of a `HostRuntimeManager`.

use std::time::Duration;

use bowline_protocol::Reason;
use serde::{Deserialize, Serialize};

use crate::{
    Generation, MonotonicTime, Path, backoff::BackoffConfig, client::connection,
    machine_core::Table,
};

/// Label of one configured path of this host, assigned by its driver. Local to this process and
/// never on the wire (INV-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// Settings of one host. The defaults are for production; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostConfig {
    /// Head start of local and direct paths over relays, for dials and when a relay proves itself
    /// first.
    pub relay_handicap: Duration,
    /// Bound of one probe cycle; a path without an outcome by then has failed.
    pub probe_deadline: Duration,
    /// Time of a client from creation to its first `Connected`. Slightly longer than the client's
    /// own connect deadline, so that the client reports the reason.
    pub connect_deadline: Duration,
    /// Pause between probe cycles while online, and while degraded on a single path.
    pub probe_interval: Duration,
    /// The same after `quiet_after` without activity, and for a host with a single path.
    pub quiet_probe_interval: Duration,
    /// Time without activity of the user or the network after which probes slow down.
    pub quiet_after: Duration,
    /// Margin by which another path must be faster, in each of `faster_cycles`, for a switch.
    pub faster_by: Duration,
    /// Successive cycles of being faster needed for a switch.
    pub faster_cycles: u32,
    /// Successive cycles in which a path of a better kind must prove itself for a switch.
    pub better_cycles: u32,
    /// The same for a path that was left because it fell silent, so that a path with occasional
    /// stalls is not returned to after each (SP-1).
    pub distrusted_cycles: u32,
    /// Time for a replaced client to finish its requests in flight.
    pub drain: Duration,
    /// Age under which a cycle is not restarted by a network change while online, because one
    /// change is reported several times. Dials and probes that something waits for are always
    /// restarted, since they may be on a network that is gone.
    pub settle: Duration,
    /// Time after a network change for which further reports are delayed; they then take effect as
    /// one.
    pub network_pause: Duration,
    /// Longest pause before a retry in `Error`; at least half of it passes. A daemon that was
    /// updated, restored or paired again may accept the host.
    pub second_look: Duration,
    /// Longest retry-after accepted from a peer; longer ones are cut to it.
    pub most_retry_after: Duration,
    /// Pauses between rounds of selection without a result.
    pub backoff: BackoffConfig,
    /// Most paths of one host; further ones are ignored.
    pub most_connections: usize,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl HostConfig {
    /// The defaults, for a seed.
    pub fn new(jitter_seed: u64) -> Self {
        Self {
            relay_handicap: Duration::from_millis(150),
            probe_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(16),
            probe_interval: Duration::from_secs(10),
            quiet_probe_interval: Duration::from_secs(30),
            quiet_after: Duration::from_secs(600),
            faster_by: Duration::from_millis(40),
            faster_cycles: 3,
            better_cycles: 2,
            distrusted_cycles: 6,
            drain: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            network_pause: Duration::from_millis(250),
            second_look: Duration::from_secs(600),
            most_retry_after: Duration::from_secs(600),
            backoff: BackoffConfig::default(),
            most_connections: 16,
            jitter_seed,
        }
    }
}

/// The candidate, which stands beside the active client until it connects (INV-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its path.
    pub connection: PathId,
    /// Its generation, above that of the active client.
    pub generation: Generation,
    /// When it fails.
    pub deadline: MonotonicTime,
}

/// A host's connectivity for apps: the machine's [`State`] without its internal data (INV-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Not started yet.
    Booting,
    /// There is no path to try.
    NoConnections,
    /// Probing the paths.
    SelectingActiveConnection,
    /// Connecting the chosen path.
    ConnectingActive,
    /// Connected.
    Online,
    /// The connection was lost; reconnecting.
    Degraded,
    /// The user has to act.
    Error,
    /// The host was removed, or the runtime was closed.
    Stopped,
}

impl HostState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Booting,
        Self::NoConnections,
        Self::SelectingActiveConnection,
        Self::ConnectingActive,
        Self::Online,
        Self::Degraded,
        Self::Error,
        Self::Stopped,
    ];

    /// The name in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::NoConnections => "no_connections",
            Self::SelectingActiveConnection => "selecting_active_connection",
            Self::ConnectingActive => "connecting_active",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Error => "error",
            Self::Stopped => "stopped",
        }
    }
}

/// State of a host, with its data: the only source of its connectivity (INV-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Created, not started. Stable.
    Booting,
    /// No path is configured. Stable.
    NoConnections,
    /// Probing for a path, or pausing before the next round.
    SelectingActiveConnection {
        /// The probe cycle of this round.
        cycle: u64,
        /// When the next round starts; `None` while one runs, with its own deadline.
        retry_at: Option<MonotonicTime>,
    },
    /// A path was chosen; its client is connecting.
    ConnectingActive {
        /// The path.
        connection: PathId,
        /// The client.
        generation: Generation,
        /// When it was chosen.
        since: MonotonicTime,
        /// When the attempt fails.
        deadline: MonotonicTime,
    },
    /// The active client is connected. Stable, except for the candidate, which has a deadline.
    Online {
        /// The path.
        connection: PathId,
        /// The client.
        generation: Generation,
        /// When it connected.
        since: MonotonicTime,
        /// The candidate, while a switch is under way.
        candidate: Option<Candidate>,
    },
    /// The active client lost its connection and retries, while other paths are probed.
    Degraded {
        /// The path that was lost.
        connection: PathId,
        /// The client that retries.
        generation: Generation,
        /// Why it was lost.
        reason: Reason,
        /// The candidate, if another path proved itself.
        candidate: Option<Candidate>,
    },
    /// The user has to act; retried rarely.
    Error {
        /// The cause; [`Reason::advice`] has the remedy.
        reason: Reason,
        /// When it is retried.
        retry_at: MonotonicTime,
    },
    /// Final; no transition leaves this state (INV-12).
    Stopped,
}

impl State {
    /// The state without its data, for snapshots.
    pub const fn kind(&self) -> HostState {
        match self {
            Self::Booting => HostState::Booting,
            Self::NoConnections => HostState::NoConnections,
            Self::SelectingActiveConnection { .. } => HostState::SelectingActiveConnection,
            Self::ConnectingActive { .. } => HostState::ConnectingActive,
            Self::Online { .. } => HostState::Online,
            Self::Degraded { .. } => HostState::Degraded,
            Self::Error { .. } => HostState::Error,
            Self::Stopped => HostState::Stopped,
        }
    }

    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The active client and its path, if any.
    pub const fn active(&self) -> Option<(PathId, Generation)> {
        match self {
            Self::ConnectingActive {
                connection,
                generation,
                ..
            }
            | Self::Online {
                connection,
                generation,
                ..
            }
            | Self::Degraded {
                connection,
                generation,
                ..
            } => Some((*connection, *generation)),
            Self::Booting
            | Self::NoConnections
            | Self::SelectingActiveConnection { .. }
            | Self::Error { .. }
            | Self::Stopped => None,
        }
    }

    /// The candidate, while a switch is under way.
    pub const fn candidate(&self) -> Option<Candidate> {
        match self {
            Self::Online { candidate, .. } | Self::Degraded { candidate, .. } => *candidate,
            Self::Booting
            | Self::NoConnections
            | Self::SelectingActiveConnection { .. }
            | Self::ConnectingActive { .. }
            | Self::Error { .. }
            | Self::Stopped => None,
        }
    }

    /// Whether a connection exists or is being attempted, without user action.
    pub const fn is_hopeful(&self) -> bool {
        match self {
            Self::Booting
            | Self::SelectingActiveConnection { .. }
            | Self::ConnectingActive { .. }
            | Self::Online { .. }
            | Self::Degraded { .. } => true,
            Self::NoConnections | Self::Error { .. } | Self::Stopped => false,
        }
    }
}

impl Table for State {
    const MACHINE: &'static str = "host_runtime";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        use State::{
            Booting, ConnectingActive, Degraded, Error, NoConnections, Online,
            SelectingActiveConnection as Selecting, Stopped,
        };
        match (self, to) {
            (Stopped, _) | (_, Booting) => false,
            (_, Stopped) => true,
            (Booting, NoConnections | Selecting { .. } | ConnectingActive { .. }) => true,
            (NoConnections, Selecting { .. } | ConnectingActive { .. }) => true,
            (
                Selecting { .. },
                NoConnections | Selecting { .. } | ConnectingActive { .. } | Error { .. },
            ) => true,
            (
                ConnectingActive { .. },
                NoConnections
                | Selecting { .. }
                | ConnectingActive { .. }
                | Online { .. }
                | Error { .. },
            ) => true,
            (
                Online { .. } | Degraded { .. },
                NoConnections
                | Selecting { .. }
                | ConnectingActive { .. }
                | Online { .. }
                | Degraded { .. }
                | Error { .. },
            ) => true,
            (Error { .. }, NoConnections | Selecting { .. } | ConnectingActive { .. }) => true,
            (Booting | NoConnections | Selecting { .. } | Error { .. }, _)
            | (ConnectingActive { .. }, _) => false,
        }
    }
}

/// Status of a client, as far as its host needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientStatus {
    /// Connecting, or not asked to connect yet.
    Connecting,
    /// Connected: the whole handshake is done.
    Connected,
    /// Not connected.
    Disconnected {
        /// Why.
        reason: Reason,
        /// The peer's retry-after, from now, for every use of the path.
        retry_after: Option<Duration>,
    },
    /// Disposed.
    Disposed,
}

impl ClientStatus {
    /// The status of a client in this state. `retry_after`: that of the failure it was reported
    /// with.
    pub const fn of(state: &connection::State, retry_after: Option<Duration>) -> Self {
        match *state {
            connection::State::Idle | connection::State::Connecting { .. } => Self::Connecting,
            connection::State::Connected { .. } => Self::Connected,
            connection::State::Disconnected { reason, .. } => Self::Disconnected {
                reason,
                retry_after,
            },
            connection::State::Disposed => Self::Disposed,
        }
    }
}

/// Inputs of a host. Results of effects carry the cycle or generation they were started under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Start with these paths.
    Start {
        /// Every configured path.
        connections: Vec<(PathId, Path)>,
    },
    /// The configured paths changed.
    ConnectionsChanged(Vec<(PathId, Path)>),
    /// One probe of a cycle finished.
    ProbeFinished {
        /// The cycle it belongs to.
        cycle: u64,
        /// The probed path.
        connection: PathId,
        /// Round-trip time, or why the probe failed.
        outcome: Result<Duration, Reason>,
        /// The peer's retry-after, from now. It counts for a probe of an earlier cycle too.
        retry_after: Option<Duration>,
    },
    /// A client's status changed.
    ClientState {
        /// The client.
        generation: Generation,
        /// Its status now.
        state: ClientStatus,
    },
    /// A client's peer is silent while a request waits, or was heard again (SP-1). The client stays
    /// connected.
    Suspected {
        /// The client.
        generation: Generation,
        /// False: heard again.
        is_suspected: bool,
    },
    /// The user chose this path exclusively; `None` returns the choice to the host.
    UserSelect(Option<PathId>),
    /// The user requested a connection now.
    ReconnectNow,
    /// The user submitted an intent, which needs the daemon.
    IntentQueued,
    /// The app came to the foreground.
    Foreground,
    /// The app went to the background.
    Background,
    /// The network changed.
    NetworkChanged,
    /// Stop permanently.
    Stop,
}

impl Input {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::ConnectionsChanged(_) => "connections_changed",
            Self::ProbeFinished { .. } => "probe_finished",
            Self::ClientState { state, .. } => match state {
                ClientStatus::Connecting => "client_connecting",
                ClientStatus::Connected => "client_connected",
                ClientStatus::Disconnected { .. } => "client_disconnected",
                ClientStatus::Disposed => "client_disposed",
            },
            Self::Suspected { is_suspected, .. } => {
                if *is_suspected {
                    "suspected"
                } else {
                    "heard_again"
                }
            }
            Self::UserSelect(_) => "user_select",
            Self::ReconnectNow => "reconnect_now",
            Self::IntentQueued => "intent_queued",
            Self::Foreground => "foreground",
            Self::Background => "background",
            Self::NetworkChanged => "network_changed",
            Self::Stop => "stop",
        }
    }
}

/// Effects for the driver, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// After `delay`, open a short-lived client of this path that does not attach (INV-8), measure
    /// the path, dispose of the client, and report `ProbeFinished`.
    StartProbe {
        /// The cycle it belongs to.
        cycle: u64,
        /// The path to take.
        connection: PathId,
        /// Head start of better kinds of path.
        delay: Duration,
    },
    /// Drop the remaining probes of a cycle and report none of them.
    CancelProbes {
        /// The cycle.
        cycle: u64,
    },
    /// Create a client, connect it, and report each change of its status.
    CreateClient {
        /// Its generation.
        generation: Generation,
        /// Its path.
        connection: PathId,
        /// Whether it is a candidate beside the active client, tried once (`auto_retry` off) until
        /// its promotion.
        candidate: bool,
    },
    /// Make this candidate the active client: intents and events go through it from now on, and it
    /// retries automatically (`client::Input::Promoted`).
    Promote {
        /// The candidate.
        generation: Generation,
    },
    /// The active client attached to the session: apply its welcome to the host's data and intents.
    Attached {
        /// The active client.
        generation: Generation,
    },
    /// The active client lost its connection, or failed to connect: fail the requests that wait for
    /// an answer on it.
    Lost {
        /// Why.
        reason: Reason,
    },
    /// Dispose of the client, once its requests in flight are done or `drain` has passed.
    DisposeClient {
        /// The client.
        generation: Generation,
        /// Zero: at once.
        drain: Duration,
        /// Why requests still in flight then end, for their callers.
        reason: Reason,
    },
    /// `client::Input::CheckLiveness` for that client.
    CheckLiveness {
        /// The client.
        generation: Generation,
    },
    /// `client::Input::AlternativeKnown` for that client (SP-1).
    TellAlternative {
        /// The client.
        generation: Generation,
        /// Whether another path works.
        is_known: bool,
    },
    /// `client::Input::NetworkChanged` for that client.
    NetworkChanged {
        /// The client.
        generation: Generation,
    },
    /// `client::Input::ConnectRequest` for that client.
    Reconnect {
        /// The client.
        generation: Generation,
    },
    /// `client::Input::Background` or `Foreground` for that client.
    SetBackground {
        /// The client.
        generation: Generation,
        /// True for the background.
        background: bool,
    },
}
