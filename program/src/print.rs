//! What a program says on standard output and standard error. A reader that went away (`| head`) ends nothing and is no failure;
//! a disk that is full is told once, and makes the program fail at its end.
//!
//! `println!` and `eprintln!` panic in both cases, which lints forbid throughout.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::Mutex,
    sync::PoisonError,
};

use bowline_protocol::text;
use serde::Serialize;

use crate::log;

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

/// What became of standard output.
#[derive(Debug)]
enum Fate {
    Open,
    /// Whoever read it went away.
    NobodyReads,
    Failed(io::Error),
}

static FATE: Mutex<Fate> = Mutex::new(Fate::Open);

/// Prints on standard output. After a failure nothing more is tried; [`conclude`] tells of it.
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
/// When it does not serialise.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), serde_json::Error> {
    let line = text::json_line(value)?;
    out(format_args!("{line}\n"));
    Ok(())
}

/// Prints a text for people on standard error, harmless whatever is in it: through the log where there is one, so that a reader
/// that stands still keeps nobody. A failure is nobody's to hear.
pub fn complain(text: &str) {
    let text = text::visible(text);
    if !log::push(&text) {
        let _ = write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
    }
}

/// Prints what `clap` has to say: help on standard output, or what is wrong with the command line. The exit code: 0, or 2.
pub fn usage(program: &str, error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // It repeats what was given, which may have been copied from anywhere.
        let text = error.render();
        let text = match log::is_coloured() {
            true => text::coloured(&text.ansi().to_string()).into_owned(),
            false => text::visible(&text.to_string()).into_owned(),
        };
        let _ = write_all(&mut io::stderr(), text.as_bytes());
        return ExitCode::from(2);
    }
    let printed = error.print().and_then(|()| io::stdout().flush());
    if let Err(error) = printed {
        *FATE.lock().unwrap_or_else(PoisonError::into_inner) = Fate::of(error);
    }
    conclude(program, 0)
}

/// The end of a program: the exit code, which is not 0 if its output could not be written. The last lines of the log are
/// waited for, within a bound.
pub fn conclude(program: &str, code: u8) -> ExitCode {
    let fate = std::mem::replace(
        &mut *FATE.lock().unwrap_or_else(PoisonError::into_inner),
        Fate::NobodyReads,
    );
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

/// Writes all of it and flushes, also to a file that takes nothing at the moment (`O_NONBLOCK`, left so by another program).
///
/// # Errors
/// What the file says.
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
