//! Where the daemon keeps things when nobody says otherwise.

use std::path::{Path, PathBuf};

/// The folders of one program, below those the platform has for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Below the state folder, on Unix …
    state: &'static str,
    /// … and where names begin with a capital.
    titled: &'static str,
    /// Below the folder of configurations.
    config: &'static str,
}

impl Home {
    /// Of `bowline-daemon`, which shares a folder with `bowline`.
    pub const BOWLINE: Self = Self {
        state: "bowline/daemon",
        titled: "Bowline/daemon",
        config: "bowline",
    };

    /// Of a program of that name.
    pub const fn of(name: &'static str) -> Self {
        Self {
            state: name,
            titled: name,
            config: name,
        }
    }

    /// State directory by the habits of the platform: XDG on Unix, `Library` on macOS, `LOCALAPPDATA` on Windows.
    pub fn state_dir(self) -> Option<PathBuf> {
        self.state_dir_from(&|name| std::env::var_os(name).map(PathBuf::from))
    }

    /// The configuration file that is read when none is named, if it exists.
    pub fn config_file(self) -> Option<PathBuf> {
        self.config_file_from(&|name| std::env::var_os(name).map(PathBuf::from))
            .filter(|file| file.is_file())
    }

    fn state_dir_from(self, lookup: Lookup<'_>) -> Option<PathBuf> {
        if cfg!(windows) {
            return absolute(lookup, "LOCALAPPDATA").map(|base| base.join(self.titled));
        }
        if let Some(base) = absolute(lookup, "XDG_STATE_HOME") {
            return Some(base.join(self.state));
        }
        let home = absolute(lookup, "HOME")?;
        Some(if cfg!(target_os = "macos") {
            home.join("Library/Application Support").join(self.titled)
        } else {
            home.join(".local/state").join(self.state)
        })
    }

    fn config_file_from(self, lookup: Lookup<'_>) -> Option<PathBuf> {
        let base = if cfg!(windows) {
            absolute(lookup, "APPDATA")?
        } else {
            absolute(lookup, "XDG_CONFIG_HOME")
                .or_else(|| absolute(lookup, "HOME").map(|home| home.join(".config")))?
        };
        Some(base.join(self.config).join("daemon.toml"))
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::BOWLINE
    }
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// Relative paths in these variables are to be ignored, says the XDG specification.
fn absolute(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).filter(|path| path.is_absolute())
}

/// The control socket of a state directory.
pub(crate) fn default_socket(state_dir: &Path) -> PathBuf {
    if cfg!(windows) {
        // Pipes live in a namespace of their own, so the directory becomes part of the name.
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn xdg_variables_rule_and_relative_ones_do_not_count() {
        let full = |name: &str| match name {
            "XDG_STATE_HOME" => Some(PathBuf::from("/s")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert_eq!(
            Home::BOWLINE.state_dir_from(&full),
            Some(PathBuf::from("/s/bowline/daemon"))
        );
        let relative = |name: &str| match name {
            "XDG_STATE_HOME" | "XDG_CONFIG_HOME" => Some(PathBuf::from("s")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert!(
            Home::BOWLINE
                .state_dir_from(&relative)
                .is_some_and(|dir| dir.starts_with("/home/ann"))
        );
        assert_eq!(
            Home::BOWLINE.config_file_from(&relative),
            Some(PathBuf::from("/home/ann/.config/bowline/daemon.toml"))
        );
        assert_eq!(
            Home::of("voxel").state_dir_from(&full),
            Some(PathBuf::from("/s/voxel")),
            "a program of an author has folders of its own"
        );
        assert_eq!(
            Home::BOWLINE.state_dir_from(&|_| None),
            None,
            "no home: the caller must name one"
        );
    }
}
