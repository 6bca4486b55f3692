//! What a task says. A reader that went away (`cargo xtask … | head`) ends nothing; a disk that is full makes the task fail at its
//! end. As `bowline-program` has it for the programs, without which xtask is built sooner.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

/// A line on standard output, as `println!` prints it.
macro_rules! say {
    () => { $crate::say::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::say::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line on standard error, as `eprintln!` prints it.
macro_rules! complain {
    ($($text:tt)*) => { $crate::say::complain(format_args!($($text)*)) };
}

/// Why output could not be written. A reader that went away is no reason.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints on standard output.
pub(crate) fn out(text: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.to_string().as_bytes());
    match printed.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            *FAILED.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        _ => {}
    }
}

/// Prints a line on standard error. A failure is nobody's to hear.
pub(crate) fn complain(text: Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// The exit code of a task that did its work, or did not.
pub(crate) fn conclude(done: bool) -> ExitCode {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(error) = &failed {
        complain(format_args!("xtask: cannot write the output: {error}"));
    }
    if done && failed.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
