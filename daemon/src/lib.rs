//! The Bowline daemon as a library: listeners, connections, sessions, services, store.
//!
//! The program `bowline-daemon` is a thin one around it (`daemon/program`). An app's author adds
//! methods by implementing one trait, [`service::Service`], in a program whose `main` is [`run`];
//! `daemon/examples/voxel.rs` is one.
//!
//! Modules, each using only those above it in this table (`cargo xtask tidy` checks the whole
//! order):
//!
//! | modules | own |
//! |---|---|
//! | [`rpc`], [`outbound`], [`clock`], [`files`], [`identity`], [`process`] | shared basics: answers, queues, time, files, keys, processes |
//! | [`store`], [`ledger`] | all durable state, and the one thread that writes it |
//! | [`service`], [`blobs`], [`system`] | methods |
//! | [`config`] | settings |
//! | [`connection`], `listener`, [`relay`], [`control`] | sockets, from accept to close |
//! | [`metrics`], [`setup`], [`Program`] | what a program and its services are made of |
//! | [`daemon`] | start, supervision and shutdown; `commands` is the program |

pub mod belonging;
pub mod blobs;
pub mod blocking;
mod caller;
pub mod clock;
mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod daemon;
pub mod executable;
pub mod files;
pub mod identity;
pub mod ledger;
mod listener;
pub mod metrics;
pub mod observe;
mod obstacle;
pub mod outbound;
pub mod process;
mod program;
pub mod relay;
pub mod rpc;
pub mod service;
pub mod setup;
pub mod state_dir;
pub mod store;
pub mod system;
mod vigil;

pub use program::Program;

/// The `main` of a daemon: parses the command line, runs the command, reports errors.
pub fn run(program: Program) -> std::process::ExitCode {
    commands::main(program, std::env::args_os().collect())
}

/// Version of the daemon, as sent in the welcome.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
