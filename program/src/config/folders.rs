//! Default folders of programs, by the conventions of each platform.

use std::path::PathBuf;

/// The default state directory of a program: `unix` below `$XDG_STATE_HOME` (or `~/.local/state`),
/// `titled` below `~/Library/Application Support` on macOS and below `%LOCALAPPDATA%` on Windows.
/// `None`: the home directory is unknown.
pub fn state_dir(unix: &str, titled: &str) -> Option<PathBuf> {
    state_dir_from(&variable, unix, titled)
}

/// The default settings file: `name` in `folder` below `$XDG_CONFIG_HOME` (or `~/.config`), on
/// Windows below `%APPDATA%`. `None`: no such file exists.
pub fn config_file(folder: &str, name: &str) -> Option<PathBuf> {
    config_file_from(&variable, folder, name).filter(|file| file.is_file())
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// The XDG specification says that relative paths in these variables are ignored.
fn absolute(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).filter(|path| path.is_absolute())
}

fn state_dir_from(lookup: Lookup<'_>, unix: &str, titled: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        return absolute(lookup, "LOCALAPPDATA").map(|base| base.join(titled));
    }
    if let Some(base) = absolute(lookup, "XDG_STATE_HOME") {
        return Some(base.join(unix));
    }
    let home = absolute(lookup, "HOME")?;
    Some(if cfg!(target_os = "macos") {
        home.join("Library/Application Support").join(titled)
    } else {
        home.join(".local/state").join(unix)
    })
}

fn config_file_from(lookup: Lookup<'_>, folder: &str, name: &str) -> Option<PathBuf> {
    let base = if cfg!(windows) {
        absolute(lookup, "APPDATA")?
    } else {
        absolute(lookup, "XDG_CONFIG_HOME")
            .or_else(|| absolute(lookup, "HOME").map(|home| home.join(".config")))?
    };
    Some(base.join(folder).join(name))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn xdg_variables_rule_and_relative_ones_do_not_count() {
        let state = |lookup: Lookup<'_>| state_dir_from(lookup, "bowline/daemon", "Bowline/daemon");
        let config = |lookup: Lookup<'_>| config_file_from(lookup, "bowline", "daemon.toml");
        let full = |name: &str| match name {
            "XDG_STATE_HOME" => Some(PathBuf::from("/s")),
            "XDG_CONFIG_HOME" => Some(PathBuf::from("/c")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert_eq!(state(&full), Some(PathBuf::from("/s/bowline/daemon")));
        assert_eq!(config(&full), Some(PathBuf::from("/c/bowline/daemon.toml")));
        let relative = |name: &str| match name {
            "XDG_STATE_HOME" | "XDG_CONFIG_HOME" => Some(PathBuf::from("s")),
            "HOME" => Some(PathBuf::from("/home/ann")),
            _ => None,
        };
        assert!(state(&relative).is_some_and(|dir| dir.starts_with("/home/ann")));
        assert_eq!(
            config(&relative),
            Some(PathBuf::from("/home/ann/.config/bowline/daemon.toml"))
        );
        assert_eq!((state(&|_| None), config(&|_| None)), (None, None));
    }
}
