//! What the relay is told: flags over `BOWLINE_…` variables over the file over defaults.
//!
//! `file` is the shape of the TOML file, `resolve` the one place where the four sources meet.
//! Everything else of the relay sees [`Settings`] alone.

mod file;
mod resolve;

use std::{net::SocketAddr, time::Duration};

use bowline_protocol::relay::limits;

pub use self::{
    file::{FileConfig, FileLimits},
    resolve::{Overrides, load, resolve},
};
pub use crate::{proxies::Network, tls::TlsFiles};
pub use bowline_program::{Deadline, LogFormat};

/// Port of the default listener.
pub const DEFAULT_PORT: u16 = 4718;

/// Everything the relay is told.
#[derive(Clone)]
pub struct Settings {
    /// Addresses of the listeners. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key; without them TLS is a proxy's business.
    pub tls: Option<TlsFiles>,
    /// What daemons must say to register: makes a private relay.
    pub daemon_token: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Threads that forward. One is enough for thousands of sessions.
    pub threads: usize,
    /// Filter of the log, in the syntax of `tracing`'s `EnvFilter`.
    pub log: String,
    /// Its form.
    pub log_format: LogFormat,
    /// The bounds in force.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![(std::net::Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()],
            tls: None,
            daemon_token: None,
            trusted_proxies: Vec::new(),
            threads: 1,
            log: "info".to_owned(),
            log_format: LogFormat::default(),
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            // A secret.
            .field("daemon_token", &self.daemon_token.is_some())
            .field("trusted_proxies", &self.trusted_proxies)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Every bound a user may set; 0 means no limit, except for `sockets`. What happens at each is said in
/// [`bowline_protocol::relay::limits`], where the defaults are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets of everybody, at least 1.
    pub sockets: u32,
    /// Sockets of one address.
    pub sockets_per_address: u32,
    /// Client sockets of one daemon.
    pub sockets_per_daemon: u32,
    /// Client sockets of one session.
    pub sockets_per_session: u32,
    /// Registrations of one address a minute.
    pub registrations_per_minute: u32,
    /// Client and data sockets that one address opens a minute.
    pub opens_per_minute: u32,
    /// From an accepted socket to its request, and from there to a proven registration.
    pub handshake: Duration,
    /// From the first client of a session to its data socket.
    pub peer_wait: Duration,
    /// Silence on a control socket after which the relay asks; after twice as much it is dead.
    pub heartbeat: Duration,
    /// How long sessions outlive their daemon's control socket.
    pub control_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: limits::SOCKETS,
            sockets_per_address: limits::SOCKETS_PER_ADDRESS,
            sockets_per_daemon: limits::SOCKETS_PER_DAEMON,
            sockets_per_session: limits::SOCKETS_PER_SESSION,
            registrations_per_minute: limits::REGISTRATIONS_PER_MINUTE,
            opens_per_minute: limits::OPENS_PER_MINUTE,
            handshake: limits::HANDSHAKE,
            peer_wait: limits::PEER_WAIT,
            heartbeat: limits::HEARTBEAT,
            control_grace: limits::CONTROL_GRACE,
        }
    }
}

/// Why the configuration cannot be used. Each text says where, what, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or something in it is not understood.
    #[error(transparent)]
    File(#[from] bowline_program::FileError),
    /// Values that are right one by one do not go together.
    #[error("{0}")]
    Conflict(String),
}
