//! Transports: each owns exactly one connection (INV-4) and carries whole binary messages.
//!
//! A transport reports open (by existing), message, error and close, the last two with a typed
//! reason. [`link`] seals the messages, identically over every kind of transport.

mod connector;
pub mod link;
mod websocket;

pub use connector::WebSocketConnector;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::Path;
use bowline_protocol::{Claim, Reason, RouteKey, ServerId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Why a transport ended, and which part of that is trusted (TR-2): a reason that ends attempts is
/// present only if the daemon sent it inside the encryption ([`Closed::sealed`]). Any other claim
/// of a peer counts as a lost connection and is kept as text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    reason: Reason,
    /// A claimed reason without proof.
    claimed: Option<Reason>,
    retry_after: Option<Duration>,
}

impl Closed {
    /// A reason sent or shown by the daemon inside the encryption.
    pub const fn sealed(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self {
            reason,
            claimed: None,
            retry_after,
        }
    }

    /// A reason received in clear.
    pub const fn claimed(claim: Claim, retry_after: Option<Duration>) -> Self {
        Self {
            reason: claim.believed(),
            claimed: claim.disbelieved(),
            retry_after,
        }
    }

    /// The reason to act on.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Earliest time of a retry, if the peer sent one.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<Reason> for Closed {
    fn from(seen: Reason) -> Self {
        Self::claimed(seen.into(), None)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claimed {
            None => write!(f, "{}", self.reason),
            Some(claimed) => write!(
                f,
                "{} (a party on the path claimed {claimed}, without proof)",
                self.reason
            ),
        }
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self {
            retry_after: closed.retry_after,
            unproved: closed.claimed,
            ..Self::new(closed.reason, closed.to_string())
        }
    }
}

/// One open connection.
pub trait Transport: Send + Unpin {
    /// The next message. After an error the transport has ended.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>>;

    /// Bytes received so far, including incomplete messages and control frames: any of them shows
    /// that the peer is alive (LS-16). Only increases; read after each [`Transport::poll_recv`].
    fn received(&self) -> u64;

    /// Ready when another message may be queued; pending while the peer reads too slowly.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Queues a message, which may be sent only by the next [`Transport::poll_flush`].
    ///
    /// # Errors
    /// [`Closed`] if the transport has ended.
    fn queue(&mut self, message: &[u8]) -> Result<(), Closed>;

    /// Sends queued messages.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Sends the reason to the peer and ends the connection. The caller bounds the wait.
    fn close(self: Box<Self>, reason: Reason) -> BoxFuture<()>;
}

/// A boxed future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens transports. The default is [`WebSocketConnector`]; simulations provide their own network.
pub trait Connector: Send + Sync + 'static {
    /// Opens one connection to a target.
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>>;
}

/// One configured address of a host, as stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The kind of path.
    pub path: Path,
    /// `host:port` for a direct path, the base URL for a relay.
    pub address: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// An address with the parts of its URL.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address.
    pub address: Address,
    /// The expected daemon.
    pub server_id: ServerId,
    /// The routing key of a relay.
    pub route_key: RouteKey,
}
