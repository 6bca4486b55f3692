//! A daemon's registration with one relay: the control socket, and a data socket for each session
//! that has clients at the relay (SV-3, RL-2, RL-3).
//!
//! ```text
//!  Idle ──start──► Connecting ──registered──► Registered
//!                   ▲    │ ended / deadline        │ ended / silence
//!                   │    ▼                         │
//!                   └─ Waiting ◄───────────────────┘          any ──stop──► Stopped
//! ```
//!
//! **Two lifetimes.** A control socket is dialled, challenged and registered; each has a
//! generation. Data sockets outlive it: after a network interruption the daemon registers again and
//! keeps its data sockets. They are numbered here. Inputs of an earlier generation, or of a data
//! socket that is gone, change nothing (INV-10).
//!
//! **Precedence.** `sync` is the complete list of sessions. `session_opened` opens nothing for a
//! session that has its data socket, but is remembered: control and data sockets are not ordered
//! among each other, so it may announce the successor of a session before the end of its data
//! socket arrives. The data socket is then replaced when it ends.
//!
//! **Gone or lost.** A data socket that ends because the session has no clients is forgotten. One
//! that is lost is opened again while the relay still lists its session, with growing pauses. When
//! the relay closes a session, its data socket may finish its traffic within a deadline, and no
//! longer belongs to a session.
//!
//! **Bounds.** The relay is not trusted with this daemon's memory: sessions and data sockets are
//! bounded, those of unknown devices more narrowly, and further ones are ignored (TR-8, TR-10).

mod pacing;
mod sessions;
mod transitions;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bowline_protocol::{Reason, RouteKey, relay::limits};

use pacing::Pacing;
use sessions::Sessions;

use crate::{
    Generation, MonotonicTime,
    backoff::BackoffConfig,
    machine_core::{MachineCore, outputs},
    socket_health::SocketHealth,
};

/// Attempts in a row after which a registration proves that the network is back, and not only the
/// relay.
const NETWORK_WAS_GONE: u32 = 2;

/// Settings of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayConfig {
    /// Time from dialling a control socket to its registration; then it fails with
    /// `handshake_timeout`.
    pub register_deadline: Duration,
    /// Time from dialling a data socket to its being open; then it is dialled again.
    pub open_deadline: Duration,
    /// Time for a data socket to finish its traffic after its session is over.
    pub drain: Duration,
    /// Pauses between registrations, and between data sockets of one session.
    pub backoff: BackoffConfig,
    /// Attempts in a row that fail and are followed by pauses of at most a second: interruptions of
    /// seconds must not cost more than they last.
    pub brief: u32,
    /// Attempts in a row that fail before the pauses of `patient`.
    pub patience: u32,
    /// The same for attempts that the relay refuses.
    pub refusals: u32,
    /// Registrations that ended soon, since the last lasting one, after which such a registration
    /// no longer counts as a success: a relay that accepts and drops daemons is not registered with
    /// each second for ever.
    pub flaps: u32,
    /// Pauses after many failed registrations, or after a refusal by the relay.
    pub patient: BackoffConfig,
    /// Pauses after another daemon with this identity took the registration.
    pub contested: BackoffConfig,
    /// Least time between two attempts caused by [`Input::Hurry`].
    pub between_hurries: Duration,
    /// Most sessions of one relay; further ones are ignored, and the relay informs their clients.
    pub most_sessions: usize,
    /// Most sessions among them, and data sockets that are finishing, of devices that the daemon
    /// does not know (TR-10).
    pub most_strangers: usize,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl RelayConfig {
    /// The defaults, for a seed.
    pub const fn new(jitter_seed: u64) -> Self {
        Self {
            register_deadline: limits::HANDSHAKE,
            open_deadline: limits::PEER_WAIT,
            drain: Duration::from_secs(5),
            // A daemon has one control socket and is unreachable without it, so it retries more
            // often than an app.
            backoff: BackoffConfig {
                base: Duration::from_millis(250),
                cap: Duration::from_secs(4),
                reset_after: Duration::from_secs(10),
            },
            brief: 16,
            patience: 48,
            refusals: 8,
            flaps: 128,
            patient: BackoffConfig {
                base: Duration::from_secs(4),
                cap: Duration::from_secs(300),
                reset_after: Duration::from_secs(10),
            },
            contested: BackoffConfig {
                base: Duration::from_secs(8),
                cap: Duration::from_secs(600),
                // Longer than the other daemon's pause.
                reset_after: Duration::from_secs(1_800),
            },
            between_hurries: Duration::from_secs(60),
            most_sessions: 1_024,
            // As many as a relay admits.
            most_strangers: limits::STRANGERS_PER_DAEMON as usize,
            jitter_seed,
        }
    }
}

/// Id of one data socket. Local to this process and never on the wire (INV-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataSocketId(u64);

impl DataSocketId {
    /// The number, for logs.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// State of the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Created, not started. Stable.
    Idle,
    /// A control socket is being dialled, challenged and registered.
    Connecting {
        /// When the attempt fails.
        deadline: MonotonicTime,
    },
    /// Registered: clients can reach this daemon.
    Registered {
        /// Time of the registration.
        since: MonotonicTime,
        /// Whether the relay is heard, and takes what is sent to it.
        health: SocketHealth,
    },
    /// The pause before the next attempt.
    Waiting {
        /// Why the last attempt or registration ended.
        reason: Reason,
        /// Time of the next attempt.
        until: MonotonicTime,
        /// No attempt before this time, not even for [`Input::Hurry`].
        earliest: MonotonicTime,
    },
    /// Final; no transition leaves this state (INV-12).
    Stopped,
}

impl State {
    /// The name in logs and listings.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting { .. } => "connecting",
            Self::Registered { .. } => "registered",
            Self::Waiting { .. } => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

/// How a data socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataSocketEnd {
    /// The session has no clients at the relay: HTTP 404, or close code 1000.
    Gone,
    /// Any other end.
    Lost {
        /// The reason.
        reason: Reason,
        /// Least delay before it is opened again.
        retry_after: Option<Duration>,
    },
}

impl DataSocketEnd {
    /// How a data socket that could not be opened ended; `status`: the HTTP status of the relay's
    /// answer, if there was one.
    pub const fn of_dial(
        status: Option<u16>,
        reason: Reason,
        retry_after: Option<Duration>,
    ) -> Self {
        let reason = match status {
            Some(404) => return Self::Gone,
            // The registration of the token has ended.
            Some(401) => Reason::DaemonOffline,
            _ => reason,
        };
        Self::Lost {
            reason,
            retry_after,
        }
    }
}

/// Inputs of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Begin.
    Start,
    /// The relay challenges the daemon's identity.
    Challenged {
        /// Generation of the control socket.
        generation: Generation,
    },
    /// The relay accepted the proof.
    Registered {
        /// Generation of the control socket.
        generation: Generation,
        /// Interval requested by the relay; bounded here.
        heartbeat: Duration,
    },
    /// Bytes arrived on the control socket.
    Received {
        /// Generation of the control socket.
        generation: Generation,
    },
    /// Bytes were written to the control socket, or could not be.
    Wrote {
        /// Generation of the control socket.
        generation: Generation,
        /// All bytes that it has accepted so far.
        sent: u64,
        /// Nothing is queued any more.
        clear: bool,
    },
    /// The control socket could not be opened, or ended.
    Ended {
        /// Generation of the control socket.
        generation: Generation,
        /// The reason.
        reason: Reason,
        /// Least delay of the next attempt.
        retry_after: Option<Duration>,
    },
    /// The complete list of sessions with clients.
    Sync {
        /// Generation of the control socket.
        generation: Generation,
        /// The sessions, in any order.
        sessions: Vec<RouteKey>,
    },
    /// The first client of a session connected.
    SessionOpened {
        /// Generation of the control socket.
        generation: Generation,
        /// The session.
        session: RouteKey,
    },
    /// The last client of a session is gone.
    SessionClosed {
        /// Generation of the control socket.
        generation: Generation,
        /// The session.
        session: RouteKey,
    },
    /// The routes of the devices that the daemon knows. Before the first list nobody is a stranger.
    Known {
        /// All of them.
        routes: Arc<BTreeSet<RouteKey>>,
    },
    /// A data socket is open.
    DataOpened {
        /// The data socket.
        socket: DataSocketId,
    },
    /// A data socket could not be opened, or ended.
    DataEnded {
        /// The data socket.
        socket: DataSocketId,
        /// How it ended.
        end: DataSocketEnd,
    },
    /// An attempt may succeed now: this machine woke up, or another relay was reached again.
    Hurry,
    /// The daemon stops.
    Stop {
        /// The reason sent to the relay.
        reason: Reason,
    },
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Dial a control socket.
    Connect {
        /// Its generation.
        generation: Generation,
    },
    /// Answer the challenge on the control socket.
    Answer,
    /// Send a ping on the control socket.
    Ping,
    /// Tell the relay which devices the daemon knows (TR-10).
    TellDevices {
        /// Their routes.
        routes: Arc<BTreeSet<RouteKey>>,
    },
    /// The network is back: feed [`Input::Hurry`] to the registrations with other relays.
    HurryOthers,
    /// Close the control socket, or cancel its dial.
    Disconnect {
        /// The reason sent to the relay, if the socket is still open.
        reason: Reason,
    },
    /// Dial a data socket.
    OpenData {
        /// Its number.
        socket: DataSocketId,
        /// Its session.
        session: RouteKey,
        /// Whether that is the session of an unknown device.
        is_stranger: bool,
    },
    /// The relay was unreachable: check soon that this data socket is not half-open.
    CheckData {
        /// The data socket.
        socket: DataSocketId,
    },
    /// Close a data socket and its lanes, or cancel its dial. No further inputs about it are
    /// needed.
    CloseData {
        /// The data socket.
        socket: DataSocketId,
    },
}

/// The registration machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRegistration {
    config: RelayConfig,
    core: MachineCore<State, Effect>,
    generation: Generation,
    pacing: Pacing,
    /// Attempts and registrations that ended since the last registration.
    tries: u32,
    /// Time of the last attempt caused by [`Input::Hurry`].
    hurried_at: Option<MonotonicTime>,
    sessions: Sessions,
}

impl RelayRegistration {
    /// Creates a registration that waits for [`Input::Start`].
    pub fn new(config: RelayConfig) -> Self {
        Self {
            core: MachineCore::new(State::Idle),
            generation: Generation::ZERO,
            pacing: Pacing::new(&config),
            tries: 0,
            hurried_at: None,
            sessions: Sessions::new(config),
            config,
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        if self.is_stale(&input) {
            self.core.count_stale();
            return;
        }
        self.transition(now, input);
    }

    /// When to call [`RelayRegistration::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let own = match self.state() {
            State::Connecting { deadline } => Some(*deadline),
            State::Registered { health, .. } => Some(health.deadline()),
            State::Waiting { until, .. } => Some(*until),
            State::Idle | State::Stopped => None,
        };
        own.into_iter().chain(self.sessions.deadline()).min()
    }

    outputs!(State, Effect);

    /// Generation of the newest control socket.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Attempts and registrations that ended since the last lasting registration.
    pub const fn failures(&self) -> u32 {
        self.pacing.failures()
    }

    /// Sessions with clients at the relay, as far as known.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Data sockets open or being dialled, including those that are finishing.
    pub fn data_sockets(&self) -> usize {
        self.sessions.data_sockets()
    }

    /// Sessions ignored at the bound.
    pub const fn over_limit(&self) -> u64 {
        self.sessions.over_limit()
    }

    /// Hashes the state that determines future behaviour, relative to `now` and without jitter, for
    /// the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        self.state().name().hash(hasher);
        self.poll_timeout().map(|due| due.since(now)).hash(hasher);
        (self.tries.min(NETWORK_WAS_GONE)).hash(hasher);
        self.sessions.fingerprint(now, hasher);
    }
}
