//! Opens connections for the runtime and the daemon: resolves names, races addresses, passes
//! proxies, and opens TLS and WebSockets.
//!
//! * [`Dialer`] runs all of these steps; its caller sets the timeout
//! * [`Destination`] is the target: a path at a relay, or a daemon's address
//! * [`Resolver`] looks names up on its own threads, so that a hanging name blocks nothing else
//! * `race` tries the addresses of a name (RFC 8305)
//! * [`Proxies`] are the rules of `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, or of an app
//! * [`Tls`] is the trust used for `wss`
//! * [`DialError`] is the closed list of errors, each with its [`Reason`](bowline_protocol::Reason)
//!
//! The callers own the messages on the socket and decide when to dial again.

mod counted;
mod destination;
mod dialer;
mod error;
mod proxy;
mod race;
mod resolver;
mod retry_after;
mod tls;

pub use counted::{Count, counted};
pub use destination::{AddressError, Destination};
pub use dialer::{Dialer, Opened, Opening, Socket, Wire};
pub use error::{ConnectProblem, DialError};
pub use proxy::{Proxies, ProxyProblem};
pub use resolver::{NameError, Resolver};
pub use tls::{RootError, Tls, TlsProblem};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
