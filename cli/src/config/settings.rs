//! Every setting, declared once: as resolved and as one source contains it, the command line with
//! its variables or the file. Each is a key of the file; those shared by all commands are also
//! flags and `BOWLINE_…` variables.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_program::{
    ConfigError, LogFormat, Timeout,
    config::{self, ProxyUrl, Sets, Source},
    machine_name, settings,
};
use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde::Deserialize;

use crate::failure::CliError;

/// Default time without reaching a host before a command fails.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

settings! {
    /// The resolved settings.
    #[derive(Clone, Debug)]
    pub(crate) struct Settings(state_dir: &Path) {}

    /// Settings as written; absent ones are `None`. An unknown key is an error that names it and
    /// its line.
    #[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
    #[command(next_help_heading = "Shared options")]
    #[serde(deny_unknown_fields)]
    struct Written {}

    /// Print JSON, one object per line
    json: bool => bool = false,
        arg(long, env = "BOWLINE_JSON", value_parser = BoolishValueParser::new()),
        serde(default);
    /// Use only paths of this kind
    only("KIND"): Option<Only> => Option<Only> = None;
    /// Time without reaching a host after which a command ends with exit code 3; "0s" = no
    /// limit [default: 30s]
    timeout("DURATION"): Option<Timeout> => Option<Duration> = Some(DEFAULT_TIMEOUT);
    /// Time that `run`, `send` and `history` continue after losing a connection; "0s" = no
    /// limit [default: 0s]
    give_up("DURATION"): Option<Timeout> => Option<Duration> = None;
    /// Certificates (PEM) to trust for relays besides the public ones; repeatable
    relay_root("FILE", list): Option<Vec<PathBuf>> => Vec<PathBuf> = Vec::new();
    /// Proxy: http://, https:// or socks5://, with USER:PASSWORD@ if required; then better set
    /// in the variable or the file [default: from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
    /// NO_PROXY]
    proxy("URL"): Option<ProxyUrl> => Option<ProxyUrl> = None;
    /// Folder of this client's identity, hosts and undelivered requests [default: bowline in
    /// the user's state folder]
    state_dir("DIR"): Option<PathBuf> => PathBuf = state_dir.to_owned();
    /// Name of this device in the daemon's device list; sent when pairing [default: this
    /// machine's name]
    device_name("NAME"): Option<String> => Option<String> = machine_name();
    /// Log filter for stderr, for example debug or bowline_runtime=info [default: error]
    log("FILTER"): Option<String> => String = "error".to_owned();
    /// Log format [default: text]
    log_format("FORM"): Option<LogFormat> => LogFormat = LogFormat::default();
    /// Default host. A flag of the commands with a host.
    host: Option<String> => Option<String> = None, arg(skip);
    /// Default provider of `run`. A flag of `run`.
    provider: Option<String> => Option<String> = None, arg(skip);
    /// Default directory of `run`. A flag of `run`.
    cwd: Option<String> => Option<String> = None, arg(skip);
    /// Default number of items of `history`. A flag of `history`.
    limit: Option<u64> => Option<u64> = None, arg(skip);
}

/// A kind of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Only {
    /// Straight to the daemon
    Direct,
    /// Through a relay
    Relay,
    /// On the daemon's own machine
    Local,
}

impl From<Only> for bowline_runtime::machines::Path {
    fn from(only: Only) -> Self {
        match only {
            Only::Direct => Self::Direct,
            Only::Relay => Self::Relay,
            Only::Local => Self::Local,
        }
    }
}

impl Source for Written {}

impl Settings {
    /// Resolves the settings `written` on the command line over those of the file: `file` if given,
    /// else the default one.
    pub(crate) fn load(file: Option<PathBuf>, written: Written) -> Result<Self, CliError> {
        let default = config::config_file("bowline", "client.toml");
        let usage = |error: ConfigError| CliError::usage("config", error);
        let written = config::load(written, file, default).map_err(|error| usage(error.into()))?;
        Self::resolve(written, || config::state_dir("bowline", "bowline")).map_err(usage)
    }

    fn resolve(
        written: Written,
        default_state_dir: impl FnOnce() -> Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let state_dir = written.state_dir.clone().or_else(default_state_dir);
        let mut settings = Self::standard(&state_dir.ok_or(ConfigError::NoHome)?);
        written.set(&mut settings);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use bowline_program::config::{FileError, Layer, parse};

    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = Written {
            timeout: Some("5s".parse().unwrap()),
            log: Some("debug".into()),
            ..Written::default()
        };
        let flags = Written {
            timeout: Some("0s".parse().unwrap()),
            ..Written::default()
        };
        let state_dir = || Some(PathBuf::from("/s"));
        let settings = Settings::resolve(flags.over(file.clone()), state_dir).unwrap();
        assert_eq!(settings.timeout, None);
        assert_eq!(settings.log, "debug");
        let settings = Settings::resolve(file, state_dir).unwrap();
        assert_eq!(settings.timeout, Some(Duration::from_secs(5)));
        let settings = Settings::resolve(Written::default(), state_dir).unwrap();
        assert_eq!(settings.timeout, Some(DEFAULT_TIMEOUT));
        assert_eq!((settings.give_up, settings.log.as_str()), (None, "error"));
        let homeless = Settings::resolve(Written::default(), || None);
        assert!(homeless.unwrap_err().to_string().contains("--state-dir"));
    }

    fn error(text: &str) -> String {
        let read: Result<Written, FileError> = parse(text, "client.toml".as_ref());
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
            proxy = "http://proxy:3128"
            state_dir = "/s"
            device_name = "ann-laptop"
            log = "info"
            log_format = "json"
            host = "workshop"
            provider = "shell"
            cwd = "/"
            limit = 7
        "#;
        let file: Written = parse(text, "x".as_ref()).unwrap();
        assert_eq!(file.timeout.unwrap().get(), Some(Duration::from_secs(10)));
        assert_eq!(file.give_up.unwrap().get(), None, "0s means for ever");
        assert_eq!((file.only, file.limit), (Some(Only::Direct), Some(7)));
    }
}
