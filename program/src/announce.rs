//! Telling whoever started the program where it listens.

use std::{
    io::{Write, stdout},
    sync::OnceLock,
    time::Duration,
};

use bowline_protocol::text;
use serde::Serialize;

use crate::log::Sink;

/// Bytes of lines that wait for whoever reads them.
const QUEUE: usize = 64 << 10;

/// Standard output of a program that serves: written by a thread of its own, because a reader that stands still must keep
/// nobody. That nobody reads, or nothing can be written, changes nothing: the program runs all the same.
static OUT: OnceLock<Sink> = OnceLock::new();

/// One line on standard output for each address that accepts.
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
    // Words always serialise.
    if let Ok(line) = text::json_line(&line) {
        sink.push(format!("{line}\n").into_bytes());
    }
}

/// Gives the last lines a moment.
pub(crate) fn flush(bound: Duration) {
    if let Some(sink) = OUT.get() {
        sink.flush(bound);
    }
}
