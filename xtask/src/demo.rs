//! `cargo xtask demo`: builds the programs and lets `bowline-demo` play its story with them.

use std::process::Command;

use crate::{
    memory::target_dir,
    process::{Outcome, cargo, run as run_command},
};

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

/// What the story is played with, by package: nothing else is built for it.
const PROGRAMS: [(&str, &str); 4] = [
    ("bowline-daemon", "bowline-daemon"),
    ("bowline-relay", "bowline-relay"),
    ("bowline-cli", "bowline"),
    ("bowline-sim", "bowline-demo"),
];

/// Plays the demo.
///
/// # Errors
/// When something does not build, or the story did not hold.
pub(crate) fn run(options: Options) -> Outcome {
    complain!(
        "building what the demo plays: bowline-daemon, bowline-relay, bowline, bowline-demo \
         (the first time that takes a few minutes; cargo names each crate as it comes to it) …"
    );
    // One build for all of them, so that what they share is compiled with one set of features, once.
    let mut build = cargo(["build", "--locked"]);
    for (package, program) in PROGRAMS {
        build.args(["--package", package, "--bin", program]);
    }
    run_command(&mut build)?;
    complain!("playing (half a minute) …");
    // Not by `cargo run`, which would build anew for the features of one package alone.
    let demo = target_dir()
        .join("debug")
        .join(format!("bowline-demo{}", std::env::consts::EXE_SUFFIX));
    let mut demo = Command::new(demo);
    if options.keep {
        demo.arg("--keep");
    }
    if options.json {
        demo.arg("--json");
    }
    run_command(&mut demo)
}
