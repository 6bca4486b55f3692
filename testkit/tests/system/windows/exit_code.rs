//! Programs whose exit code is read from Windows (`exit_code.c`): Wine ends the process behind a
//! program by a signal if it takes long to disappear, after the program has ended with its code.

use std::process::ExitStatus;

use bowline_testkit::world::Wine;
use tempfile::TempDir;
use tokio::process::Command;

/// The file with the exit code, in a folder of its own.
const FILE: &str = "code";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A command that runs the program and stores its exit code. Killing it kills the program.
pub(super) fn command(wine: &Wine, program: &str) -> Result<(Command, ExitCode)> {
    let folder = tempfile::tempdir()?;
    let mut command = wine.command("exit_code")?;
    command
        .arg(Wine::path(&folder.path().join(FILE)))
        .arg(Wine::path(&wine.program(program)?))
        .kill_on_drop(true);
    Ok((command, ExitCode(folder)))
}

/// The stored exit code of a program.
pub(super) struct ExitCode(TempDir);

impl ExitCode {
    /// The code, once the command has ended with `status`.
    pub(super) fn read(&self, status: ExitStatus) -> Result<u32> {
        let code = std::fs::read_to_string(self.0.path().join(FILE));
        Ok(code
            .map_err(|_| format!("no exit code was stored: {status}"))?
            .parse()?)
    }
}
