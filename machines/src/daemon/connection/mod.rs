//! The daemon's side of one connection: handshake, requests, idle timeout and close (SV-4). It
//! serves session sockets and local sockets alike.
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
//! **Cost.** A request is two calls ([`Connection::start_request`], [`Connection::finish_request`])
//! that touch one slab slot and one counter. `Active`, `Processing` and `Idle` are written
//! directly, without a transition record: records are for the connection's life (OB-1: one line per
//! connection event), and requests are counted in [`Connection::requests`].
//!
//! **Deadlines.** All requests share one timeout, so the slab's entries are linked in order of age
//! and only the oldest can be due. A finished one is unlinked at once. Traffic only moves the idle
//! deadline later, so a driver may leave its timer armed and read the new deadline when it fires.
//!
//! **A stalled clock** (LS-5): after a timer that fires later than a sweep can cause
//! ([`crate::liveness::SWEPT_CLOCK_JUMP`]), requests and the idle timeout get their full time again
//! instead of expiring together.
//!
//! **The end.** On `Closing` all pending requests leave the machine: their work continues, intents
//! record their outcome (BX-1), and [`Connection::finish_request`] returns `false` for them.

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

use crate::{
    MonotonicTime, Path,
    machine_core::{MachineCore, outputs},
};
use requests::Requests;

/// Bounds of a connection, shared by all connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionConfig {
    /// Time from the accepted socket to the end of the handshake; `None` without a handshake (local
    /// socket).
    pub hello_deadline: Option<Duration>,
    /// Time without traffic or pending requests after which the connection is closed; zero disables
    /// it.
    pub idle_timeout: Duration,
    /// Time after which a request is answered with `timeout`; zero disables it.
    pub request_timeout: Duration,
    /// Most pending requests; further ones are answered with `overloaded`.
    pub max_pending: u32,
    /// Longest close before the socket is dropped.
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

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The handshake is under way.
    New {
        /// Its deadline.
        deadline: MonotonicTime,
    },
    /// Open; no request so far.
    Active,
    /// Requests are pending.
    Processing {
        /// Number of pending requests, at least one.
        pending: u32,
    },
    /// Open; every request was answered.
    Idle {
        /// Time of the last answer.
        since: MonotonicTime,
    },
    /// The close is under way.
    Closing {
        /// The reason of the close.
        reason: Reason,
        /// When the socket is dropped without waiting for the peer.
        deadline: MonotonicTime,
    },
    /// Final.
    Closed {
        /// The reason of the close.
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

/// Inputs of a connection, except requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The client's `session.ready` was accepted.
    HandshakeDone,
    /// Bytes arrived. Hot path: two stores.
    Received,
    /// Bytes were sent. An event-only connection does not idle out.
    Sent,
    /// The bounded outbound queue is full because the peer reads too slowly (LS-19).
    OutboundOverflow,
    /// The socket ended, on either side.
    PeerClosed {
        /// The peer's close reason, or [`Reason::ConnectionLost`].
        reason: Reason,
    },
    /// This side closes the connection.
    Close {
        /// The reason of the close.
        reason: Reason,
    },
}

/// Whether a request is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Run it and report [`Connection::finish_request`] with this slot.
    Admitted(RequestSlot),
    /// Answer it with `overloaded`.
    Overloaded,
    /// Drop it without an answer: it came before the handshake (`bad_request`) or after the close
    /// began.
    Refused,
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write the close (code, or `connection.closing` on a local socket) after the queued messages;
    /// read no more requests.
    BeginClose {
        /// The reason of the close.
        reason: Reason,
    },
    /// Answer the request with `timeout` and stop waiting for it.
    RequestTimedOut {
        /// The request.
        slot: RequestSlot,
    },
    /// Drop the socket and forget the connection.
    Terminate {
        /// The reason of the close.
        reason: Reason,
    },
}

/// The connection machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    core: MachineCore<State, Effect>,
    active_at: MonotonicTime,
    received: u64,
    requests: Requests,
    path: Path,
}

impl Connection {
    /// Creates the machine of an accepted socket. Without a hello deadline it starts in `Active`.
    pub fn new(config: Arc<ConnectionConfig>, path: Path, now: MonotonicTime) -> Self {
        let state = match config.hello_deadline {
            Some(deadline) => State::New {
                deadline: now + deadline,
            },
            None => State::Active,
        };
        Self {
            config,
            core: MachineCore::new(state),
            active_at: now,
            received: 0,
            requests: Requests::default(),
            path,
        }
    }

    /// Feeds one input other than a request.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match input {
            // Outside the table because it is a hot path and the same in every state.
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

    /// Handles a request that was read.
    pub fn start_request(&mut self, now: MonotonicTime) -> Admission {
        self.admit(now)
    }

    /// Handles a request's answer. `false`: do not send it, because the request timed out or the
    /// connection is closing.
    pub fn finish_request(&mut self, now: MonotonicTime, slot: RequestSlot) -> bool {
        if !self.requests.finish(slot) {
            self.core.count_stale();
            return false;
        }
        self.settle(now);
        true
    }

    /// Frees the memory of the request slab if none is pending. Called by a driver before it waits.
    pub fn trim(&mut self) {
        if self.requests.pending() == 0 {
            self.requests.clear();
        }
    }

    /// When to call [`Connection::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        match *self.state() {
            State::New { deadline } | State::Closing { deadline, .. } => Some(deadline),
            State::Active | State::Idle { .. } => self.idle_deadline(),
            State::Processing { .. } => self.requests.oldest_deadline(),
            State::Closed { .. } => None,
        }
    }

    fn idle_deadline(&self) -> Option<MonotonicTime> {
        (!self.config.idle_timeout.is_zero()).then(|| self.active_at + self.config.idle_timeout)
    }

    outputs!(State, Effect);

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

    /// Time of the last traffic in either direction.
    pub const fn active_at(&self) -> MonotonicTime {
        self.active_at
    }

    /// Kind of path.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Whether requests are accepted.
    pub const fn is_open(&self) -> bool {
        matches!(
            self.state(),
            State::Active | State::Processing { .. } | State::Idle { .. }
        )
    }

    /// Whether the connection is closed.
    pub const fn is_closed(&self) -> bool {
        matches!(*self.state(), State::Closed { .. })
    }
}
