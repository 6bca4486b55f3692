//! Telling whoever started the program where it listens.

use std::io::Write;

use serde::Serialize;

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
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the program runs all the same.
    let _ = serde_json::to_writer(&mut out, &line);
    let _ = out.write_all(b"\n").and_then(|()| out.flush());
}
