//! The decoder of client frames for the fuzz targets in `fuzz/` (feature `fuzzing`).

use crate::websocket::reader::{Incoming, Reader};

/// One event of a peer: its kind and its content.
pub type Event = (&'static str, Vec<u8>);

/// Reads bytes as a client's WebSocket frames, `piece` bytes at a time as a socket delivers them,
/// and returns the events before the end or the first violation, and whether there was one.
///
/// # Panics
/// A message over `max` bytes is returned, or the reader holds more than an unfinished frame and an
/// unfinished message.
pub fn read_frames(bytes: &[u8], piece: usize, max: usize) -> (Vec<Event>, bool) {
    let mut reader = Reader::new(max);
    let mut events = Vec::new();
    for mut input in bytes.chunks(piece.max(1)) {
        loop {
            match reader.next(&mut input) {
                Ok(Some(incoming)) => events.push(event(incoming, max)),
                Ok(None) => break,
                Err(_) => return (events, true),
            }
        }
        assert!(input.is_empty(), "unread input");
        reader.rest();
        assert!(reader.held() <= 2 * max + FRAME, "memory without bound");
    }
    (events, false)
}

/// The longest header and the longest control frame.
const FRAME: usize = 14 + 125;

fn event(incoming: Incoming<'_>, max: usize) -> Event {
    match incoming {
        Incoming::Message(_, payload) => {
            assert!(payload.len() <= max, "a message over the limit");
            ("message", payload.to_vec())
        }
        Incoming::Ping(payload) => ("ping", payload.to_vec()),
        Incoming::Pong => ("pong", Vec::new()),
        Incoming::Close(code) => ("close", code.unwrap_or_default().to_be_bytes().to_vec()),
    }
}
