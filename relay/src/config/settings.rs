//! Every setting, declared once: as resolved and as one source contains it, the command line with
//! its variables or the file. Each is a flag, a `BOWLINE_…` variable and a key.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bowline_program::{
    HostName, Origin,
    config::{Secret, Source},
    settings,
};
use bowline_protocol::relay::{RelayOrigin, limits};
use clap::Args;
use serde::Deserialize;

use super::{DEFAULT_PORT, Deadline, LogFormat, Network, TlsFiles};

settings! {
    /// All settings of the relay.
    #[derive(Clone, Debug)]
    pub struct Settings {
        /// Certificate and key; without them the relay serves plain TCP, behind a proxy.
        tls: Option<TlsFiles> = None;
        /// The limits in force.
        limits: Limits = Limits::default();
    }

    /// Written settings: an absent one is `None`. An unknown key is an error with its name and
    /// line.
    #[derive(Clone, Default, Args, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        /// Certificate chain (PEM); read again on SIGHUP
        tls_cert("FILE"): Option<PathBuf>;
        /// Private key (PEM); read again on SIGHUP
        tls_key("FILE"): Option<PathBuf>;
        /// File with the token that daemons must send to register
        daemon_token_file("FILE"): Option<PathBuf>;
        #[command(flatten)]
        #[serde(default)]
        #[allow(missing_docs, reason = "clap would take a comment for help of the whole")]
        limits: WrittenLimits;
    }

    /// Token that daemons must send to register (a private relay); better in a variable or a
    /// file, because the list of processes shows flags
    daemon_token("TOKEN"): Option<Secret> => Option<Secret> = None,
        arg(hide_env_values = true);
    /// Where daemons reach this relay, as wss://relay.example.org; repeatable; needed behind a
    /// proxy and for names without TLS of its own
    origin("URL", list): Option<Vec<RelayOrigin>> => Vec<RelayOrigin> = Vec::new();
    /// Origins of web pages that may connect, as https://app.example.org; repeatable
    /// [default: none]
    allowed_origins("ORIGIN", list): Option<Vec<Origin>> => Vec<Origin> = Vec::new();
    /// Names under which a loopback listener is reached, besides localhost; repeatable
    allowed_hosts("NAME", list): Option<Vec<HostName>> => Vec<HostName> = Vec::new();
    /// Where to listen; repeatable; port 0 picks a free one [default: 0.0.0.0:4718]
    listen("ADDR:PORT", list): Option<Vec<SocketAddr>> => Vec<SocketAddr> = vec![(Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()];
    /// Address of GET /metrics, for Prometheus [default: off]
    metrics("ADDR:PORT"): Option<SocketAddr> => Option<SocketAddr> = None;
    /// Trusted proxy, whose X-Forwarded-For counts; repeatable
    trusted_proxy("NETWORK", list): Option<Vec<Network>> => Vec<Network> = Vec::new();
    /// Threads that forward [default: 1]
    threads("N"): Option<usize> => usize = 1;
    /// Log filter, for example `info` or `bowline_relay=debug` [default: info]
    log("FILTER"): Option<String> => String = "info".to_owned();
    /// Format of log lines on standard error [default: text]
    log_format("FORM"): Option<LogFormat> => LogFormat = LogFormat::default();
}

settings! {
    /// Limits that a user may set; 0 means no limit, except for `sockets`.
    /// [`bowline_protocol::relay::limits`] has their effects and defaults.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Limits {}

    /// `[limits]` as written.
    #[derive(Clone, Default, Args, Deserialize)]
    #[command(next_help_heading = "Limits")]
    #[serde(deny_unknown_fields)]
    struct WrittenLimits {}

    /// All open sockets [default: 16384]
    sockets("N"): Option<u32> => u32 = limits::SOCKETS;
    /// Open sockets per address [default: 1024]
    sockets_per_address("N"): Option<u32> => u32 = limits::SOCKETS_PER_ADDRESS;
    /// Client sockets per daemon [default: 256]
    sockets_per_daemon("N"): Option<u32> => u32 = limits::SOCKETS_PER_DAEMON;
    /// Client sockets per session [default: 8]
    sockets_per_session("N"): Option<u32> => u32 = limits::SOCKETS_PER_SESSION;
    /// Registrations per address and minute [default: 60]
    registrations_per_minute("N"): Option<u32> => u32 = limits::REGISTRATIONS_PER_MINUTE;
    /// Client and data sockets that one address opens per minute [default: 600]
    opens_per_minute("N"): Option<u32> => u32 = limits::OPENS_PER_MINUTE;
    /// Timeout of TLS and the request, and of a registration [default: 10s]
    handshake_timeout("TIME"): Option<Deadline> => Duration = limits::HANDSHAKE;
    /// Timeout of the daemon's data socket after a session's first client [default: 10s]
    peer_wait("TIME"): Option<Deadline> => Duration = limits::PEER_WAIT;
    /// Ping a daemon idle for this time; drop it after twice this time [default: 4s]
    heartbeat("TIME"): Option<Deadline> => Duration = limits::HEARTBEAT;
    /// Time that sessions outlive their daemon's control socket [default: 10s]
    control_grace("TIME"): Option<Deadline> => Duration = limits::CONTROL_GRACE;
}

impl Source for Written {
    /// The token is one setting, in itself or in a file.
    fn replace_in(&self, below: &mut Self) {
        if self.daemon_token.is_some() || self.daemon_token_file.is_some() {
            below.daemon_token = None;
            below.daemon_token_file = None;
        }
    }
}
