//! The program against a real daemon: exit codes, output, and survival of disconnects and restarts.
//!
//! Prompts are Unix shell commands. Platform-independent behaviour is tested beside the code.
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
