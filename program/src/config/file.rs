//! A settings file in TOML. Errors name the line and the key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, ValueDeserializer},
};

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

/// What a settings file has under one top-level key, to be read apart from the rest.
#[derive(Debug)]
pub struct Part<'a> {
    value: Spanned<DeValue<'a>>,
    text: &'a str,
    path: &'a Path,
}

impl Part<'_> {
    /// Its value.
    ///
    /// # Errors
    /// [`FileError::Malformed`] with line and key.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, FileError> {
        // An error of the value as a whole does not say where it is.
        let start = self.value.span().start;
        let read = T::deserialize(ValueDeserializer::from(self.value));
        read.map_err(|error| malformed(&error, start, self.text, self.path))
    }
}

/// Reads a file, and gives what it has under each of `keys` to `take`.
///
/// # Errors
/// [`FileError`]; those of `take`.
pub fn read_apart<T: DeserializeOwned>(
    path: &Path,
    keys: &[&str],
    take: impl FnMut(&str, Part<'_>) -> Result<(), FileError>,
) -> Result<T, FileError> {
    let unreadable = |error| FileError::Unreadable {
        path: path.to_owned(),
        error,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(unreadable(std::io::Error::other("it is over 1 MiB")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_apart(&text, path, keys, take)
}

/// Parses the text of a file. `path` appears in errors only.
///
/// # Errors
/// [`FileError::Malformed`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    parse_apart(text, path, &[], |_, _| Ok(()))
}

/// As [`parse`], and gives what the text has under each of `keys` to `take`.
///
/// # Errors
/// [`FileError::Malformed`]; those of `take`.
pub fn parse_apart<T: DeserializeOwned>(
    text: &str,
    path: &Path,
    keys: &[&str],
    mut take: impl FnMut(&str, Part<'_>) -> Result<(), FileError>,
) -> Result<T, FileError> {
    let failed = |error| malformed(&error, 0, text, path);
    let mut table = DeTable::parse(text).map_err(failed)?;
    for key in keys {
        if let Some(value) = table.get_mut().remove(*key) {
            take(key, Part { value, text, path })?;
        }
    }
    let own: Vec<_> = table.get_ref().keys().map(Spanned::span).collect();
    T::deserialize(Deserializer::from(table)).map_err(|error| {
        let mut failed = failed(error.clone());
        let is_of_a_key = error.span().is_some_and(|span| own.contains(&span));
        if let FileError::Malformed { problem, .. } = &mut failed
            && is_of_a_key
            && error.message().contains("expected")
        {
            // An unknown key: the message lists those of `T`.
            keys.iter()
                .for_each(|key| problem.push_str(&format!(", `{key}`")));
        }
        failed
    })
}

fn malformed(error: &toml::de::Error, start: usize, text: &str, path: &Path) -> FileError {
    let start = error.span().map_or(start, |span| span.start);
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
    fn what_is_read_apart_has_its_lines_and_is_no_key_of_the_rest() {
        let read = |text: &str| {
            let mut parts = Vec::new();
            let path = Path::new("settings.toml");
            let rest = parse_apart::<Settings>(text, path, &["wait", "more"], |key, part| {
                parts.push((key.to_owned(), part.read::<Timeout>()?.to_string()));
                Ok(())
            });
            rest.map(|_| parts).map_err(|error| error.to_string())
        };
        let parts = read("wait = \"2s\"\ntimeout = \"1s\"\n").unwrap();
        assert_eq!(parts, [("wait".to_owned(), "2s".to_owned())]);
        let error = read("timeout = \"1s\"\nmore = \"soon\"\n").unwrap_err();
        assert!(
            error.starts_with("settings.toml:2: `more`: `soon`"),
            "{error}"
        );
        let error = read("wait = \"2s\"\nwiat = \"2s\"\n").unwrap_err();
        assert!(
            error.starts_with("settings.toml:2: unknown field `wiat`")
                && error.ends_with("`timeout`, `wait`, `more`"),
            "{error}"
        );
        let nested = read("timeout = { a = 1 }\n").unwrap_err();
        assert!(!nested.contains("`more`"), "{nested}");
    }

    #[test]
    fn a_file_that_is_not_there_or_too_long_is_named() {
        let folder = std::env::temp_dir();
        let missing = folder.join("bowline-no-such-settings.toml");
        let error = read_apart::<Settings>(&missing, &[], |_, _| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("bowline-no-such-settings.toml"), "{error}");
    }
}
