//! The relay on loopback, with daemons and clients made of plain WebSockets: they share only the
//! protocol crate with it.
//!
//! One module per capability. `peers` speaks the wire protocol, validly or not, step by step.

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
