//! The configuration file. Unknown keys are errors that name the key and its line.

use std::path::{Path, PathBuf};

use bowline_program::{Lapse, LogFormat};
use serde::Deserialize;

use crate::{args::Only, failure::CliError};

/// A configuration file as written: what is absent is `None`. Each key is the flag of that name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    pub(crate) json: Option<bool>,
    pub(crate) only: Option<Only>,
    pub(crate) timeout: Option<Lapse>,
    pub(crate) give_up: Option<Lapse>,
    pub(crate) relay_root: Option<Vec<PathBuf>>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) device_name: Option<String>,
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
        bowline_program::read(path).map_err(|error| CliError::usage("config", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_program::{FileError, parse};

    use super::*;

    fn error(text: &str) -> String {
        let read: Result<FileConfig, FileError> = parse(text, Path::new("client.toml"));
        read.unwrap_err().to_string()
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
            relay_root = ["/etc/bowline/ca.pem"]
            state_dir = "/s"
            device_name = "ann-laptop"
            log = "info"
            log_format = "json"
            host = "workshop"
            provider = "shell"
            cwd = "/"
            limit = 7
        "#;
        let file: FileConfig = parse(text, Path::new("x")).unwrap();
        assert_eq!(file.timeout.unwrap().get(), Some(Duration::from_secs(10)));
        assert_eq!(file.give_up.unwrap().get(), None, "0s means for ever");
        assert_eq!((file.only, file.limit), (Some(Only::Direct), Some(7)));
    }
}
