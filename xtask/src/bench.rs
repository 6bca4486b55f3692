//! `cargo xtask bench`: builds what is measured and what measures, for release, and runs the latter.
//!
//! The measuring program is `bowline-bench` of the `sim` crate, so that this one stays quick to build.

use std::path::PathBuf;

use crate::{
    bindings,
    process::{Outcome, cargo, run as run_command},
};

/// What is measured, and how it is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Fewer repetitions: a minute instead of several, and figures with more noise.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Where daemons keep their state meanwhile; its disk is the one measured. Default: the target folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Which figures: ping, rate, attach, start, memory, intents, events, local-ping, local-rate, local-memory, relay-ping,
    /// relay-stream, relay-connect, relay-memory, relay-stall, relayed. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Builds and measures.
///
/// # Errors
/// When something does not build or a figure cannot be measured. A missed target is no error.
pub(crate) fn run(options: &Options) -> Outcome {
    if options.names.is_empty() || options.names.iter().any(|name| name == "library") {
        bindings::build(true)?;
    }
    let build = [
        "build",
        "--release",
        "--locked",
        "--package=bowline-daemon",
        "--package=bowline-relay",
        "--package=bowline-sim",
        "--bins",
    ];
    run_command(&mut cargo(build))?;
    let mut bench = cargo([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package=bowline-sim",
        "--bin=bowline-bench",
        "--",
    ]);
    if options.quick {
        bench.arg("--quick");
    }
    if options.json {
        bench.arg("--json");
    }
    if let Some(dir) = &options.dir {
        // Relative to where the user is, not to the workspace, in which the program runs.
        bench
            .arg("--dir")
            .arg(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    run_command(bench.args(&options.names))
}
