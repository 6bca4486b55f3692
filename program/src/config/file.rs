//! A settings file in TOML. Errors name the line and the key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest file that is read; a larger one is an error.
const MAX_BYTES: u64 = 1 << 20;

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read, or is over the size limit.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The file has a syntax error, an unknown key or an invalid value.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The problem, with the key.
        problem: String,
    },
}

/// Reads a file.
///
/// # Errors
/// [`FileError`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let unreadable = |error| FileError::Unreadable {
        path: path.to_owned(),
        error,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(unreadable(std::io::Error::other("it is over 1 MiB")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, path)
}

/// Parses the text of a file. `path` appears in errors only.
///
/// # Errors
/// [`FileError::Malformed`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
        let message = error.message();
        // The message itself names an unknown or missing key; a wrong value is located by its line.
        let content = text.lines().nth(line - 1).unwrap_or_default();
        let key = content.split_once('=').map(|(key, _)| key.trim());
        let key = key.filter(|key| !key.is_empty() && !message.contains(&format!("`{key}`")));
        FileError::Malformed {
            path: path.to_owned(),
            line,
            problem: key.map_or_else(|| message.to_owned(), |key| format!("`{key}`: {message}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timeout;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[allow(dead_code, reason = "what the tests read is the error")]
        timeout: Option<Timeout>,
    }

    fn error(text: &str) -> String {
        let path = Path::new("settings.toml");
        parse::<Settings>(text, path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_key() {
        let wrong_value = error("\n\ntimeout = \"soon\"\n");
        assert!(
            wrong_value.starts_with("settings.toml:3: `timeout`: `soon` is no duration"),
            "{wrong_value}"
        );
        let unknown = error("\ntimout = \"1s\"\n");
        assert!(
            unknown.starts_with("settings.toml:2: unknown field `timout`"),
            "{unknown}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_too_long_is_named() {
        let folder = std::env::temp_dir();
        let missing = folder.join("bowline-no-such-settings.toml");
        let error = read::<Settings>(&missing).unwrap_err().to_string();
        assert!(error.contains("bowline-no-such-settings.toml"), "{error}");
    }
}
