//! What the client logged in this test. A test has one thread, so a log a thread is a log a test.

use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of the thread that it is used on.
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

/// Keeps from now on everything that is logged, as JSON lines. One subscriber serves all tests: a scoped one
/// would miss what another test's thread had logged first.
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

/// Takes what this test's client logged so far.
pub(crate) fn take() -> String {
    let bytes = LINES.with_borrow_mut(std::mem::take);
    String::from_utf8(bytes).expect("a log is text")
}

/// The lines of a log that say that something is broken.
pub(crate) fn errors(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("\"level\":\"ERROR\"") || line.contains("panicked"))
        .map(str::to_owned)
        .collect()
}
