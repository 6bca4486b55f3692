//! Development only: a network between a client and a daemon that tests can break on purpose.
//!
//! [`Proxy`] stands in front of an address and cuts, freezes, delays or loses what passes. [`Chaos`] does so
//! on a schedule that a seed decides, so that a run can be played again. [`world`] starts the real programs, and
//! [`demo`] plays the story of `cargo xtask demo` with them; [`bench`] measures them.

pub mod bench;
pub mod chaos;
pub mod demo;
mod link;
pub mod proxy;
pub mod random;
pub mod world;

pub use chaos::{Chaos, ChaosReport, Fault, Plan, Schedule};
pub use proxy::{Counters, Proxy};
