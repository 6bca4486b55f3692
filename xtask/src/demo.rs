//! `cargo xtask demo`: builds the programs and runs the story of `bowline-demo` with them.

use anyhow::Result;
use xshell::cmd;

use crate::process::{Workspace, target_dir};

/// Options of the demo.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Leave everything running at the end and print how to try it by hand.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object at the end instead of the account.
    #[arg(long)]
    json: bool,
}

/// Runs the demo.
///
/// # Errors
/// Something does not build, or a step of the story failed.
pub(crate) fn run(sh: &Workspace, options: Options) -> Result<()> {
    complain!(
        "building what the demo plays: bowline-daemon, bowline-relay, bowline, bowline-demo \
         (the first time that takes a few minutes; cargo names each crate as it comes to it) …"
    );
    // One build for all, so that shared crates compile once with one set of features.
    cmd!(
        sh,
        "cargo build --locked -p bowline-daemon-program -p bowline-relay -p bowline-cli -p bowline-testkit
            --bin bowline-daemon --bin bowline-relay --bin bowline --bin bowline-demo"
    )
    .run()?;
    complain!("playing (half a minute) …");
    // Started directly: `cargo run` would rebuild with the features of one package alone.
    let demo = target_dir().join("debug/bowline-demo");
    let keep = options.keep.then_some("--keep");
    let json = options.json.then_some("--json");
    Ok(cmd!(sh, "{demo} {keep...} {json...}").run()?)
}
