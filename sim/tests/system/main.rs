//! The whole system on real sockets: real daemons, a client, and a network between them that breaks on
//! purpose. One module a capability; each test names the requirements it proves.
//!
//! Long ones are bounded to about a minute and a half. `BOWLINE_SEED` plays a seeded run again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod chaos;
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
mod simulation;
mod voxel;
mod world;

/// What a test comes to: its errors say what was awaited and what was there instead.
type Outcome = Result<(), Box<dyn std::error::Error>>;
