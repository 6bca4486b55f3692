//! The shape of the TOML file. Unknown keys are errors that name the key and its line.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{ConfigError, Lapse, LogFormat, Network};

/// Largest file that is read; a longer one is an error.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A configuration file as written: what is absent is `None`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each key is documented where it is used: `Settings`"
)]
pub struct FileConfig {
    pub listen: Option<Vec<SocketAddr>>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub daemon_token: Option<String>,
    pub trusted_proxy: Option<Vec<Network>>,
    pub threads: Option<usize>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
    #[serde(default)]
    pub limits: FileLimits,
}

/// `[limits]` as written, and as flags say it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each key is documented where it is used: `Limits`"
)]
pub struct FileLimits {
    pub sockets: Option<u32>,
    pub sockets_per_address: Option<u32>,
    pub sockets_per_daemon: Option<u32>,
    pub sockets_per_session: Option<u32>,
    pub registrations_per_minute: Option<u32>,
    pub opens_per_minute: Option<u32>,
    pub handshake_timeout: Option<Lapse>,
    pub peer_wait: Option<Lapse>,
    pub heartbeat: Option<Lapse>,
    pub control_grace: Option<Lapse>,
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::File`] with line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(unreadable(std::io::Error::other("it is over 1 MiB")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file; `path` is for errors only.
    ///
    /// # Errors
    /// [`ConfigError::File`] with line and key.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let content = text.lines().nth(line - 1).unwrap_or_default();
            let key = content.split('=').next().unwrap_or_default().trim();
            let message = error.message();
            // An unknown key is named by the message itself; of a wrong value only the line is known.
            let problem = if key.is_empty() || message.contains(&format!("`{key}`")) {
                message.to_owned()
            } else {
                format!("`{key}`: {message}")
            };
            ConfigError::File {
                path: path.to_owned(),
                line,
                problem,
            }
        })
    }
}
