//! The `bowline-relay` binary. All code is in the library, where tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_relay::commands::main()
}
