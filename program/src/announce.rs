//! Prints the addresses a program listens on.

use std::{
    io::{Write, stdout},
    sync::OnceLock,
    time::Duration,
};

use bowline_protocol::text;
use serde::Serialize;

use crate::log::Sink;

/// Bytes of unread lines that are buffered.
const QUEUE: usize = 64 << 10;

/// Standard output of a serving program. A thread of its own writes it, because a reader that does
/// not read must block nothing. Write errors are ignored: the program runs without a reader.
static OUT: OnceLock<Sink> = OnceLock::new();

/// Prints one line on standard output for each address that accepts.
#[derive(Serialize)]
struct Listening<'a> {
    event: &'static str,
    kind: &'static str,
    address: &'a str,
}

/// Prints `{"event":"listening","kind":…,"address":…}`.
pub fn announce(kind: &'static str, address: &str) {
    let line = Listening {
        event: "listening",
        kind,
        address,
    };
    let open = || -> Box<dyn Write> { Box::new(stdout()) };
    let sink = OUT.get_or_init(|| Sink::new("announce", QUEUE, open, |_| {}));
    // Text always serialises.
    if let Ok(line) = text::json_line(&line) {
        sink.push(format!("{line}\n").into_bytes());
    }
}

/// Waits a bounded time until the last lines are written.
pub(crate) fn flush(bound: Duration) {
    if let Some(sink) = OUT.get() {
        sink.flush(bound);
    }
}
