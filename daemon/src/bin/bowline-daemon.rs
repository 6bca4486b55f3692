//! The `bowline-daemon` binary: everything is in the library, for app authors who build their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_daemon::run_bowline()
}
