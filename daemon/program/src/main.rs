//! The program `bowline-daemon`: a daemon with agents. Everything is in the libraries, for authors
//! of other daemons.

use std::process::ExitCode;

use bowline_daemon::Program;

fn main() -> ExitCode {
    bowline_daemon::run(bowline_agents::linked_to(Program::bowline()))
}
