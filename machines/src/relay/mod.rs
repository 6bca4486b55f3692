//! A daemon's link with one relay: its registration, and its data socket for each session that the relay has clients of
//! (SV-3, RL-2, RL-3).
//!
//! ```text
//!  Idle ──start──► Connecting ──registered──► Registered
//!                   ▲    │ ended / deadline        │ ended / silence
//!                   │    ▼                         │
//!                   └─ Waiting ◄───────────────────┘          any ──stop──► Stopped
//! ```
//!
//! **Two lives.** A control socket is dialled, challenged and registered, and dies; each has a generation. Data sockets
//! outlive it: a daemon whose network blinked registers again and goes on with those it has. Each data socket is a *peer*,
//! numbered here. News of an earlier generation or of a peer that is no more changes nothing (INV-10).
//!
//! **Whose word counts.** `sync` is the whole truth about sessions. `session_opened` is ignored for a session that has
//! its peer, but remembered: control and data sockets are not ordered among each other, so it may announce the successor
//! of a session whose end the peer has not heard yet. Then the peer's end is answered with a new one.
//!
//! **Gone or lost.** A peer that ends because the session has no clients is let go. One that is lost is opened again
//! while the relay still counts its session, with growing pauses. One whose session the relay calls closed may
//! finish what is under way, within a deadline, and counts no more.
//!
//! **A relay is believed in nothing that costs memory**: sessions and peers are bounded, and those over the bound ignored.

mod heartbeat;
mod pacing;
mod sessions;
mod transitions;

#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{Reason, RouteKey, relay::limits};

pub use heartbeat::{Heartbeat, Pulse};
use pacing::Pacing;
use sessions::Sessions;

use crate::{Generation, Moment, Transition, backoff::BackoffConfig, outbox::Outbox};

/// How a link behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayConfig {
    /// From the dialling of a control socket to its registration; past it `handshake_timeout`.
    pub register_deadline: Duration,
    /// From the dialling of a data socket to its being open; past it, it is dialled again.
    pub open_deadline: Duration,
    /// How long a peer whose session is over may finish what is under way.
    pub drain: Duration,
    /// A timer that comes so much too late means that this machine slept (lesson 5).
    pub clock_jump: Duration,
    /// Pauses between registrations, and between the data sockets of one session.
    pub backoff: BackoffConfig,
    /// Attempts to register with the pauses above; after them those of `patient`.
    pub patience: u32,
    /// Pauses between registrations that have failed often, or that the relay refuses.
    pub patient: BackoffConfig,
    /// Pauses after another daemon of this identity took the registration.
    pub contested: BackoffConfig,
    /// Least time between two attempts that somebody hurried.
    pub between_hurries: Duration,
    /// Sessions of one relay; further ones are ignored, and their clients told by the relay.
    pub most_sessions: usize,
    /// Seed of the jitter.
    pub jitter_seed: u64,
}

impl RelayConfig {
    /// The defaults, with that seed.
    pub const fn new(jitter_seed: u64) -> Self {
        Self {
            register_deadline: limits::HANDSHAKE,
            open_deadline: limits::PEER_WAIT,
            drain: Duration::from_secs(5),
            clock_jump: Duration::from_secs(3),
            // A daemon is one socket, and reached by nobody until it is back: it asks more often than an app would.
            backoff: BackoffConfig {
                base: Duration::from_millis(250),
                cap: Duration::from_secs(4),
                reset_after: Duration::from_secs(10),
            },
            patience: 16,
            patient: BackoffConfig {
                base: Duration::from_secs(4),
                cap: Duration::from_secs(300),
                reset_after: Duration::from_secs(10),
            },
            contested: BackoffConfig {
                base: Duration::from_secs(8),
                cap: Duration::from_secs(600),
                // Longer than the other one stays away.
                reset_after: Duration::from_secs(1_800),
            },
            between_hurries: Duration::from_secs(60),
            most_sessions: 1_024,
            jitter_seed,
        }
    }
}

/// One data socket of this process. Local to it and never on the wire (INV-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

impl PeerId {
    /// Its number, for logs.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Made, not started. Stable.
    Idle,
    /// A control socket is dialled, challenged and registered.
    Connecting {
        /// When it is given up.
        deadline: Moment,
    },
    /// Clients are led here.
    Registered {
        /// Since when.
        since: Moment,
        /// Whether the relay is there.
        heartbeat: Heartbeat,
    },
    /// The pause before the next attempt.
    Waiting {
        /// Why the last one ended.
        reason: Reason,
        /// When the next one begins.
        until: Moment,
        /// Not before this time, whoever hurries.
        earliest: Moment,
    },
    /// The end; nothing leaves this state (INV-12).
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

/// How a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerEnd {
    /// The relay says that the session has no clients: HTTP 404, or close code 1000.
    Gone,
    /// Anything else.
    Lost {
        /// Why.
        reason: Reason,
        /// Not to be opened again earlier than this.
        retry_after: Option<Duration>,
    },
}

/// What can happen to a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Begin.
    Start,
    /// The relay asks for a proof of identity.
    Challenged {
        /// Of the control socket.
        generation: Generation,
    },
    /// The proof holds.
    Registered {
        /// Of the control socket.
        generation: Generation,
        /// What the relay asks for; bounded here.
        heartbeat: Duration,
    },
    /// Any byte of the control socket.
    Heard {
        /// Of the control socket.
        generation: Generation,
    },
    /// The control socket could not be made, or has ended.
    Ended {
        /// Of the control socket.
        generation: Generation,
        /// Why.
        reason: Reason,
        /// Not to be tried again earlier than this.
        retry_after: Option<Duration>,
    },
    /// All sessions that have clients.
    Sync {
        /// Of the control socket.
        generation: Generation,
        /// Which; in no order.
        sessions: Vec<RouteKey>,
    },
    /// A session's first client is there.
    SessionOpened {
        /// Of the control socket.
        generation: Generation,
        /// Which session.
        session: RouteKey,
    },
    /// A session's last client is gone.
    SessionClosed {
        /// Of the control socket.
        generation: Generation,
        /// Which session.
        session: RouteKey,
    },
    /// A data socket is open.
    PeerOpened {
        /// Which.
        peer: PeerId,
    },
    /// A data socket could not be made, or has ended.
    PeerEnded {
        /// Which.
        peer: PeerId,
        /// How.
        end: PeerEnd,
    },
    /// Something says that an attempt may be worth it now: this machine woke up, or another relay was reached again.
    Hurry,
    /// The daemon stops.
    Stop {
        /// What the relay is told.
        reason: Reason,
    },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Dial a control socket.
    Connect {
        /// Its generation.
        generation: Generation,
    },
    /// Answer the challenge of the control socket.
    Answer,
    /// Ask the relay on the control socket whether it is there.
    Ping,
    /// End the control socket, or its dialling.
    Disconnect {
        /// What the relay is told, if it still listens.
        reason: Reason,
    },
    /// Dial a data socket.
    OpenPeer {
        /// Its number.
        peer: PeerId,
        /// For which session.
        session: RouteKey,
    },
    /// The relay was away: make sure soon that this data socket is not half-open.
    CheckPeer {
        /// Which.
        peer: PeerId,
    },
    /// End a data socket, or its dialling, and with it its lanes. Nothing more is to be said about it.
    ClosePeer {
        /// Which.
        peer: PeerId,
    },
}

/// The machine of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayLink {
    config: RelayConfig,
    state: State,
    generation: Generation,
    pacing: Pacing,
    /// The last attempt that was hurried.
    hurried_at: Option<Moment>,
    sessions: Sessions,
    stale: u64,
    refused: u32,
    effects: Outbox<Effect>,
    transitions: Outbox<Transition>,
}

impl RelayLink {
    /// A link that waits for [`Input::Start`].
    pub fn new(config: RelayConfig) -> Self {
        Self {
            state: State::Idle,
            generation: Generation::ZERO,
            pacing: Pacing::new(&config),
            hurried_at: None,
            sessions: Sessions::new(config),
            config,
            stale: 0,
            refused: 0,
            effects: Outbox::default(),
            transitions: Outbox::default(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.is_stale(&input) {
            self.stale = self.stale.saturating_add(1);
            return;
        }
        self.transition(now, input);
    }

    /// To be called when [`RelayLink::poll_timeout`] has passed. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.expire(now);
    }

    /// When [`RelayLink::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let own = match &self.state {
            State::Connecting { deadline } => Some(*deadline),
            State::Registered { heartbeat, .. } => Some(heartbeat.deadline()),
            State::Waiting { until, .. } => Some(*until),
            State::Idle | State::Stopped => None,
        };
        own.into_iter().chain(self.sessions.deadline()).min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// The next record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Where the link stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Of the newest control socket.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Registrations and attempts that ended since a registration has lasted.
    pub const fn failures(&self) -> u32 {
        self.pacing.failures()
    }

    /// Sessions that the relay counts, as far as is known.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Data sockets that exist or are being dialled, those that only finish included.
    pub fn peers(&self) -> usize {
        self.sessions.peers()
    }

    /// Sessions that were ignored because there were too many.
    pub const fn over_limit(&self) -> u64 {
        self.sessions.over_limit()
    }

    /// Hashes what decides the future, relative to `now` and without jitter, for exploration.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        self.state.name().hash(hasher);
        self.poll_timeout().map(|due| due.since(now)).hash(hasher);
        self.sessions.fingerprint(now, hasher);
    }

    /// How much news came of control sockets and peers that were no more; it changed nothing.
    pub const fn stale(&self) -> u64 {
        self.stale
    }

    /// How many changes of state were not in the table and did not happen: a defect if not zero.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}
