//! The shape of the TOML file. Unknown keys are errors that name the key and its line.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{Deadline, LogFormat, Network};

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
    pub handshake_timeout: Option<Deadline>,
    pub peer_wait: Option<Deadline>,
    pub heartbeat: Option<Deadline>,
    pub control_grace: Option<Deadline>,
}
