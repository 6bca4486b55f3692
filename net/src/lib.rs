//! How a connection is opened, once for the runtime and the daemon: a name becomes addresses, an address a stream, perhaps
//! through a proxy and under TLS, and the stream a WebSocket.
//!
//! * [`Dialer`] does all of it; its caller bounds the time
//! * [`Endpoint`] is where to: a relay's path, or the address of a daemon
//! * [`Resolver`] looks names up on threads of its own, so that a name that hangs holds nothing else up
//! * [`race`] tries the addresses of a name (RFC 8305)
//! * [`Proxies`] are the rules of `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, or of an app
//! * [`Tls`] is the trust under `wss`
//! * [`DialError`] is the closed list of what goes wrong, with its [`Reason`](bowline_protocol::Reason)
//!
//! What is said on the socket, and when to dial again, is the business of others.

mod counted;
mod dialer;
mod endpoint;
mod error;
mod proxy;
mod race;
mod resolver;
mod retry_after;
mod tls;

pub use counted::{Count, Counted};
pub use dialer::{Dialer, Opened, Opening, Socket, Wire};
pub use endpoint::{AddressError, Endpoint};
pub use error::DialError;
pub use proxy::{Proxies, ProxyProblem};
pub use resolver::{NameError, Resolver};
pub use tls::{RootError, Tls, TlsProblem};
