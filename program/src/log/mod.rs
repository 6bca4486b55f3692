//! The log on standard error. Nobody who logs waits for it, and nothing ends because it cannot be written: a reader that
//! stands still or has gone away, or a full disk, costs lines and nothing else.

mod panics;
mod sink;

use std::{
    io::{self, IsTerminal, Write, stderr},
    sync::OnceLock,
    time::Duration,
};

use bowline_protocol::text;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

pub(crate) use self::sink::{Sink, pause, write_some};

/// Bytes of lines that wait to be written; a line over them is dropped and counted.
const QUEUE: usize = 1 << 20;
/// How long the end of a program waits for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "`log`: `{filter}` is no log filter: {problem}; write for example info, or {example}=debug"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        problem: String,
        /// A crate of the program.
        example: &'static str,
    },
    /// There is one already in this process.
    #[error("{0}")]
    Taken(String),
}

/// The log of this process, once it is started.
static LOG: OnceLock<Sink> = OnceLock::new();

/// Reads a filter in the syntax of `tracing`'s `EnvFilter`. `example` is a crate of the program, for the error.
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

/// Starts the log of this process, with colours only for a terminal and where `NO_COLOR` does not forbid them. From then on
/// a panic is told in the log, too.
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
        .with_writer(lines)
        // It would say on standard error that standard error cannot be written, and panic.
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

/// Gives the last lines a moment to be written. For the end of a program; a reader that stands still does not keep it.
pub fn flush() {
    flush_within(LAST_LINES);
    crate::announce::flush(LAST_LINES);
}

pub(crate) fn flush_within(bound: Duration) {
    if let Some(sink) = LOG.get() {
        sink.flush(bound);
    }
}

/// Adds a line to the log as it is, if there is a log.
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
        "log lines could not be written and were dropped, so many so far"
    );
}

/// Standard error for the thread that writes the log. A descriptor of its own where there is such a thing: while the reader
/// stands still, the lock of `std::io::stderr` must stay free for others.
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
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !forbidden
}

/// Makes one line of each event, harmless to whoever reads it, and hands it on.
struct Lines {
    sink: Sink,
    format: LogFormat,
    colours: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event {
            lines: self,
            text: Vec::new(),
        }
    }
}

/// One event as it is formatted.
struct Event<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.lines
                .sink
                .push(line(&self.text, self.lines.format, self.lines.colours));
        }
    }
}

/// An event as one line: what strangers say in it (names, paths, errors) can neither begin a line nor move a cursor.
fn line(event: &[u8], format: LogFormat, colours: bool) -> Vec<u8> {
    let event = event.strip_suffix(b"\n").unwrap_or(event);
    let mut line = match format {
        LogFormat::Json => text::line_pieces(event).collect::<Vec<_>>().concat(),
        LogFormat::Text => {
            let event = String::from_utf8_lossy(event);
            let text = if colours {
                // The formatter's own stand; it has escaped the escape characters of everything else.
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
