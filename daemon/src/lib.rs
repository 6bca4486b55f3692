//! The Bowline daemon as a library: listeners, connections, sessions, services, agents, store.
//!
//! `bowline-daemon` is a thin binary around it. An app's author adds methods by implementing one trait,
//! [`service::Service`], in a binary of their own whose `main` is [`run`]; `daemon/examples/voxel.rs` is one.

pub mod agents;
pub mod belonging;
pub mod blocking;
pub mod clock;
mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod daemon;
pub mod identity;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod observe;
mod obstacle;
pub mod outbound;
mod program;
pub mod relay;
pub mod service;
pub mod state_dir;
pub mod store;
pub mod system;
mod vigil;

pub use program::{Program, run};

/// The `main` of `bowline-daemon`.
pub fn run_bowline() -> std::process::ExitCode {
    run(Program::bowline())
}

/// Version of the daemon, as the welcome says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
