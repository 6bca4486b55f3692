//! Output to the user. One thread writes stdout and stderr, so that a reader that pauses (`| less`)
//! blocks neither the connection nor Ctrl-C, and so that a transient note on the terminal never
//! mixes with output.

use std::{
    io::{self, ErrorKind, IsTerminal},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bowline_program::{
    Signals, complain, print,
    terminal::{is_rich, takes_colours},
};
use bowline_runtime::protocol::text::json_line;
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    failure::{CliError, Exit, Stop},
    lines::Line,
    text,
};

/// Capacity of the output queue in pieces; the command waits when it is full.
const QUEUE: usize = 64;
/// Longest time that stuck output delays the exit.
const LEAVING: Duration = Duration::from_millis(300);
/// Moves to the start of the line and clears it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// Format of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// JSON, one object per line.
    pub(crate) json: bool,
    /// Whether stdout is a terminal of any kind.
    pub(crate) terminal: bool,
    /// Whether stdout is a terminal with colours and cursor movement.
    pub(crate) rich: bool,
    /// The same for stderr.
    pub(crate) rich_err: bool,
    /// Whether stdout supports colours.
    pub(crate) colours: bool,
    /// Whether stderr supports colours.
    pub(crate) colours_err: bool,
}

impl Mode {
    /// The mode for the current output streams.
    pub(crate) fn of(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
            rich: !json && is_rich(&io::stdout()),
            rich_err: is_rich(&io::stderr()),
            colours: !json && takes_colours(&io::stdout()),
            colours_err: takes_colours(&io::stderr()),
        }
    }
}

enum Piece {
    Out(String),
    Err(String),
    /// A whole line for stderr.
    Say(String),
    /// A transient terminal line, replaced by the next output; `None` clears it.
    Note(Option<String>),
}

/// Handle to the writer of stdout and stderr.
pub(crate) struct Output {
    /// How to format what is printed.
    pub(crate) mode: Mode,
    pieces: mpsc::Sender<Piece>,
    done: oneshot::Receiver<()>,
    /// Why writing ended; inner `None`: the reader has closed.
    ended: Arc<OnceLock<Option<String>>>,
}

impl Output {
    /// Starts the writer.
    pub(crate) fn start(mode: Mode) -> Self {
        let (pieces, incoming) = mpsc::channel(QUEUE);
        let (finished, done) = oneshot::channel();
        let ended = Arc::new(OnceLock::new());
        let why = Arc::clone(&ended);
        std::thread::spawn(move || {
            if let Err(error) = Writer::new(mode).run(incoming) {
                let quiet = error.kind() == ErrorKind::BrokenPipe;
                let _ = why.set((!quiet).then(|| error.to_string()));
            }
            let _ = finished.send(());
        });
        Self {
            mode,
            pieces,
            done,
            ended,
        }
    }

    /// Writes text to stdout.
    pub(crate) async fn out(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Out(text.into())).await
    }

    /// Writes text to stderr, unchanged.
    pub(crate) async fn err(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Err(text.into())).await
    }

    /// Writes a line for people to stderr.
    pub(crate) async fn say(&self, line: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Say(line.into())).await
    }

    /// Writes a JSON object as a line to stdout.
    pub(crate) async fn json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        let mut line = json_line(value).map_err(|error| CliError::failed("internal", error))?;
        line.push('\n');
        self.out(line).await
    }

    /// Writes the result of a command: the JSON object, or the text for people.
    pub(crate) async fn result(
        &self,
        line: &Line<'_>,
        text: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        if self.mode.json {
            self.json(line).await
        } else {
            self.out(text()).await
        }
    }

    /// Shows or clears a transient note on a terminal. Never waits: a late note has no value.
    pub(crate) fn note(&self, text: Option<String>) {
        if self.mode.rich_err {
            let _ = self.pieces.try_send(Piece::Note(text));
        }
    }

    /// Shows an error on stderr and, with `--json`, as a line on stdout.
    pub(crate) async fn fail(&self, error: &CliError) {
        if self.mode.json {
            // The error is on stderr as well.
            let _ = self.json(&Line::of_error(error)).await;
        }
        let word = text::paint(self.mode.colours_err, text::alarm(), "error:");
        let _ = self.say(format!("{word} {error}")).await;
    }

    /// Writes a final line for people; does not wait behind stuck output.
    pub(crate) async fn final_line(&self, line: String) {
        if timeout(LEAVING, self.say(line.as_str())).await.is_err() {
            complain!("{line}");
        }
    }

    async fn put(&self, piece: Piece) -> Result<(), Stop> {
        let sent = self.pieces.send(piece).await;
        sent.map_err(|_| why(self.ended.get().and_then(Option::as_ref)))
    }

    /// Waits until everything is written. A signal ends the wait; after a signal the wait is short.
    pub(crate) async fn finish(self, signals: &Signals) -> Result<(), Stop> {
        let Self {
            pieces,
            done,
            ended,
            ..
        } = self;
        drop(pieces);
        let leaving = signals.stopped().is_some();
        tokio::select! {
            _ = done => {}
            _ = signals.stop(), if !leaving => {}
            () = sleep(LEAVING), if leaving => {}
        }
        let Some(problem) = ended.get() else {
            return Ok(());
        };
        let stop = why(problem.as_ref());
        if let Stop::Error(error) = &stop {
            complain!("error: {error}");
        }
        Err(stop)
    }
}

/// Why writing ended; without a problem the reader has closed.
fn why(problem: Option<&String>) -> Stop {
    match problem {
        Some(problem) => {
            CliError::failed("io", format!("cannot write the output: {problem}")).into()
        }
        None => Stop::OutputClosed,
    }
}

/// State of the writer thread.
struct Writer {
    mode: Mode,
    noted: bool,
    /// Whether the cursor is in the middle of a line.
    mid_line: bool,
}

impl Writer {
    const fn new(mode: Mode) -> Self {
        Self {
            mode,
            noted: false,
            mid_line: false,
        }
    }

    fn run(mut self, mut incoming: mpsc::Receiver<Piece>) -> io::Result<()> {
        while let Some(piece) = incoming.blocking_recv() {
            self.write(piece)?;
            while let Ok(piece) = incoming.try_recv() {
                self.write(piece)?;
            }
            print::write_all(&mut io::stdout(), b"")?;
        }
        self.clear_note()
    }

    fn write(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Out(text) => {
                self.clear_note()?;
                print::write_all(&mut io::stdout(), text.as_bytes())?;
                self.moved(self.mode.rich, &text);
            }
            Piece::Err(text) => {
                self.clear_note()?;
                self.show(&text)?;
                self.moved(self.mode.rich_err, &text);
            }
            Piece::Say(line) => {
                self.clear_note()?;
                self.start_line()?;
                self.show(&format!("{line}\n"))?;
            }
            Piece::Note(Some(text)) => {
                self.start_line()?;
                // Cut at the margin: only one line can be cleared.
                self.show(&format!("{CLEAR_LINE}\x1b[?7l{text}\x1b[?7h"))?;
                self.noted = true;
            }
            Piece::Note(None) => self.clear_note()?,
        }
        Ok(())
    }

    /// Writes to stderr. A closed reader of stderr does not affect the output itself.
    fn show(&self, text: &str) -> io::Result<()> {
        print::write_all(&mut io::stdout(), b"")?;
        let _ = print::write_all(&mut io::stderr(), text.as_bytes());
        Ok(())
    }

    fn moved(&mut self, on_terminal: bool, text: &str) {
        if on_terminal && !text.is_empty() {
            self.mid_line = !text.ends_with('\n');
        }
    }

    fn start_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.mid_line) && self.mode.rich_err {
            self.show("\n")?;
        }
        Ok(())
    }

    fn clear_note(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.noted) {
            self.show(CLEAR_LINE)?;
        }
        Ok(())
    }
}

/// Shows an error without an [`Output`] and returns the exit code.
pub(crate) fn fail_without_output(error: &CliError, json: bool) -> Exit {
    if json {
        print_error_line(error);
    }
    complain!("error: {error}");
    error.exit
}

/// Prints an error as a line on stdout.
pub(crate) fn print_error_line(error: &CliError) {
    // This type always serialises.
    let _ = print::json(&Line::of_error(error));
}
