//! Agents on a daemon: what clients can do with them, and what becomes of their programs.
//!
//! One module a capability. `bench` drives them on a ledger without sockets, `prompted` on a daemon
//! whose clients speak the wire; both use what the daemon's own tests are made of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by panicking and prints what it measured"
)]

#[path = "../../../daemon/tests/daemon/rig.rs"]
#[allow(dead_code, reason = "these tests use less of it than the daemon's own")]
mod rig;
#[path = "../../../daemon/tests/daemon/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "these tests use less of it than the daemon's own"
)]
mod support;

#[cfg(unix)]
mod bench;
#[cfg_attr(
    not(unix),
    allow(dead_code, unused_imports, reason = "turns run a Unix shell")
)]
mod prompted;

#[cfg(unix)]
mod commands;
#[cfg(unix)]
mod defects;
mod describe;
mod foreign;
mod grants;
mod limits;
#[cfg(unix)]
mod live;
#[cfg(unix)]
mod methods;
#[cfg(unix)]
mod moved;
#[cfg(unix)]
mod quotas;
#[cfg(unix)]
mod retention;
#[cfg(unix)]
mod revoking;
