//! Where the daemon keeps things when nobody says otherwise.

use std::path::{Path, PathBuf};

/// State directory by the habits of the platform: XDG on Unix, `Library` on macOS, `LOCALAPPDATA` on Windows.
pub fn default_state_dir() -> Option<PathBuf> {
    state_dir_from(&|name| std::env::var_os(name).map(PathBuf::from))
}

/// The configuration file that is read when none is named, if it exists.
pub fn default_config_file() -> Option<PathBuf> {
    config_file_from(&|name| std::env::var_os(name).map(PathBuf::from))
        .filter(|file| file.is_file())
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// Relative paths in these variables are to be ignored, says the XDG specification.
fn absolute(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).filter(|path| path.is_absolute())
}

fn state_dir_from(lookup: Lookup<'_>) -> Option<PathBuf> {
    if cfg!(windows) {
        return absolute(lookup, "LOCALAPPDATA").map(|base| base.join("Bowline").join("daemon"));
    }
    if let Some(base) = absolute(lookup, "XDG_STATE_HOME") {
        return Some(base.join("bowline").join("daemon"));
    }
    let home = absolute(lookup, "HOME")?;
    Some(if cfg!(target_os = "macos") {
        home.join("Library/Application Support/Bowline/daemon")
    } else {
        home.join(".local/state/bowline/daemon")
    })
}

fn config_file_from(lookup: Lookup<'_>) -> Option<PathBuf> {
    let base = if cfg!(windows) {
        absolute(lookup, "APPDATA")?.join("Bowline")
    } else {
        absolute(lookup, "XDG_CONFIG_HOME")
            .or_else(|| absolute(lookup, "HOME").map(|home| home.join(".config")))?
            .join("bowline")
    };
    Some(base.join("daemon.toml"))
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
            state_dir_from(&full),
            Some(PathBuf::from("/s/bowline/daemon"))
        );
        let relative = |name: &str| match name {
            "XDG_STATE_HOME" | "XDG_CONFIG_HOME" => Some(PathBuf::from("s")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert!(state_dir_from(&relative).is_some_and(|dir| dir.starts_with("/home/ann")));
        assert_eq!(
            config_file_from(&relative),
            Some(PathBuf::from("/home/ann/.config/bowline/daemon.toml"))
        );
        assert_eq!(
            state_dir_from(&|_| None),
            None,
            "no home: the caller must name one"
        );
    }
}
