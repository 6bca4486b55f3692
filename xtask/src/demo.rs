//! `cargo xtask demo`: builds the programs and lets `bowline-demo` play its story with them.

use crate::process::{Outcome, cargo, run as run_command};

/// How the story is played.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Leave everything running at the end and print how to try it by hand.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object at the end instead of the account.
    #[arg(long)]
    json: bool,
}

/// Plays the demo.
///
/// # Errors
/// When something does not build, or the story did not hold.
pub(crate) fn run(options: Options) -> Outcome {
    eprintln!("building the programs (a minute or two the first time) …");
    run_command(&mut cargo(["build", "--workspace", "--bins", "--locked"]))?;
    let mut demo = cargo([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "bowline-sim",
        "--bin",
        "bowline-demo",
        "--",
    ]);
    if options.keep {
        demo.arg("--keep");
    }
    if options.json {
        demo.arg("--json");
    }
    run_command(&mut demo)
}
