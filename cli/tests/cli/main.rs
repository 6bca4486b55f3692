//! The program against a real daemon, as its user sees it: exit codes, output, and what survives what.
//!
//! The prompts are lines of a Unix shell. What does not depend on the platform is covered beside the code.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod errors;
mod output;
mod reading;
mod running;
mod support;
mod surviving;
