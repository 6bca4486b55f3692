//! A settings file in TOML. Errors name the line and the key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, ValueDeserializer},
};

/// A top-level key that is read apart from the rest.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    /// The key.
    pub key: &'static str,
    /// Keys below it that files may still have in another table, and the name of that table.
    pub formerly: Option<(&'static str, &'static [&'static str])>,
}

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

/// Reads a file, and gives what it has under the key of each `apart` to `take`.
///
/// # Errors
/// [`FileError`]; those of `take`.
pub fn read_apart<T: DeserializeOwned>(
    path: &Path,
    apart: &[Apart],
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
    parse_apart(&text, path, apart, take)
}

/// Parses the text of a file. `path` appears in errors only.
///
/// # Errors
/// [`FileError::Malformed`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    parse_apart(text, path, &[], |_, _| Ok(()))
}

/// As [`parse`], and gives what the text has under the key of each `apart` to `take`.
///
/// # Errors
/// [`FileError::Malformed`]; those of `take`.
pub fn parse_apart<T: DeserializeOwned>(
    text: &str,
    path: &Path,
    apart: &[Apart],
    mut take: impl FnMut(&str, Part<'_>) -> Result<(), FileError>,
) -> Result<T, FileError> {
    let failed = |error| malformed(&error, 0, text, path);
    let mut table = DeTable::parse(text).map_err(failed)?;
    for Apart { key, formerly } in apart {
        if let Some((former, keys)) = formerly {
            move_keys(table.get_mut(), former, keys, key)
                .map_err(|moved| moved.twice(text, path))?;
        }
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
            apart
                .iter()
                .for_each(|Apart { key, .. }| problem.push_str(&format!(", `{key}`")));
        }
        failed
    })
}

/// A key that a file has in its table and in the former one.
struct Twice {
    key: &'static str,
    former: &'static str,
    table: &'static str,
    start: usize,
}

impl Twice {
    fn twice(&self, text: &str, path: &Path) -> FileError {
        let Self {
            key, former, table, ..
        } = self;
        FileError::Malformed {
            path: path.to_owned(),
            line: line_of(text, self.start),
            problem: format!(
                "`{key}` is under `[{table}]` as well: remove it from `[{former}]`, where it was earlier"
            ),
        }
    }
}

/// Moves the `keys` of the `former` table into that of `key`.
fn move_keys(
    file: &mut DeTable<'_>,
    former: &'static str,
    keys: &'static [&'static str],
    table: &'static str,
) -> Result<(), Twice> {
    let Some(DeValue::Table(old)) = file.get_mut(former).map(Spanned::get_mut) else {
        return Ok(());
    };
    let found: Vec<_> = keys
        .iter()
        .filter_map(|key| old.remove_entry(*key))
        .collect();
    let Some((first, _)) = found.first() else {
        return Ok(());
    };
    let (span, name) = (first.span(), Spanned::new(first.span(), table.into()));
    let empty = || Spanned::new(span, DeValue::Table(DeTable::new()));
    let DeValue::Table(to) = file.entry(name).or_insert_with(empty).get_mut() else {
        // What is read apart says that it is no table.
        return Ok(());
    };
    for (key, value) in found {
        if let Some(name) = keys
            .iter()
            .find(|it| to.contains_key(**it) && key.get_ref() == **it)
        {
            return Err(Twice {
                key: name,
                former,
                table,
                start: key.span().start,
            });
        }
        to.insert(key, value);
    }
    Ok(())
}

/// The line of that byte, from 1.
fn line_of(text: &str, start: usize) -> usize {
    text.get(..start).unwrap_or(text).matches('\n').count() + 1
}

fn malformed(error: &toml::de::Error, start: usize, text: &str, path: &Path) -> FileError {
    let start = error.span().map_or(start, |span| span.start);
    let line = line_of(text, start);
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
    use std::collections::BTreeMap;

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
            let apart = ["wait", "more"].map(|key| Apart {
                key,
                formerly: None,
            });
            let rest = parse_apart::<Settings>(text, path, &apart, |key, part| {
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
    fn what_is_in_its_former_table_is_read_as_if_it_were_in_its_own() {
        let read = |text: &str| {
            let mut parts = Vec::new();
            let apart = Apart {
                key: "waits",
                formerly: Some(("timeouts", &["first", "last"])),
            };
            let rest = parse_apart::<BTreeMap<String, BTreeMap<String, Timeout>>>(
                text,
                Path::new("settings.toml"),
                &[apart],
                |_, part| {
                    let waits = part.read::<BTreeMap<String, Timeout>>()?;
                    parts.extend(waits.into_iter().map(|(key, it)| format!("{key} {it}")));
                    Ok(())
                },
            );
            rest.map(|rest| (parts, rest.into_values().map(|it| it.len()).sum::<usize>()))
                .map_err(|error| error.to_string())
        };
        let all =
            |parts: &[&str], rest| Ok((parts.iter().map(|it| (*it).to_owned()).collect(), rest));
        let former = "[timeouts]\nfirst = \"1s\"\nother = \"3s\"\n";
        assert_eq!(read(former), all(&["first 1s"], 1));
        let both = "[waits]\nlast = \"2s\"\n[timeouts]\nfirst = \"1s\"\n";
        assert_eq!(read(both), all(&["first 1s", "last 2s"], 0));
        assert_eq!(read("[waits]\nlast = \"2s\"\n"), all(&["last 2s"], 0));
        let twice = read("[waits]\nfirst = \"2s\"\n[timeouts]\nfirst = \"1s\"\n").unwrap_err();
        assert!(
            twice.starts_with("settings.toml:4: `first` is under `[waits]` as well"),
            "{twice}"
        );
        let wrong = read("[timeouts]\nother = \"3s\"\nfirst = \"soon\"\n").unwrap_err();
        assert!(
            wrong.starts_with("settings.toml:3: `first`: `soon`"),
            "{wrong}"
        );
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
