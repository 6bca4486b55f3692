//! Every state machine of Bowline, client side and daemon side (architecture rule 1).
//!
//! A machine decides; a driver executes. Machines do no I/O, own no clock and draw no randomness: time, seeds
//! and identities come in as arguments. All of them speak one vocabulary:
//!
//! * `handle(now, input)` feeds one input of a closed enum,
//! * `poll_timeout()` tells when `handle_timeout(now)` wants to be called,
//! * `poll_effect()` hands out what the driver must do, in order, until it returns `None`,
//! * `poll_transition()` hands out one [`Transition`] for every change of state, for the log (OB),
//! * getters show the state; nothing else does (INV-14).
//!
//! Call order: `handle…`, then `poll_effect` until empty, then `poll_transition` until empty, then `poll_timeout`.

pub mod backoff;
pub mod client;
pub mod connection;
pub mod directory;
pub mod host;
pub mod load;
pub mod optimistic;
mod outbox;
pub mod prng;
pub mod relay;
pub mod screen;
pub mod session;
pub mod time;
pub mod timeline;
pub mod transition;

pub use time::{Generation, Moment};
pub use transition::{Path, Transition};
