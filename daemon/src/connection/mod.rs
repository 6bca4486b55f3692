//! Connections: one socket each, from handshake to close (SV-4).
//!
//! * [`acceptor`] has the state all connections share
//! * [`socket`] is the interface of a socket; [`websocket`] is a direct one, a relay's lane
//!   (`daemon/src/relay`) the other
//! * [`handshake`] attaches a socket to its session
//! * [`link`] maps JSON-RPC texts to messages (or, for the local socket, to lines)
//! * [`driver`] runs an open connection; [`requests`] takes its input, [`answers`] encodes its
//!   responses, [`backlog`] holds unsent output
//! * [`life`] is the task of a connection: handshake, driver, close
//! * [`registry`] lists all connections

mod acceptor;
mod access;
mod answers;
mod backlog;
mod driver;
mod handshake;
mod life;
mod link;
mod registry;
mod requests;
mod socket;
mod websocket;

pub use acceptor::Acceptor;
pub use handshake::serve;
pub use registry::{ConnectionInfo, ConnectionRegistry, Entry, Kind, Listed, Totals, Who};
pub use socket::{Gone, MessageSocket, Received};
pub use websocket::WebSocket;

pub(crate) use handshake::serve_local;
pub(crate) use link::{TextChannel, TextEvent};
