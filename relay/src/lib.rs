//! The Bowline relay connects clients to a daemon that cannot be dialled directly. It cannot read,
//! forge, reorder or replay the messages it forwards (RL-1 to RL-5, `docs/protocol.md` §9).
//!
//! | module | owns |
//! |---|---|
//! | `listener` | sockets from accept to upgrade, and where their requests lead |
//! | `control` | a daemon's control socket: proof of identity, then events about its sessions |
//! | `session` | one client session: its client sockets and the daemon's data socket |
//! | `registry` | registered daemons and their sessions, under one lock |
//! | `origins` | which registrations are meant for this relay |
//! | `admission` | limits per client address: `connection_limits`, `rate`, `proxies` |
//! | `parts` | state that the tasks share |
//! | `websocket`, `messages`, `socket`, `stream`, `scratch`, `tls` | bytes |
//! | `clock`, `timer` | the clock of the machines, and their deadlines |
//! | [`config`], [`commands`], [`relay`] | settings, the program, start and shutdown |
//!
//! The machines in `bowline_machines::relay` decide for `registry`, `control` and `session`.
//!
//! All state is in memory. After a restart the relay has none, and its peers register again.

mod admission;
mod clock;
pub mod commands;
pub mod config;
mod connection_limits;
mod control;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod listener;
mod messages;
mod metrics;
mod origins;
mod parts;
mod proxies;
mod rate;
mod registry;
pub mod relay;
mod scratch;
mod session;
mod socket;
mod stream;
mod timer;
mod tls;
mod websocket;

pub use bowline_program::BindError;
pub use relay::{Relay, StartError};
pub use tls::TlsError;
