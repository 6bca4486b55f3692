//! Terminal detection and capabilities.

use std::{env, io::IsTerminal};

/// Whether a stream is a terminal that supports escape sequences. On Windows this enables them in
/// the console.
pub fn is_rich(stream: &impl IsTerminal) -> bool {
    let term = env::var_os("TERM");
    stream.is_terminal()
        && term.as_ref().is_none_or(|term| term != "dumb")
        && (obeys_escapes() || term.is_some())
}

/// Whether a stream supports colours: a terminal with escape sequences and without `NO_COLOR`.
pub fn takes_colours(stream: &impl IsTerminal) -> bool {
    is_rich(stream) && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Enables escape sequences in the console of this process, which are off by default. Windows
/// before version 10 has none; terminals that set `TERM` need no console.
#[cfg(windows)]
fn obeys_escapes() -> bool {
    static OBEYS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *OBEYS.get_or_init(|| enable_ansi_support::enable_ansi_support().is_ok())
}

#[cfg(not(windows))]
const fn obeys_escapes() -> bool {
    true
}
