//! The line codec: any division of a stream yields the same lines, and memory stays within the
//! limit.
//!
//! Input: two bytes of limit, one byte for the chunk sizes, then the stream.

#![no_main]

use bowline_local::{LineBuffer, LineTooLong};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [high, low, cut, stream @ ..] = data else {
        return;
    };
    let limit = usize::from(u16::from_be_bytes([*high, *low]) % 300);
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    let mut outcome = Ok(());
    let mut rest = stream;
    let mut seed = usize::from(*cut);
    while outcome.is_ok() && !rest.is_empty() {
        seed = (seed * 31 + 7) % 64;
        let (now, later) = rest.split_at((seed + 1).min(rest.len()));
        rest = later;
        buffer.push(now);
        outcome = drain(&mut buffer, &mut lines);
        assert!(outcome.is_err() || buffer.buffered() <= limit);
    }
    if outcome.is_ok() {
        buffer.end();
        outcome = drain(&mut buffer, &mut lines);
        assert!(
            outcome.is_err() || buffer.capacity() == 0,
            "a quiet buffer holds nothing"
        );
    }

    // The reference: the standard library's split, up to the first line over the limit.
    let mut expected: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    let good = expected
        .iter()
        .take_while(|line| line.len() <= limit)
        .count();
    assert_eq!(outcome.is_ok(), good == expected.len());
    assert_eq!(lines, &expected[..good]);
});

fn drain(buffer: &mut LineBuffer, lines: &mut Vec<Vec<u8>>) -> Result<(), LineTooLong> {
    while let Some(line) = buffer.next_line()? {
        lines.push(line.to_vec());
    }
    Ok(())
}
