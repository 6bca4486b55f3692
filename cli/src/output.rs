//! What the user sees. One thread writes stdout and stderr, so that a reader who pauses (`| less`) stops
//! neither the connection nor Ctrl-C, and so that a passing note on the terminal never mixes with output.

use std::{
    io::{self, ErrorKind, IsTerminal},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bowline_program::{Signals, complain, print};
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

/// Pieces that wait for the terminal; over it the command waits.
const QUEUE: usize = 64;
/// How long output that is stuck keeps someone who wants to leave.
const LEAVING: Duration = Duration::from_millis(300);
/// Back to the start of the line, and empty it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// How output looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// JSON, one object a line.
    pub(crate) json: bool,
    /// Whether stdout is a terminal of any kind.
    pub(crate) terminal: bool,
    /// Whether stdout is a terminal that understands colours and cursor movements.
    pub(crate) rich: bool,
    /// The same of stderr.
    pub(crate) rich_err: bool,
    /// Whether stdout takes colours.
    pub(crate) colours: bool,
    /// Whether stderr does.
    pub(crate) colours_err: bool,
}

impl Mode {
    /// The mode for where the output goes.
    pub(crate) fn of(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
            rich: !json && is_rich(&io::stdout()),
            rich_err: is_rich(&io::stderr()),
            colours: !json && colours(&io::stdout()),
            colours_err: colours(&io::stderr()),
        }
    }
}

/// Whether a stream is a terminal that obeys escape sequences.
fn is_rich(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether a stream takes colours: a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    is_rich(stream) && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

enum Piece {
    Out(String),
    Err(String),
    /// A whole line for stderr.
    Say(String),
    /// A line on the terminal that gives way to whatever comes next; `None` takes it back.
    Note(Option<String>),
}

/// The way to stdout and stderr.
pub(crate) struct Output {
    /// How to format what is printed.
    pub(crate) mode: Mode,
    pieces: mpsc::Sender<Piece>,
    done: oneshot::Receiver<()>,
    /// Why writing ended; `None` inside: nobody reads any more.
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

    /// Text for stdout.
    pub(crate) async fn out(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Out(text.into())).await
    }

    /// Text for stderr, as it is.
    pub(crate) async fn err(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Err(text.into())).await
    }

    /// A line for people on stderr.
    pub(crate) async fn say(&self, line: impl Into<String>) -> Result<(), Stop> {
        self.put(Piece::Say(line.into())).await
    }

    /// A JSON object as a line of stdout.
    pub(crate) async fn json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        let mut line =
            json_line(value).map_err(|error| CliError::failed("internal", error.to_string()))?;
        line.push('\n');
        self.out(line).await
    }

    /// Shows a passing note on a terminal, or takes it back. Never waits: a note is worth nothing late.
    pub(crate) fn note(&self, text: Option<String>) {
        if self.mode.rich_err {
            let _ = self.pieces.try_send(Piece::Note(text));
        }
    }

    /// Shows an error: on stderr, and as a line of stdout with `--json`.
    pub(crate) async fn fail(&self, error: &CliError) {
        if self.mode.json {
            // It stands on stderr as well.
            let _ = self.json(&Line::of_error(error)).await;
        }
        let word = text::paint(self.mode.colours_err, text::alarm(), "error:");
        let _ = self.say(format!("{word} {error}")).await;
    }

    /// A line for people who want to leave now: if the output before it is stuck, it does not wait for that.
    pub(crate) async fn last_words(&self, line: String) {
        if timeout(LEAVING, self.say(line.as_str())).await.is_err() {
            complain!("{line}");
        }
    }

    async fn put(&self, piece: Piece) -> Result<(), Stop> {
        match self.pieces.send(piece).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why()),
        }
    }

    fn why(&self) -> Stop {
        match self.ended.get() {
            Some(Some(problem)) => {
                CliError::failed("io", format!("cannot write the output: {problem}")).into()
            }
            Some(None) | None => Stop::NobodyReads,
        }
    }

    /// Waits until everything is written. A request to end ends the wait, and after one it is short.
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
        match ended.get() {
            None => Ok(()),
            Some(None) => Err(Stop::NobodyReads),
            Some(Some(problem)) => {
                let error = CliError::failed("io", format!("cannot write the output: {problem}"));
                complain!("error: {error}");
                Err(error.into())
            }
        }
    }
}

/// The thread's side.
struct Writer {
    mode: Mode,
    noted: bool,
    /// Whether the cursor stands within a line of the terminal.
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
                // Cut at the margin: only one line can be taken back.
                self.show(&format!("{CLEAR_LINE}\x1b[?7l{text}\x1b[?7h"))?;
                self.noted = true;
            }
            Piece::Note(None) => self.clear_note()?,
        }
        Ok(())
    }

    /// Writes to stderr. If nobody reads that, the output itself still counts.
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

/// Shows an error before there is an [`Output`], or after it, and tells how the program ends.
pub(crate) fn fail_plainly(error: &CliError, json: bool) -> Exit {
    if json {
        print_error_line(error);
    }
    complain!("error: {error}");
    error.exit
}

/// An error as a line of stdout.
pub(crate) fn print_error_line(error: &CliError) {
    // Words always serialise.
    let _ = print::json(&Line::of_error(error));
}
