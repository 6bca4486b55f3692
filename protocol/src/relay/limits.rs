//! Every limit of relaying, with what happens beyond it (RL-4).
//!
//! Where a relay's configuration can change a limit, the value here is the default.

use std::time::Duration;

use super::LaneHeader;
use crate::limits::MAX_NOISE_MESSAGE;

/// Largest message of a client socket in bytes; a longer one closes it with `message_too_large`.
pub const MAX_CLIENT_MESSAGE: usize = MAX_NOISE_MESSAGE;
/// Largest message of a data socket in bytes: a client's message and its lane header.
pub const MAX_DATA_MESSAGE: usize = MAX_CLIENT_MESSAGE + LaneHeader::LEN;
/// Largest message of a daemon on its control socket in bytes; a longer one closes it with
/// `message_too_large`.
pub const MAX_CONTROL_MESSAGE: usize = 4 * 1024;
/// Deadline from an accepted socket to its complete request, and from there to a proven
/// registration; then `handshake_timeout`.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Deadline from the first client of a session to the daemon's data socket; then the clients are
/// closed with `handshake_timeout`.
pub const PEER_WAIT: Duration = Duration::from_secs(10);
/// Bytes buffered for a session without a data socket; beyond it the relay stops reading from the
/// client.
pub const HELD_BYTES: usize = 64 * 1024;
/// Silence on a control socket after which either side checks the other; after twice that it is
/// dead.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
/// Client sockets of one daemon; one more is closed with `session_capacity`.
pub const SOCKETS_PER_DAEMON: u32 = 256;
/// Client sockets of strangers at one daemon, which do not count among the others; one more closes
/// any of them with `session_capacity` (TR-10).
pub const STRANGERS_PER_DAEMON: u32 = 32;
/// Sockets whose request, or registration, is not complete: from this number on a newcomer may drop
/// another one (TR-10).
pub const STRANGERS_START: usize = 256;
/// Percentage of newcomers that drop another one at that number.
pub const STRANGERS_RATE: u64 = 30;
/// Most sockets whose request, or registration, is not complete; one more drops another.
pub const STRANGERS_FULL: usize = 1_024;
/// The same of one address.
pub const STRANGERS_PER_ADDRESS: usize = 256;
/// The same of one region of addresses.
pub const STRANGERS_PER_REGION: usize = 512;
/// Client sockets of one session; one more closes the one silent longest with `session_capacity`.
pub const SOCKETS_PER_SESSION: u32 = 8;
/// Sockets of one address; one more is closed with `rate_limited`.
pub const SOCKETS_PER_ADDRESS: u32 = 1_024;
/// Sockets of the whole relay; one more is refused with HTTP 503.
pub const SOCKETS: u32 = 16_384;
/// Registrations per minute from one address; one more is closed with `rate_limited`.
pub const REGISTRATIONS_PER_MINUTE: u32 = 60;
/// Client and data sockets opened per minute from one address; one more is closed with
/// `rate_limited`.
pub const OPENS_PER_MINUTE: u32 = 600;
/// Bytes queued for one socket; beyond it the relay stops reading for that socket.
pub const QUEUE_BYTES: usize = 64 * 1024;
/// What a queued frame counts besides its bytes, since it costs memory even when it is empty
/// (TR-8).
pub const FRAME_COST: usize = 128;
/// Time a lane may block its data socket while the session has other lanes; then it is closed with
/// `slow_consumer`.
pub const LANE_STALL: Duration = Duration::from_millis(750);
/// Time a socket may accept no bytes; then it is closed with `slow_consumer`.
pub const SOCKET_STALL: Duration = Duration::from_secs(30);
/// Time the sessions of a daemon outlive its control socket; then their clients are closed with
/// `daemon_offline`.
pub const CONTROL_GRACE: Duration = Duration::from_secs(10);
/// Events queued for one control socket; one more closes it with `slow_consumer`, and the next
/// `sync` repairs the state.
pub const CONTROL_QUEUE: usize = 1_024;
/// Span over which the reconnects to a restarted relay are spread.
pub const RESTART_SPREAD: Duration = Duration::from_secs(3);
/// Earlier part of that span, for daemons, so that clients find them registered.
pub const DAEMON_RESTART_SPREAD: Duration = Duration::from_secs(1);
/// Longest accepted retry delay; a longer one is read as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
