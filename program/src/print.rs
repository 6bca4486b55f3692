//! Standard output and standard error of a program. A closed pipe (`| head`) is no failure; a full
//! disk is reported once and makes the program fail at its end.
//!
//! `println!` and `eprintln!` panic in both cases, and lints forbid them.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::Mutex,
    sync::PoisonError,
};

use bowline_protocol::text;
use serde::Serialize;

use crate::{Exit, log};

/// Prints a line on standard output, as `println!` does.
#[macro_export]
macro_rules! say {
    () => { $crate::print::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::print::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line for people on standard error, as `eprintln!` does.
#[macro_export]
macro_rules! complain {
    ($($text:tt)*) => { $crate::print::complain(&format!($($text)*)) };
}

/// State of standard output.
#[derive(Debug)]
enum Fate {
    Open,
    /// The reader closed the pipe.
    NobodyReads,
    Failed(io::Error),
}

static FATE: Mutex<Fate> = Mutex::new(Fate::Open);

/// Prints on standard output. After the first failure nothing more is written; [`conclude`] reports
/// it.
pub fn out(text: Arguments<'_>) {
    let mut fate = FATE.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*fate, Fate::Open) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = write_all(&mut stdout, text.to_string().as_bytes()) {
            *fate = Fate::of(error);
        }
    }
}

/// Prints a value as one line of JSON on standard output.
///
/// # Errors
/// If the value does not serialise.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), serde_json::Error> {
    let line = text::json_line(value)?;
    out(format_args!("{line}\n"));
    Ok(())
}

/// Prints a text on standard error with control characters escaped. It goes through the log if
/// there is one, so that a blocked reader delays nothing. Write errors are ignored.
pub fn complain(text: &str) {
    let text = text::visible(text);
    if !log::push(&text) {
        let _ = write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
    }
}

/// Prints a message of `clap`: help on standard output, an error on standard error. Returns the
/// exit code: 0 or 2.
pub fn usage(program: &str, error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // The message repeats arguments, which may contain control characters.
        let text = error.render();
        let text = match log::is_coloured() {
            true => text::coloured(&text.ansi().to_string()).into_owned(),
            false => text::visible(&text.to_string()).into_owned(),
        };
        let _ = write_all(&mut io::stderr(), text.as_bytes());
        return ExitCode::from(Exit::Usage.code());
    }
    let printed = error.print().and_then(|()| io::stdout().flush());
    if let Err(error) = printed {
        *FATE.lock().unwrap_or_else(PoisonError::into_inner) = Fate::of(error);
    }
    conclude(program, Exit::Done)
}

/// The exit code of a program, which is not 0 if its output could not be written. Waits a bounded
/// time for the last log lines.
pub fn conclude(program: &str, exit: Exit) -> ExitCode {
    let fate = std::mem::replace(
        &mut *FATE.lock().unwrap_or_else(PoisonError::into_inner),
        Fate::NobodyReads,
    );
    let code = exit.code();
    let code = match fate {
        Fate::Failed(error) => {
            complain(&format!("{program}: cannot write the output: {error}"));
            code.max(1)
        }
        Fate::Open | Fate::NobodyReads => code,
    };
    log::flush();
    ExitCode::from(code)
}

/// Writes and flushes all bytes, also to a file that is full for the moment (`O_NONBLOCK`, as
/// another program may leave it).
///
/// # Errors
/// The error of the file.
pub fn write_all(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = log::write_some(file, rest)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    loop {
        match file.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => log::pause(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl Fate {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(error),
        }
    }
}
