//! Exit codes of all programs, and their error messages (`docs/commands.md`).

use std::process::ExitCode;

use crate::{ConfigError, Stop, complain, print};

/// Exit code of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Usage error: an invalid flag or configuration, or a name that matches nothing or several
    /// things.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
    /// Refused: no permission, not paired, revoked.
    Refused = 4,
    /// The terminal closed (SIGHUP).
    HungUp = 129,
    /// Ctrl-C (SIGINT).
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The exit code of a command that a signal ended before it finished.
    pub const fn of(stop: Stop) -> Self {
        match stop.code {
            129 => Self::HungUp,
            143 => Self::Terminated,
            _ => Self::Interrupted,
        }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// An error message and the exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// A failure with exit code 1.
    pub fn failed(message: impl ToString) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A usage error, exit code 2.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

/// Ends a program: prints the error with the program's name, and waits a bounded time for the last
/// log lines.
pub fn end(program: &str, outcome: Result<(), Failure>) -> ExitCode {
    let exit = match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            complain!("{program}: {}", failure.message);
            failure.exit
        }
    };
    print::conclude(program, exit)
}
