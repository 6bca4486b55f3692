//! `bowline-bench`: measures a real `bowline-daemon`. `cargo xtask bench` builds both and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_sim::bench::main()
}
