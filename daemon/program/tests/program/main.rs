//! The program `bowline-daemon` as a process: what its commands print, how it ends, what it weighs.
//!
//! What is below the command line has its tests in `daemon/tests`, whose clients these use too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by panicking and prints what it measured"
)]

mod running;
#[path = "../../../tests/daemon/support/mod.rs"]
#[allow(dead_code, reason = "these tests use less of it than the daemon's own")]
mod support;

mod commands;
mod describe;
mod local_owner;
#[cfg(unix)]
mod local_process;
