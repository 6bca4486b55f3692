//! The decisions of relaying on both of its ends: the lane of each client socket, backpressure from
//! receivers that stall, and what they lose (RL-3, RL-4).
//!
//! [`registry`] runs in the relay, for all daemons and their sessions, [`control`] for the control
//! socket of a daemon, [`absence`] for daemons without one, and [`session`] for the client sockets
//! of one session and the daemon's data socket. [`data`] runs in the daemon, for the lanes of one
//! data socket, and [`lane`] for each lane. [`stalls`](crate::stalls) is their common rule for
//! stalled receivers. The bounds are in [`bowline_protocol::relay::limits`]. Bytes stay in the
//! drivers: the machines handle lengths, lanes and times, and on the path of a frame they return
//! values instead of effects.

pub mod absence;
pub mod control;
pub mod data;
pub mod lane;
pub mod registry;
pub mod session;
