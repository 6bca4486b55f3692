//! One connection of a local socket, from either side.

use crate::platform;

/// One connection of a local socket: a byte stream in both directions.
///
/// A Unix domain socket can end one direction and keep reading in the other. A named pipe cannot:
/// shutting it down only flushes, and dropping it ends both directions. Bytes written before remain
/// readable in either case.
pub type Stream = platform::Stream;

/// Whether the peer has closed both directions. After the end of its requests this distinguishes a
/// peer that still reads answers from one that is gone.
pub fn is_peer_gone(stream: &Stream) -> bool {
    platform::is_peer_gone(stream)
}
