//! The client's log of this test. Each test has one thread, so a log per thread is a log per test.

use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the current thread's log.
struct OfThread;

impl io::Write for OfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for OfThread {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

/// Keeps all later log lines as JSON. One subscriber serves all tests: a scoped one would miss
/// callsites first used by another test's thread.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(OfThread)
            .init();
    });
}

/// Takes this test's log so far.
pub(crate) fn take() -> String {
    let bytes = LINES.with_borrow_mut(std::mem::take);
    String::from_utf8(bytes).expect("a log is text")
}

/// This test's log so far, which stays.
pub(crate) fn look() -> String {
    LINES.with_borrow(|lines| String::from_utf8_lossy(lines).into_owned())
}

/// The lines of several logs, each with the name of its writer, in the order of their times. Of
/// the lines below INFO only transitions.
pub(crate) fn merge(logs: &[(&str, String)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (who, log) in logs {
        for line in log.lines() {
            let is_told = line.contains("bowline::transition")
                || !(line.contains("\"level\":\"DEBUG\"") || line.contains("\"level\":\"TRACE\""));
            if let Some(time) = line.strip_prefix("{\"timestamp\":\"").filter(|_| is_told) {
                lines.push(format!("{time} ({who})"));
            }
        }
    }
    lines.sort();
    lines
}

/// The error lines of a log.
pub(crate) fn errors(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("\"level\":\"ERROR\"") || line.contains("panicked"))
        .map(str::to_owned)
        .collect()
}
