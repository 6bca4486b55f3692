//! The story of `cargo xtask demo`: a real command on a real daemon streams to a client while
//! connections are cut, the client is restarted, the direct path and a relay fail in turn, and the
//! daemon is killed; nothing is lost or repeated.
//!
//! Each act is a file of `story/`. It runs on the stage of `stage.rs`, and `account.rs` checks the
//! received output.

mod account;
mod client;
pub mod follow;
mod report;
mod screen;
mod stage;
mod story;

use std::path::Path;

pub use self::report::{Report, Step};
use self::{
    screen::Screen,
    stage::{Stage, absent},
    story::opening,
};
use crate::world::{DaemonProcess, WorldError, program};

/// Options of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave everything running at the end and print commands to try.
    pub keep: bool,
    /// Print one JSON object at the end instead of the summary.
    pub json: bool,
}

/// Runs the demo.
///
/// # Errors
/// A program could not be used at all. Failed expectations are in the report.
pub async fn play(options: Options) -> Result<Report, WorldError> {
    let folder = tempfile::tempdir().map_err(WorldError::io("a temporary folder"))?;
    let mut stage = opening::open(Screen::new(options.json), folder.path()).await?;
    stage.first_command().await?;
    stage.long_command().await?;
    stage.two_paths().await?;
    stage.killed_daemon().await?;
    if stage.report.resumed == 0 {
        stage.fail("the session was never resumed");
    }
    stage.report.show(&stage.screen);

    let mut daemon = stage.daemon.take().ok_or_else(|| absent("daemon"))?;
    if options.keep {
        keep(&stage, &daemon, folder.path()).await?;
    }
    daemon.stop().await?;
    stage.relay.stop().await?;
    Ok(stage.report)
}

/// Leaves the daemon running until Ctrl-C.
async fn keep(stage: &Stage, daemon: &DaemonProcess, folder: &Path) -> Result<(), WorldError> {
    let (daemon_program, client_program) = (program("bowline-daemon")?, program("bowline")?);
    let (client, daemon_program) = (client_program.display(), daemon_program.display());
    bowline_program::say!("Everything is still running. In another terminal, for instance:\n");
    bowline_program::say!(
        "  {client} watch --state-dir {}",
        stage.client_dir.display()
    );
    bowline_program::say!(
        "  {client} run --provider shell 'ls -l' --state-dir {}",
        stage.client_dir.display()
    );
    bowline_program::say!(
        "  {daemon_program} status --state-dir {}",
        daemon.state_dir().display()
    );
    bowline_program::say!(
        "\nThe daemon is process {}. Ctrl-C ends it and removes {}.",
        daemon.pid().unwrap_or(0),
        folder.display()
    );
    tokio::signal::ctrl_c()
        .await
        .map_err(WorldError::io("waiting for ctrl-C"))
}
