//! Connections: one socket each, from handshake to close (SV-4).
//!
//! * [`socket`] is what is needed of a socket; [`websocket`] is a direct one, a relay's lane the other (`daemon/src/relay`)
//! * [`handshake`] brings a socket to the point where it is attached to its session
//! * [`link`] makes JSON-RPC texts of messages (or, for the local socket, of lines)
//! * [`driver`] runs an open connection; [`requests`] and [`answers`] are its two ends, [`backlog`] what waits between
//! * [`life`] is the task of a connection: from the handshake to the driver to the close
//! * [`registry`] lists them all

mod access;
mod answers;
mod backlog;
mod driver;
mod environment;
mod handshake;
mod life;
mod link;
mod registry;
mod requests;
mod socket;
mod websocket;

pub use environment::Environment;
pub use handshake::{list, serve};
pub use registry::{ConnectionInfo, Entry, Kind, Listed, Registry, Totals, Who};
pub use socket::{Gone, MessageSocket, Received};
pub use websocket::WebSocket;

pub(crate) use handshake::serve_local;
pub(crate) use link::{Heard, Link};
