//! Writes panics to the log. The standard hook would write to standard error itself and block while
//! the reader does not read.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::PanicHookInfo,
    time::Duration,
};

use super::{flush_within, push};

/// Time for the line of a panic to be written, because the process may end right after.
const WRITTEN: Duration = Duration::from_millis(100);

pub(super) fn tell_in_log() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = info.payload_as_str().unwrap_or("of an unknown kind");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    if tracing::enabled!(target: "panic", tracing::Level::ERROR) {
        tracing::error!(target: "panic", thread, place, "panicked: {message}");
    } else {
        // Written whatever the filter is.
        push(&format!("thread {thread} panicked at {place}: {message}"));
    }
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        trace.to_string().lines().for_each(|line| {
            push(line);
        });
    }
    flush_within(WRITTEN);
}
