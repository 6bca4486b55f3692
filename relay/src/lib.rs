//! The Bowline relay: lets clients reach a daemon that nobody can dial, and can read, forge, reorder or replay nothing of
//! what it carries (RL-1 to RL-5, `docs/protocol.md` §9).
//!
//! | module | owns |
//! |---|---|
//! | `listener` | sockets from accept to upgrade, and where their requests lead |
//! | `control` | a daemon's control socket: proof of identity, then news of its sessions |
//! | `session` | one client session: its client sockets and the daemon's data socket, forwarding, back-pressure |
//! | `registry` | who is here, under one lock that no byte passes through |
//! | `places`, `admission`, `proxies` | limits by number and by rate, and whose they are |
//! | `websocket`, `socket`, `stream`, `scratch`, `tls` | bytes |
//! | [`config`], [`commands`], [`relay`] | settings, the program, starting and ending |
//!
//! All state is in memory. A relay that restarts knows nothing, and its peers tell it everything again.

mod admission;
pub mod commands;
pub mod config;
mod control;
mod hub;
mod listener;
mod metrics;
mod places;
mod proxies;
mod registry;
pub mod relay;
mod scratch;
mod session;
mod socket;
mod stream;
mod tls;
mod websocket;

pub use listener::BindError;
pub use relay::{Relay, StartError};
pub use tls::TlsError;
