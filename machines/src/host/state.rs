//! What a `HostRuntimeManager` can be in, be told and ask for.

use std::time::Duration;

use bowline_protocol::Reason;

use crate::{Generation, Moment, Path, backoff::BackoffConfig, client};

/// A label for one configured path of this host, given by its driver. Local to this process and never
/// on the wire (INV-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Settings of one host. The defaults are those of the design; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostConfig {
    /// Head start that local and direct paths get over relays, both when dialling and when a relay
    /// proves itself first.
    pub relay_handicap: Duration,
    /// Bound of one probe cycle; a path without an outcome by then failed.
    pub probe_deadline: Duration,
    /// Bound of a client's way from creation to its first `Connected`. A little over the client's own
    /// connect deadline, so that the client can say why.
    pub connect_deadline: Duration,
    /// Pause from one probe cycle to the next while online, and while degraded on a single path.
    pub probe_interval: Duration,
    /// The same when nothing has happened for `quiet_after`, and for a host with a single path.
    pub quiet_probe_interval: Duration,
    /// Time without any activity of the user or the network after which probes slow down.
    pub quiet_after: Duration,
    /// How much faster another path must be, cycle after cycle, to be switched to.
    pub faster_by: Duration,
    /// Successive cycles it must be that much faster in.
    pub faster_cycles: u32,
    /// Successive cycles in which a path of a better kind must prove itself to be switched to.
    pub better_cycles: u32,
    /// Time that a client which was replaced gets to finish what is in flight.
    pub drain: Duration,
    /// While online, a cycle younger than this is not restarted by a network change: one change of network is reported as
    /// several. Dials and probes that something waits for are restarted by each, for they may be on a network that is gone.
    pub settle: Duration,
    /// A cycle that ends later than this after its deadline was interrupted by sleep: it is run again
    /// instead of blaming its paths (lesson 5).
    pub clock_jump: Duration,
    /// Longest pause before an error is looked at again; at least half of it passes. A daemon that was updated, restored or paired
    /// with elsewhere takes back what it said.
    pub second_look: Duration,
    /// Longest time to stay away that a peer may ask for; a longer one is cut to it.
    pub most_retry_after: Duration,
    /// Pauses between rounds of selection that found nothing.
    pub backoff: BackoffConfig,
    /// Most paths of one host; further ones are ignored.
    pub most_connections: usize,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl HostConfig {
    /// The defaults, with that seed.
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
            drain: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            clock_jump: Duration::from_secs(3),
            second_look: Duration::from_secs(600),
            most_retry_after: Duration::from_secs(600),
            backoff: BackoffConfig::default(),
            most_connections: 16,
            jitter_seed,
        }
    }
}

/// The next client, beside the active one until it is connected (INV-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its path.
    pub connection: ConnectionId,
    /// Its generation, above that of the active client.
    pub generation: Generation,
    /// When it is given up.
    pub deadline: Moment,
}

/// The state of a host, with its data: the only truth about its connectivity (INV-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Made, not started. Stable.
    Booting,
    /// There is no path to try. Stable.
    NoConnections,
    /// Probing for a path, or pausing before the next round.
    SelectingActiveConnection {
        /// The probe cycle of this round.
        cycle: u64,
        /// When the next round starts; `None` while this one runs (which has its own deadline).
        retry_at: Option<Moment>,
    },
    /// A path was chosen; its client is connecting.
    ConnectingActive {
        /// The path.
        connection: ConnectionId,
        /// The client.
        generation: Generation,
        /// Since when.
        since: Moment,
        /// When it is given up.
        deadline: Moment,
    },
    /// The active client is connected. Stable, but for the candidate, which has a deadline.
    Online {
        /// The path.
        connection: ConnectionId,
        /// The client.
        generation: Generation,
        /// Since when.
        since: Moment,
        /// The next client, while a switch is under way.
        candidate: Option<Candidate>,
    },
    /// The active client lost its connection: it retries while other paths are probed.
    Degraded {
        /// The path that was lost.
        connection: ConnectionId,
        /// The client, which retries.
        generation: Generation,
        /// Why it was lost.
        reason: Reason,
        /// The next client, if another path proved itself.
        candidate: Option<Candidate>,
    },
    /// The user has to do something; looked at again rarely.
    Error {
        /// What about; [`Reason::advice`] says what to do.
        reason: Reason,
        /// When it is looked at again.
        retry_at: Moment,
    },
    /// The end; nothing leaves this state (INV-12).
    Stopped,
}

impl State {
    /// The name in logs and snapshots.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::NoConnections => "no_connections",
            Self::SelectingActiveConnection { .. } => "selecting_active_connection",
            Self::ConnectingActive { .. } => "connecting_active",
            Self::Online { .. } => "online",
            Self::Degraded { .. } => "degraded",
            Self::Error { .. } => "error",
            Self::Stopped => "stopped",
        }
    }

    /// The active client and its path, where there is one.
    pub const fn active(&self) -> Option<(ConnectionId, Generation)> {
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

    /// The next client, while a switch is under way.
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

    /// Whether a connection may come without anybody's help: there is one, or it is being tried.
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

    /// The pairs (from, to) that may follow each other; the machine writes no other.
    pub(super) const fn may_become(&self, to: &Self) -> bool {
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

/// What the host needs to know of the state of one of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientStatus {
    /// On its way (or not asked yet).
    Connecting,
    /// Connected: the whole handshake is done.
    Connected,
    /// Not connected.
    Disconnected {
        /// Why.
        reason: Reason,
        /// Whether it tries again by itself.
        will_retry: bool,
    },
    /// Gone for good.
    Disposed,
}

impl From<&client::State> for ClientStatus {
    fn from(state: &client::State) -> Self {
        match *state {
            client::State::Idle | client::State::Connecting { .. } => Self::Connecting,
            client::State::Connected { .. } => Self::Connected,
            client::State::Disconnected {
                reason, retry_at, ..
            } => Self::Disconnected {
                reason,
                will_retry: retry_at.is_some(),
            },
            client::State::Disposed => Self::Disposed,
        }
    }
}

/// What a host can be told. Results of effects carry the cycle or generation they were started under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Begin, with these paths.
    Start {
        /// Every configured path.
        connections: Vec<(ConnectionId, Path)>,
    },
    /// The configured paths are now these.
    ConnectionsChanged(Vec<(ConnectionId, Path)>),
    /// One probe of a cycle is done.
    ProbeFinished {
        /// The cycle it belongs to.
        cycle: u64,
        /// The path it took.
        connection: ConnectionId,
        /// Round-trip time, or why the path does not work.
        outcome: Result<Duration, Reason>,
    },
    /// A peer on that path asked for no attempt for so long. Told before the end that it came with.
    StayAway {
        /// The path.
        connection: ConnectionId,
        /// From now.
        pause: Duration,
    },
    /// A client changed its state.
    ClientState {
        /// The client.
        generation: Generation,
        /// Its state now.
        state: ClientStatus,
    },
    /// The user wants this path and no other; `None` gives the choice back.
    UserSelect(Option<ConnectionId>),
    /// The user wants a connection now.
    ReconnectNow,
    /// The user did something that needs the daemon.
    IntentQueued,
    /// The app came to the foreground.
    Foreground,
    /// The app went to the background.
    Background,
    /// The network changed.
    NetworkChanged,
    /// End for good.
    Stop,
}

impl Input {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::ConnectionsChanged(_) => "connections_changed",
            Self::ProbeFinished { .. } => "probe_finished",
            Self::StayAway { .. } => "stay_away",
            Self::ClientState { state, .. } => match state {
                ClientStatus::Connecting => "client_connecting",
                ClientStatus::Connected => "client_connected",
                ClientStatus::Disconnected { .. } => "client_disconnected",
                ClientStatus::Disposed => "client_disposed",
            },
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

/// What the driver must do, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// After `delay`, open a short-lived client of this path that attaches to nothing (INV-8), measure it,
    /// dispose it, and report `ProbeFinished`.
    StartProbe {
        /// The cycle it belongs to.
        cycle: u64,
        /// The path to take.
        connection: ConnectionId,
        /// Head start of better paths.
        delay: Duration,
    },
    /// Drop what is left of that cycle; nothing of it is reported.
    CancelProbes {
        /// The cycle.
        cycle: u64,
    },
    /// Create a client, connect it, and report each change of its state.
    CreateClient {
        /// Its generation.
        generation: Generation,
        /// Its path.
        connection: ConnectionId,
        /// Whether it stands beside the active client: it is tried once (`auto_retry` off) until it is
        /// promoted.
        candidate: bool,
    },
    /// Make this candidate the active client: intents and events go through it from here on, and it
    /// retries by itself (`client::Input::Promoted`).
    Promote {
        /// The candidate.
        generation: Generation,
    },
    /// Dispose of that client, once what it has in flight is done or `drain` has passed.
    DisposeClient {
        /// The client.
        generation: Generation,
        /// Zero: at once.
        drain: Duration,
    },
    /// `client::Input::CheckLiveness` for that client.
    CheckLiveness {
        /// The client.
        generation: Generation,
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
    /// Something that snapshots show has changed.
    Publish,
}
