//! The runtime against a controlled daemon: an in-memory network, virtual time, and connections
//! that fail, stall and return at the worst time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cached;
mod claims;
mod client;
mod daemon;
mod dialing;
mod intents;
mod lifecycle;
mod net;
mod pairing;
mod pausing;
mod queries;
mod receipts;
mod rig;
mod screens;
mod serving;
mod settling;
mod standing;
mod story;
mod switching;
mod table;
mod tables;
mod timelines;
mod tls;
mod topics;
mod truth;
mod windows;
