//! Every state machine of Bowline, of clients, daemons and relays: pure decisions, without I/O.
//!
//! A machine decides; a driver executes. Machines do no I/O, read no clock and draw no random
//! numbers: time, seeds and identities are arguments. They share one vocabulary, of which each has
//! what it needs:
//!
//! * `handle(now, input)` feeds one input of a closed enum; some machines have a method for each
//!   input instead,
//! * `poll_timeout()` returns when `handle_timeout(now)` must be called next,
//! * `poll_effect()` returns the next effect for the driver to execute, in order, `None` when there
//!   are no more,
//! * `poll_transition()` returns one [`Transition`] for every change of state, for the log (OB-1),
//! * getters expose the state; nothing else does (INV-14).
//!
//! Call order: `handle…`, then `poll_effect` until empty, then `poll_transition` until empty, then
//! `poll_timeout`.

pub mod backoff;
pub mod client;
pub mod daemon;
pub mod data;
mod effects;
pub mod liveness;
mod machine_core;
pub mod prng;
pub mod relay;
pub mod socket_health;
pub mod stalls;
pub mod time;
pub mod transition;

pub use time::{Attach, Generation, MonotonicTime};
pub use transition::{Path, Transition};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
