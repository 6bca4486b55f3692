//! The program `bowline-daemon`. Everything is in the library, for authors of other daemons.

use std::process::ExitCode;

use bowline_daemon::Program;

fn main() -> ExitCode {
    bowline_daemon::run(Program::bowline())
}
