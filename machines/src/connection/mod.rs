//! The daemon's view of one connection: handshake, requests, idleness and the end (SV-4). It serves the session socket
//! and the local socket alike.
//!
//! ```text
//!  New ──handshake done──► Active ──request──► Processing ◄──request──┐
//!   │                        │                     │ last one done    │
//!   │                        │                     └───────────────► Idle
//!   │ hello deadline         │ close / overflow / idle timeout         │
//!   └──────────────► Closing ◄─────────────────────────────────────────┘
//!                       │ peer closed / deadline
//!                       ▼
//!                     Closed (also straight from any state when the socket ends)
//! ```
//!
//! **Cost.** A request is two calls ([`Connection::start_request`], [`Connection::finish_request`]) that touch a slot of a
//! slab and a counter. `Active`, `Processing` and `Idle` are written directly and leave no transition record: records are for
//! the connection's life (OB: one line for each connection event), requests are counted in [`Connection::requests`].
//!
//! **Deadlines.** All requests share one timeout, so the slab's entries are also linked in order of age and only the
//! oldest can be due. A finished one is unlinked at once; nothing is left behind it. Everything that is heard only
//! moves the idle deadline later, so a driver may leave its timer armed and ask again when it fires.
//!
//! **A stalled clock** (lesson 5): a timer that comes more than [`STALL`] late means that this machine slept or that the
//! daemon did not run. Then requests and the idle time get their full time again instead of expiring together.
//!
//! **The end.** On `Closing` all pending requests leave the machine: their work goes on, intents record their outcome (BX-1),
//! and [`Connection::finish_request`] answers that nobody waits on this connection any more.

mod requests;
mod transitions;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    Reason,
    limits::{HANDSHAKE_DEADLINE, MAX_IN_FLIGHT},
};

pub use requests::RequestSlot;

use crate::{Moment, Path, Transition, outbox::Outbox};
use requests::Requests;

/// How late a timer may be before the clock is taken to have stood still.
pub const STALL: Duration = Duration::from_secs(10);

/// Bounds of a connection, shared by all of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionConfig {
    /// From the accepted socket to the end of the handshake; `None` where there is none (local socket).
    pub hello_deadline: Option<Duration>,
    /// Silence with nothing pending after which the connection is closed; zero is never.
    pub idle_timeout: Duration,
    /// After which a request is answered with `timeout`; zero is never.
    pub request_timeout: Duration,
    /// Most requests pending; one over it is answered with `overloaded`.
    pub max_pending: u32,
    /// How long a close may take before the socket is dropped.
    pub closing_deadline: Duration,
}

impl ConnectionConfig {
    /// The defaults of a session socket.
    pub const fn session() -> Self {
        Self {
            hello_deadline: Some(HANDSHAKE_DEADLINE),
            idle_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(60),
            max_pending: MAX_IN_FLIGHT,
            closing_deadline: Duration::from_secs(3),
        }
    }

    /// The defaults of a local socket: no handshake.
    pub const fn local() -> Self {
        Self {
            hello_deadline: None,
            ..Self::session()
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The handshake is under way.
    New {
        /// Until when it must be done.
        deadline: Moment,
    },
    /// Open; nothing was asked so far.
    Active,
    /// Requests are pending.
    Processing {
        /// How many, at least one.
        pending: u32,
    },
    /// Everything asked was answered.
    Idle {
        /// Since when.
        since: Moment,
    },
    /// The close is under way.
    Closing {
        /// Why.
        reason: Reason,
        /// When the socket is dropped without the peer's consent.
        deadline: Moment,
    },
    /// Over for good.
    Closed {
        /// Why.
        reason: Reason,
    },
}

impl State {
    /// The name in logs and listings.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::New { .. } => "new",
            Self::Active => "active",
            Self::Processing { .. } => "processing",
            Self::Idle { .. } => "idle",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
        }
    }
}

/// What can happen to a connection, requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The client's `session.ready` was accepted.
    HandshakeDone,
    /// Bytes came in. Hot: two stores.
    Received,
    /// Bytes went out. An event stream that is only listened to is not idle.
    Sent,
    /// The bounded outbound queue is full: the peer reads too slowly (lesson 19).
    OutboundOverflow,
    /// The socket ended, on whichever side.
    PeerClosed {
        /// The peer's close reason, or [`Reason::ConnectionLost`].
        reason: Reason,
    },
    /// This side wants it to end.
    Close {
        /// Why.
        reason: Reason,
    },
}

/// Whether a request may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Run it and report [`Connection::finish_request`] with this slot.
    Admitted(RequestSlot),
    /// Answer it with `overloaded`.
    Overloaded,
    /// Do not answer: before the handshake (`bad_request`) or after the close began.
    Refused,
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write the close (code, or `connection.closing` on a local socket) behind what is queued; read no more requests.
    BeginClose {
        /// Why.
        reason: Reason,
    },
    /// Answer that request with `timeout` and stop waiting for it.
    RequestTimedOut {
        /// Which.
        slot: RequestSlot,
    },
    /// Drop the socket and forget the connection.
    Terminate {
        /// Why.
        reason: Reason,
    },
}

/// The connection machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    state: State,
    active_at: Moment,
    received: u64,
    requests: Requests,
    stale: u32,
    refused: u32,
    path: Path,
    effects: Outbox<Effect>,
    transitions: Outbox<Transition>,
}

impl Connection {
    /// An accepted socket. Without a hello deadline it is `Active` at once.
    pub fn new(config: Arc<ConnectionConfig>, path: Path, now: Moment) -> Self {
        let state = match config.hello_deadline {
            Some(deadline) => State::New {
                deadline: now + deadline,
            },
            None => State::Active,
        };
        Self {
            config,
            state,
            active_at: now,
            received: 0,
            requests: Requests::default(),
            stale: 0,
            refused: 0,
            path,
            effects: Outbox::default(),
            transitions: Outbox::default(),
        }
    }

    /// Feeds one input other than a request.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            // Ahead of the table because it is hot and the same in every state.
            Input::Received => {
                self.active_at = now;
                self.received = self.received.wrapping_add(1);
            }
            Input::Sent => self.active_at = now,
            Input::HandshakeDone
            | Input::OutboundOverflow
            | Input::PeerClosed { .. }
            | Input::Close { .. } => self.transition(now, input),
        }
    }

    /// A request was read.
    pub fn start_request(&mut self, now: Moment) -> Admission {
        self.admit(now)
    }

    /// A request's answer is ready. `false`: nobody waits for it on this connection any more (it timed out, or the
    /// connection is closing); do not send it.
    pub fn finish_request(&mut self, now: Moment, slot: RequestSlot) -> bool {
        if !self.requests.finish(slot) {
            self.stale = self.stale.saturating_add(1);
            return false;
        }
        self.settle(now);
        true
    }

    /// Gives back what was allocated for requests, if none is pending. For a driver that is about to wait.
    pub fn give_back(&mut self) {
        if self.requests.pending() == 0 {
            self.requests.clear();
        }
    }

    /// To be called when [`Connection::poll_timeout`] has passed. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.expire(now);
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            State::New { deadline } | State::Closing { deadline, .. } => Some(deadline),
            State::Active | State::Idle { .. } => self.idle_deadline(),
            State::Processing { .. } => self.requests.oldest_deadline(),
            State::Closed { .. } => None,
        }
    }

    fn idle_deadline(&self) -> Option<Moment> {
        (!self.config.idle_timeout.is_zero()).then(|| self.active_at + self.config.idle_timeout)
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// The next record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Where the connection stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Requests pending.
    pub const fn pending(&self) -> u32 {
        self.requests.pending()
    }

    /// Requests admitted so far.
    pub const fn requests(&self) -> u64 {
        self.requests.total()
    }

    /// Messages received so far.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// When it was last heard of or written to.
    pub const fn active_at(&self) -> Moment {
        self.active_at
    }

    /// Which way it goes.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Whether requests are taken.
    pub const fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Active | State::Processing { .. } | State::Idle { .. }
        )
    }

    /// Whether it is over.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// How many answers came for requests that nobody waits for any more; they changed nothing.
    pub const fn stale(&self) -> u32 {
        self.stale
    }

    /// How many changes of state were not in the table and did not happen: a defect if not zero.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}
