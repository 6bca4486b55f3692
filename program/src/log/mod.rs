//! The log on standard error. Logging never blocks and a write error never ends the program: a
//! reader that does not read, a closed pipe or a full disk loses lines only.

mod panics;
mod sink;

use std::{
    io::{self, Write, stderr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bowline_protocol::text;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::terminal;

pub(crate) use self::sink::{Sink, pause, write_some};

/// Bytes of lines that are buffered; a line over them is dropped and counted.
const QUEUE: usize = 1 << 20;
/// Time to write the last lines at the end of a program.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Format of the log lines on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is invalid.
    #[error(
        "`log`: `{filter}` is no log filter: {problem}; write for example info, or {example}=debug"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// The problem.
        problem: String,
        /// A crate of the program, as an example.
        example: &'static str,
    },
    /// The process already has a log.
    #[error("{0}")]
    Taken(String),
}

/// The log of this process, once started.
static LOG: OnceLock<Sink> = OnceLock::new();

/// Parses a filter in the syntax of `tracing`'s `EnvFilter`. `example` is a crate name for the
/// error text.
///
/// # Errors
/// [`LogError::Filter`].
pub fn filter(text: &str, example: &'static str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(text);
    parsed.map_err(|error| LogError::Filter {
        filter: text.to_owned(),
        problem: error.to_string(),
        example,
    })
}

/// Starts the log of this process. Colours are used only on a terminal and without `NO_COLOR`.
/// Panics are written to the log from then on.
///
/// # Errors
/// [`LogError::Taken`].
pub fn start(filter: EnvFilter, format: LogFormat) -> Result<(), LogError> {
    let sink = LOG.get_or_init(|| Sink::new("log", QUEUE, standard_error, say_lost));
    let colours = format == LogFormat::Text && is_coloured();
    let lines = Lines {
        sink: sink.clone(),
        format,
        colours,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Arc::new(lines))
        // This option would report on standard error that standard error cannot be written, and
        // panic.
        .log_internal_errors(false);
    let set = match format {
        LogFormat::Text => subscriber.with_ansi(colours).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| LogError::Taken(error.to_string()))?;
    panics::tell_in_log();
    Ok(())
}

/// Lines of this process's log that could not be written so far.
pub fn lost() -> u64 {
    LOG.get().map_or(0, Sink::lost)
}

/// Waits a bounded time until the last lines are written; for the end of a program.
pub fn flush() {
    flush_within(LAST_LINES);
    crate::announce::flush(LAST_LINES);
}

pub(crate) fn flush_within(bound: Duration) {
    if let Some(sink) = LOG.get() {
        sink.flush(bound);
    }
}

/// Writes a line to the log without a filter, if there is a log.
pub(crate) fn push(line: &str) -> bool {
    let Some(sink) = LOG.get() else {
        return false;
    };
    sink.push(format!("{line}\n").into_bytes());
    true
}

fn say_lost(lines: u64) {
    tracing::warn!(
        lines,
        "log lines could not be written and were dropped; the count is since the start"
    );
}

/// Standard error for the thread that writes the log. It is a separate descriptor where the system
/// has one: the lock of `std::io::stderr` must stay free while the reader does not read.
fn standard_error() -> Box<dyn Write> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        if let Ok(own) = stderr().as_fd().try_clone_to_owned() {
            return Box::new(std::fs::File::from(own));
        }
    }
    Box::new(stderr())
}

pub(crate) fn is_coloured() -> bool {
    terminal::takes_colours(&stderr())
}

/// Formats each event as one line with control characters escaped, and queues it.
struct Lines {
    sink: Sink,
    format: LogFormat,
    colours: bool,
}

/// The formatter writes each event at once.
impl Write for &Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.sink.push(line(event, self.format, self.colours));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line: text from peers (names, paths, errors) can neither begin a line nor move
/// the cursor.
fn line(event: &[u8], format: LogFormat, colours: bool) -> Vec<u8> {
    let event = event.strip_suffix(b"\n").unwrap_or(event);
    let mut line = match format {
        LogFormat::Json => text::line_pieces(event).collect::<Vec<_>>().concat(),
        LogFormat::Text => {
            let event = String::from_utf8_lossy(event);
            let text = if colours {
                // A style sequence of the formatter, which has escaped the escape characters of all
                // other text.
                let text = text::coloured(&event);
                text.replace('\n', "\\n")
                    .replace('\r', "\\r")
                    .replace('\t', "\\t")
            } else {
                text::one_line(&event).into_owned()
            };
            text.into_bytes()
        }
    };
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_one_that_would_be() {
        let error = filter("=[", "bowline_daemon").unwrap_err().to_string();
        assert!(
            error.contains("`=[`") && error.contains("bowline_daemon=debug"),
            "{error}"
        );
        assert!(filter("info,bowline_daemon=debug", "bowline_daemon").is_ok());
    }

    #[test]
    fn case_c28_an_event_is_one_line_whatever_a_stranger_is_called() {
        let event = "INFO paired name=a\nERROR forged\r\u{1b}[2J\u{202e}\tb\n".as_bytes();
        let shown = |colours| String::from_utf8(line(event, LogFormat::Text, colours)).unwrap();
        let expected = "INFO paired name=a\\nERROR forged\\r\\u{1b}[2J\\u{202e}\\tb\n";
        assert_eq!(shown(false), expected);
        assert_eq!(shown(true), expected);
        let coloured = line(b"\x1b[32m INFO\x1b[0m\n", LogFormat::Text, true);
        assert_eq!(coloured, b"\x1b[32m INFO\x1b[0m\n");
    }

    #[test]
    fn case_c27_a_line_of_json_is_one_for_every_reader() {
        let event = "{\"message\":\"a\u{2028}b\u{85}\"}\n".as_bytes();
        let line = String::from_utf8(line(event, LogFormat::Json, false)).unwrap();
        assert_eq!(line, "{\"message\":\"a\\u2028b\\u0085\"}\n");
    }
}
