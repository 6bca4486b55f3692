//! Development only: building blocks of tests, demo and bench.
//!
//! [`eventually()`] polls for a condition; every crate's tests use it,
//! and [`attack_time()`] says how long a test keeps up an attack. With the features of
//! these names, [`peer`] is a model daemon's side of a connection, and `shell` runs programs as
//! from a shell, on Unix. The rest requires the feature `world`:
//! [`Proxy`] stands in front of an address and cuts, freezes, delays or loses traffic. [`Chaos`]
//! does so on a seeded schedule, so that a run can be repeated. [`world`] starts the real programs,
//! and [`demo`] runs the story of `cargo xtask demo` with them.

mod attack;
#[cfg(feature = "world")]
pub mod chaos;
#[cfg(feature = "world")]
pub mod demo;
mod eventually;
#[cfg(feature = "world")]
mod link;
#[cfg(feature = "peer")]
pub mod peer;
#[cfg(feature = "world")]
pub mod proxy;
#[cfg(feature = "world")]
pub mod random;
#[cfg(all(unix, feature = "shell"))]
pub mod shell;
#[cfg(feature = "world")]
pub mod world;

pub use attack::attack_time;
#[cfg(feature = "world")]
pub use chaos::{Chaos, ChaosReport, Fault, Plan, Schedule};
pub use eventually::{LONG, Look, NotYet, blocking, eventually, try_eventually};
#[cfg(feature = "world")]
pub use proxy::{Counters, Proxy};
