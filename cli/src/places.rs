//! Where the client keeps things when nobody says otherwise.

use std::path::PathBuf;

/// State directory by the habits of the platform: XDG on Unix, `Library` on macOS, `LOCALAPPDATA` on Windows.
pub(crate) fn state_dir() -> Option<PathBuf> {
    state_dir_from(&variable)
}

/// The configuration file that is read when none is named, if it exists.
pub(crate) fn config_file() -> Option<PathBuf> {
    config_file_from(&variable).filter(|file| file.is_file())
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// Relative paths in these variables are to be ignored, says the XDG specification.
fn absolute(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).filter(|path| path.is_absolute())
}

fn state_dir_from(lookup: Lookup<'_>) -> Option<PathBuf> {
    let base = if cfg!(windows) {
        absolute(lookup, "LOCALAPPDATA")?
    } else if let Some(base) = absolute(lookup, "XDG_STATE_HOME") {
        base
    } else if cfg!(target_os = "macos") {
        absolute(lookup, "HOME")?.join("Library/Application Support")
    } else {
        absolute(lookup, "HOME")?.join(".local/state")
    };
    Some(base.join("bowline"))
}

fn config_file_from(lookup: Lookup<'_>) -> Option<PathBuf> {
    let base = if cfg!(windows) {
        absolute(lookup, "APPDATA")?
    } else {
        absolute(lookup, "XDG_CONFIG_HOME")
            .or_else(|| absolute(lookup, "HOME").map(|home| home.join(".config")))?
    };
    Some(base.join("bowline").join("client.toml"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn xdg_variables_rule_and_relative_ones_do_not_count() {
        let full = |name: &str| match name {
            "XDG_STATE_HOME" => Some(PathBuf::from("/s")),
            "XDG_CONFIG_HOME" => Some(PathBuf::from("/c")),
            _ => None,
        };
        assert_eq!(state_dir_from(&full), Some(PathBuf::from("/s/bowline")));
        let file = PathBuf::from("/c/bowline/client.toml");
        assert_eq!(config_file_from(&full), Some(file));
        let relative = |name: &str| match name {
            "XDG_STATE_HOME" => Some(PathBuf::from("s")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert!(state_dir_from(&relative).is_some_and(|dir| dir.starts_with("/home/ann")));
        assert_eq!(state_dir_from(&|_| None), None);
    }
}
