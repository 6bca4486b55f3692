//! The real programs, started for tests, the demo and the bench, each in folders of its own.

mod client;
mod daemon;
mod ending;
mod follower;
mod memory;
pub mod orders;
mod relay;
pub mod work;

pub use client::{Client, done, quick_settings};
pub use daemon::{DaemonOptions, DaemonProcess};
pub use follower::{Follower, Notes, history};
pub use memory::resident;
pub use relay::{RelayOptions, RelayProcess};

use std::{
    env, io,
    path::{Path, PathBuf},
};

/// Why a program of the world could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The program is not built.
    #[error("{} is not there; build it with `cargo build --workspace --bins --examples`", .0.display())]
    NotBuilt(PathBuf),
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program did not do what it must.
    #[error("{0}")]
    Unexpected(String),
}

impl WorldError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The path of one of the project's programs: beside the running one, or above it for a test binary.
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
