//! The `bowline-relay` binary: everything is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_relay::commands::main()
}
