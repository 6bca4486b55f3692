//! Windows programs run by Wine, as prepared by `cargo xtask windows` and passed in two variables.

use std::{
    env,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::WorldError;

/// Folder of the programs built for Windows.
pub const PROGRAMS: &str = "BOWLINE_TEST_WINDOWS";
/// Wine's loader. Wine's own variables (`WINEPREFIX` and others) hold the rest.
pub const LOADER: &str = "BOWLINE_TEST_WINE";

/// Wine and its programs.
#[derive(Clone, Debug)]
pub struct Wine {
    loader: PathBuf,
    programs: PathBuf,
}

impl Wine {
    /// Reads the variables.
    ///
    /// # Errors
    /// A variable is missing: only `cargo xtask windows` sets them.
    pub fn from_environment() -> Result<Self, WorldError> {
        let variable = |name: &str| {
            env::var_os(name).map(PathBuf::from).ok_or_else(|| {
                WorldError::Unexpected(format!("{name} is not set; run `cargo xtask windows`"))
            })
        };
        Ok(Self {
            loader: variable(LOADER)?,
            programs: variable(PROGRAMS)?,
        })
    }

    /// The path of a program, without its extension.
    ///
    /// # Errors
    /// [`WorldError::NotBuilt`].
    pub fn program(&self, name: &str) -> Result<PathBuf, WorldError> {
        let path = self.programs.join(format!("{name}.exe"));
        match path.is_file() {
            true => Ok(path),
            false => Err(WorldError::NotBuilt(path)),
        }
    }

    /// A command that runs a program. The process is the program's own: killing it kills the
    /// program.
    ///
    /// # Errors
    /// [`WorldError::NotBuilt`].
    pub fn command(&self, name: &str) -> Result<Command, WorldError> {
        let mut command = Command::new(&self.loader);
        command.arg(self.program(name)?);
        Ok(command)
    }

    /// The Windows form of a path of this machine.
    pub fn path(path: &Path) -> String {
        format!("Z:{}", path.display()).replace('/', "\\")
    }
}
