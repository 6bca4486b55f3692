//! A relay's reader of WebSocket frames: never panics, holds bounded memory, and reads the same
//! events however the bytes are split.
//!
//! Input: the size of the pieces, then a client's bytes.

#![no_main]

use bowline_relay::fuzzing::read_frames;
use libfuzzer_sys::fuzz_target;

/// Small, so that inputs reach the limit.
const MAX: usize = 600;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    let whole = read_frames(bytes, bytes.len(), MAX);
    assert_eq!(read_frames(bytes, usize::from(*piece), MAX), whole);
    assert_eq!(read_frames(bytes, 1, MAX), whole);
});
