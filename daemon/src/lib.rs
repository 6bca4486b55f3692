//! The Bowline daemon as a library: listeners, connections, sessions, services, agents, store.
//!
//! `bowline-daemon` is a thin binary around it. An app's author adds methods by implementing one
//! service trait and linking this library into a binary of their own.

pub mod agents;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod daemon;
pub mod identity;
pub mod ledger;
pub mod listener;
pub mod observe;
pub mod outbound;
pub mod service;
pub mod state_dir;
pub mod store;
pub mod system;

/// Version of the daemon, as the welcome says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
