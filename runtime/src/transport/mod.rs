//! Transports: each owns exactly one connection (INV-4) and carries whole binary messages.
//!
//! A transport reports open (by existing), message, error and close, the latter two with a typed reason. What the
//! messages mean is sealed by [`link`], the same over every kind of transport.

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

/// Why a transport ended, and what may be believed of it (TR-2): a reason that ends attempts is here only if the daemon said it
/// inside the encryption ([`Closed::sealed`]). Whatever else a peer claims is a lost connection, with the claim for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    reason: Reason,
    /// What somebody claimed and nothing proves.
    claimed: Option<Reason>,
    retry_after: Option<Duration>,
}

impl Closed {
    /// The daemon said so, or showed it, inside the encryption.
    pub const fn sealed(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self {
            reason,
            claimed: None,
            retry_after,
        }
    }

    /// Somebody says so in clear.
    pub const fn claimed(claim: Claim, retry_after: Option<Duration>) -> Self {
        Self {
            reason: claim.believed(),
            claimed: claim.disbelieved(),
            retry_after,
        }
    }

    /// The reason to act upon.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Not before this time, if the peer said so.
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
                "{} (something on the way said {claimed}, without proof)",
                self.reason
            ),
        }
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self {
            retry_after_ms: closed
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            unproved: closed.claimed,
            ..Self::new(closed.reason, closed.to_string())
        }
    }
}

/// One open connection.
pub trait Transport: Send + Unpin {
    /// The next message. After an error the transport is over.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>>;

    /// Bytes received so far, of messages that are not complete yet too, and of frames that are no messages: any of
    /// them shows that the peer is there (lesson 16). Only grows; looked at after each [`Transport::poll_recv`].
    fn received(&self) -> u64;

    /// Whether another message may be queued; pending means that the peer reads too slowly.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Queues a message; nothing is promised to be sent before [`Transport::poll_flush`].
    ///
    /// # Errors
    /// [`Closed`] when the transport is over.
    fn queue(&mut self, message: Vec<u8>) -> Result<(), Closed>;

    /// Sends what is queued.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Says the reason to the peer and ends the connection. The caller bounds the wait.
    fn close(self: Box<Self>, reason: Reason) -> BoxFuture<()>;
}

/// A boxed future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens transports. The default is [`WebSocketConnector`]; simulations bring their own network.
pub trait Connector: Send + Sync + 'static {
    /// Opens one connection to that address.
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>>;
}

/// One configured way to a host, as stored and shown.
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

/// An address with what its URL is made of.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to.
    pub address: Address,
    /// The daemon to be reached.
    pub server_id: ServerId,
    /// What a relay routes by.
    pub route_key: RouteKey,
}
