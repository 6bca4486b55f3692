//! Default folders and files of a daemon.

use std::path::{Path, PathBuf};

use bowline_program::config;

/// Folder names of one program, relative to the platform's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Relative to the state folder, on Unix.
    state: &'static str,
    /// The same on platforms with capitalised names.
    titled: &'static str,
    /// Relative to the folder of configurations.
    config: &'static str,
}

impl Home {
    /// Folders of `bowline-daemon`, shared with `bowline`.
    pub const BOWLINE: Self = Self {
        state: "bowline/daemon",
        titled: "Bowline/daemon",
        config: "bowline",
    };

    /// Folders of the program `name`.
    pub const fn of(name: &'static str) -> Self {
        Self {
            state: name,
            titled: name,
            config: name,
        }
    }

    /// The default state directory.
    pub fn state_dir(self) -> Option<PathBuf> {
        config::state_dir(self.state, self.titled)
    }

    /// The default configuration file, if it exists.
    pub fn config_file(self) -> Option<PathBuf> {
        config::config_file(self.config, "daemon.toml")
    }
}

/// The control socket of a state directory.
pub(crate) fn default_socket(state_dir: &Path) -> PathBuf {
    if cfg!(windows) {
        // Pipes have a namespace of their own, so the pipe's name contains the directory.
        let label: String = state_dir
            .to_string_lossy()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        PathBuf::from(format!(r"\\.\pipe\bowline-{label}"))
    } else {
        state_dir.join("daemon.sock")
    }
}
