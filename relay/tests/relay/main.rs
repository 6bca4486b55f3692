//! The relay on loopback, with daemons and clients made of plain WebSockets: they share none of its code but the
//! protocol crate.
//!
//! One module a capability. `peers` speaks the wire, rightly or wrongly, one step at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod peers;

mod absence;
mod http;
mod limits;
mod pressure;
mod program;
mod registration;
mod routing;
mod tls;
