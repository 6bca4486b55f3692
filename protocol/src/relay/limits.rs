//! Every bound of relaying in one table, with what happens at it (RL-4, architecture rule 5).
//!
//! Those a relay may set otherwise are its defaults.

use std::time::Duration;

use super::LaneHeader;
use crate::limits::MAX_NOISE_MESSAGE;

/// Largest message of a client socket; a longer one closes with `message_too_large`.
pub const MAX_CLIENT_MESSAGE: usize = MAX_NOISE_MESSAGE;
/// Largest message of a data socket: a client's, and its lane.
pub const MAX_DATA_MESSAGE: usize = MAX_CLIENT_MESSAGE + LaneHeader::LEN;
/// Largest message of a daemon on its control socket; a longer one closes with `message_too_large`.
pub const MAX_CONTROL_MESSAGE: usize = 4 * 1024;
/// From an accepted socket to its complete request, and from there to a proven registration; past it
/// `handshake_timeout`.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From the first client of a session to the daemon's data socket; past it the clients get `handshake_timeout`.
pub const PEER_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a session that are held before its data socket is there; more stay with the sender.
pub const HELD_BYTES: usize = 64 * 1024;
/// Silence on a control socket after which either side checks; after twice as much it is dead.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
/// Client sockets of one daemon; one more is closed with `session_capacity`.
pub const SOCKETS_PER_DAEMON: u32 = 256;
/// Client sockets of one session; for one more, the one that has been silent longest is closed with
/// `session_capacity`.
pub const SOCKETS_PER_SESSION: u32 = 8;
/// Sockets of one address; one more is closed with `rate_limited`.
pub const SOCKETS_PER_ADDRESS: u32 = 1_024;
/// Sockets of everybody; one more is turned away with HTTP 503.
pub const SOCKETS: u32 = 16_384;
/// Registrations of one address a minute; one more is closed with `rate_limited`.
pub const REGISTRATIONS_PER_MINUTE: u32 = 60;
/// Client and data sockets that one address opens a minute; one more is closed with `rate_limited`.
pub const OPENS_PER_MINUTE: u32 = 600;
/// Bytes waiting for one socket above which nothing more is read for it.
pub const QUEUE_BYTES: usize = 64 * 1024;
/// A lane that stops its data socket for so long is closed with `slow_consumer`, when the session has other lanes.
pub const LANE_STALL: Duration = Duration::from_millis(750);
/// A socket that lets nothing through for so long is closed with `slow_consumer`, whoever waits for it.
pub const SOCKET_STALL: Duration = Duration::from_secs(30);
/// How long the sessions of a daemon outlive its control socket; past it their clients get `daemon_offline`.
pub const CONTROL_GRACE: Duration = Duration::from_secs(10);
/// Events that wait for one control socket; one more closes it with `slow_consumer`, and `sync` repairs it.
pub const CONTROL_QUEUE: usize = 1_024;
/// Peers of a relay that restarts come back within this time, each at a moment of its own.
pub const RESTART_SPREAD: Duration = Duration::from_secs(3);
/// Longest time that a peer may be asked to stay away; a longer one is read as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
