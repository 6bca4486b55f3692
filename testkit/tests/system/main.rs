//! The whole system on real sockets: real daemons, a client, and a network with injected faults.
//! One module per capability; each test names the requirements it proves.
//!
//! Long tests are bounded to about a minute and a half. `BOWLINE_SEED` repeats a seeded run, and
//! `BOWLINE_ATTACK_SECONDS` says how long attacks are kept up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing
)]

mod cases;
mod chaos;
mod chaos_live;
#[cfg(unix)]
mod chaos_relay;
mod directory;
mod intents;
mod liveness;
mod log;
mod netns;
mod netns_machines;
mod observability;
mod paths;
mod relay;
mod relay_hostile;
mod relay_world;
mod restart;
mod screens;
mod security;
mod session;
mod silence;
mod simulation;
mod trust;
mod voxel;
#[cfg(unix)]
mod windows;
mod world;

/// A test's result: errors name the awaited and the actual state.
type Outcome = Result<(), Box<dyn std::error::Error>>;
