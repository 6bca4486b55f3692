//! The configuration file and the small types its values parse into. Unknown keys are errors that name the key
//! and its line.

use std::{fmt, path::Path, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::{
    args::{LogFormat, Only},
    failure::CliError,
};

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration file as written: what is absent is `None`. Each key is the flag of that name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    pub(crate) json: Option<bool>,
    pub(crate) only: Option<Only>,
    pub(crate) timeout: Option<Lapse>,
    pub(crate) give_up: Option<Lapse>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) log: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) host: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) limit: Option<u64>,
}

impl FileConfig {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let unreadable = |problem: &dyn fmt::Display| {
            let message = format!(
                "cannot read the configuration {}: {problem}",
                path.display()
            );
            CliError::usage("config", message)
        };
        let size = std::fs::metadata(path)
            .map_err(|error| unreadable(&error))?
            .len();
        if size > MAX_BYTES {
            return Err(unreadable(&"it is over 1 MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file; `path` is for errors only.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, CliError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
            let message = error.message();
            // An unknown key is named by the message itself, a wrong value only by its place.
            let key = text
                .lines()
                .nth(line - 1)
                .and_then(|content| content.split_once('='))
                .map(|(key, _)| key.trim())
                .filter(|key| !key.is_empty() && !message.contains(&format!("`{key}`")))
                .map(|key| format!("`{key}`: "))
                .unwrap_or_default();
            CliError::usage(
                "config",
                format!("{}:{line}: {key}{message}", path.display()),
            )
        })
    }
}

/// A duration setting: `"30s"`, `"10m"`, `"24h"`, `"500ms"`; `"0s"` means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lapse(Option<Duration>);

impl Lapse {
    /// The duration, or `None` for ever.
    pub(crate) const fn get(self) -> Option<Duration> {
        self.0
    }
}

impl FromStr for Lapse {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no duration; write for example \"30s\", \"10m\" or \"500ms\" (\"0s\" = for ever)"
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let millis = number.checked_mul(unit_millis).ok_or_else(wrong)?;
        Ok(Self((millis > 0).then(|| Duration::from_millis(millis))))
    }
}

impl<'de> Deserialize<'de> for Lapse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        FileConfig::parse(text, Path::new("client.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error("host = \"x\"\n\nporvider = \"shell\"\n");
        assert!(text.starts_with("client.toml:3: "), "{text}");
        assert!(text.contains("`porvider`"), "{text}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let text = error("# mine\ntimeout = \"5 minutes\"\n");
        assert!(text.starts_with("client.toml:2: `timeout`: "), "{text}");
        assert!(
            text.contains("\"10m\""),
            "it says what would be right: {text}"
        );
        let text = error("only = \"wifi\"\n");
        assert!(
            text.starts_with("client.toml:1: ") && text.contains("wifi"),
            "{text}"
        );
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            json = true
            only = "direct"
            timeout = "10s"
            give_up = "0s"
            state_dir = "/s"
            log = "info"
            log_format = "json"
            host = "workshop"
            provider = "shell"
            cwd = "/"
            limit = 7
        "#;
        let file = FileConfig::parse(text, Path::new("x")).unwrap();
        assert_eq!(file.timeout.unwrap().get(), Some(Duration::from_secs(10)));
        assert_eq!(file.give_up.unwrap().get(), None, "0s means for ever");
        assert_eq!((file.only, file.limit), (Some(Only::Direct), Some(7)));
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(
            "2h".parse::<Lapse>().unwrap().get(),
            Some(Duration::from_secs(7_200))
        );
        assert_eq!(
            "250ms".parse::<Lapse>().unwrap().get(),
            Some(Duration::from_millis(250))
        );
        for wrong in [
            "",
            "s",
            "10",
            "10 s",
            "-1s",
            "1.5h",
            "99999999999999999999s",
        ] {
            assert!(wrong.parse::<Lapse>().is_err(), "{wrong}");
        }
    }
}
