//! The real programs, started for tests, the demo and the bench, each in its own folder.

mod client;
mod daemon;
pub mod edits;
mod ending;
mod follower;
mod impostor;
mod listening;
mod memory;
pub mod orders;
mod owner;
mod relay;
pub mod wine;
pub mod work;

pub use client::{Client, done, quick_settings};
pub use daemon::{DaemonOptions, DaemonProcess};
pub use follower::{Follower, Notes, history};
pub use impostor::{Heard, Impostor};
pub use memory::resident;
pub use relay::{RelayOptions, RelayProcess};
pub use wine::Wine;

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use tokio::process::Command;

/// A failure of a program of the world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The program is not built.
    #[error("{} does not exist; build it with `cargo build --workspace --bins --examples`", .0.display())]
    NotBuilt(PathBuf),
    /// An I/O error.
    #[error("{what}: {source}")]
    Io {
        /// The attempted action.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// An awaited condition did not hold in time.
    #[error(transparent)]
    NotYet(#[from] crate::NotYet),
    /// A program's output, or a message to one, is not the expected JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A program behaved unexpectedly.
    #[error("{0}")]
    Unexpected(String),
}

impl WorldError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A command for one of the project's programs, native or under Wine.
fn command_of(name: &str, wine: Option<&Wine>) -> Result<Command, WorldError> {
    match wine {
        Some(wine) => wine.command(name),
        None => program(name).map(Command::new),
    }
}

/// A path of this machine as seen by the program.
fn path_for(path: &Path, wine: Option<&Wine>) -> OsString {
    match wine {
        Some(_) => Wine::path(path).into(),
        None => path.into(),
    }
}

/// The path of one of the project's programs: beside the running one, or in a parent folder of a
/// test binary.
///
/// # Errors
/// [`WorldError::NotBuilt`] says how to build it.
pub fn program(name: &str) -> Result<PathBuf, WorldError> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    let own = env::current_exe().map_err(WorldError::io("the running program's own path"))?;
    let folders = own.ancestors().skip(1).take(2);
    let missing = own.with_file_name(&file);
    folders
        .map(|folder: &Path| folder.join(&file))
        .find(|path| path.is_file())
        .ok_or(WorldError::NotBuilt(missing))
}
