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
        #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_TLS_CERT")]
        tls_cert: Option<PathBuf>;
        /// Private key (PEM); read again on SIGHUP
        #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_TLS_KEY")]
        tls_key: Option<PathBuf>;
        /// File with the token that daemons must send to register
        #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_DAEMON_TOKEN_FILE")]
        daemon_token_file: Option<PathBuf>;
        #[command(flatten)]
        #[serde(default)]
        #[allow(missing_docs, reason = "clap would take a comment for help of the whole")]
        limits: WrittenLimits;
    }

    /// Token that daemons must send to register (a private relay); better in a variable or a
    /// file, because the list of processes shows flags
    daemon_token: Option<Secret> => Option<Secret> = None,
        arg(long, global = true, value_name = "TOKEN", env = "BOWLINE_DAEMON_TOKEN",
            hide_env_values = true);
    /// Where daemons reach this relay, as wss://relay.example.org; repeatable; needed behind a proxy
    /// and for names without TLS of its own
    origin: Option<Vec<RelayOrigin>> => Vec<RelayOrigin> = Vec::new(),
        arg(long, global = true, value_name = "URL", env = "BOWLINE_ORIGIN", value_delimiter = ',');
    /// Origins of web pages that may connect, as https://app.example.org; repeatable [default: none]
    allowed_origins: Option<Vec<Origin>> => Vec<Origin> = Vec::new(),
        arg(long, global = true, value_name = "ORIGIN", env = "BOWLINE_ALLOWED_ORIGINS", value_delimiter = ',');
    /// Names under which a loopback listener is reached, besides localhost; repeatable
    allowed_hosts: Option<Vec<HostName>> => Vec<HostName> = Vec::new(),
        arg(long, global = true, value_name = "NAME", env = "BOWLINE_ALLOWED_HOSTS", value_delimiter = ',');
    /// Where to listen; repeatable; port 0 picks a free one [default: 0.0.0.0:4718]
    listen: Option<Vec<SocketAddr>> => Vec<SocketAddr> = vec![(Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()],
        arg(long, global = true, value_name = "ADDR:PORT", env = "BOWLINE_LISTEN", value_delimiter = ',');
    /// Address of GET /metrics, for Prometheus [default: off]
    metrics: Option<SocketAddr> => Option<SocketAddr> = None,
        arg(long, global = true, value_name = "ADDR:PORT", env = "BOWLINE_METRICS");
    /// Trusted proxy, whose X-Forwarded-For counts; repeatable
    trusted_proxy: Option<Vec<Network>> => Vec<Network> = Vec::new(),
        arg(long, global = true, value_name = "NETWORK", env = "BOWLINE_TRUSTED_PROXY", value_delimiter = ',');
    /// Threads that forward [default: 1]
    threads: Option<usize> => usize = 1,
        arg(long, global = true, value_name = "N", env = "BOWLINE_THREADS");
    /// Log filter, for example `info` or `bowline_relay=debug` [default: info]
    log: Option<String> => String = "info".to_owned(),
        arg(long, global = true, value_name = "FILTER", env = "BOWLINE_LOG");
    /// Format of log lines on standard error [default: text]
    log_format: Option<LogFormat> => LogFormat = LogFormat::default(),
        arg(long, global = true, value_name = "FORM", env = "BOWLINE_LOG_FORMAT");
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
    sockets: Option<u32> => u32 = limits::SOCKETS,
        arg(long, global = true, value_name = "N", env = "BOWLINE_SOCKETS");
    /// Open sockets per address [default: 1024]
    sockets_per_address: Option<u32> => u32 = limits::SOCKETS_PER_ADDRESS,
        arg(long, global = true, value_name = "N", env = "BOWLINE_SOCKETS_PER_ADDRESS");
    /// Client sockets per daemon [default: 256]
    sockets_per_daemon: Option<u32> => u32 = limits::SOCKETS_PER_DAEMON,
        arg(long, global = true, value_name = "N", env = "BOWLINE_SOCKETS_PER_DAEMON");
    /// Client sockets per session [default: 8]
    sockets_per_session: Option<u32> => u32 = limits::SOCKETS_PER_SESSION,
        arg(long, global = true, value_name = "N", env = "BOWLINE_SOCKETS_PER_SESSION");
    /// Registrations per address and minute [default: 60]
    registrations_per_minute: Option<u32> => u32 = limits::REGISTRATIONS_PER_MINUTE,
        arg(long, global = true, value_name = "N", env = "BOWLINE_REGISTRATIONS_PER_MINUTE");
    /// Client and data sockets that one address opens per minute [default: 600]
    opens_per_minute: Option<u32> => u32 = limits::OPENS_PER_MINUTE,
        arg(long, global = true, value_name = "N", env = "BOWLINE_OPENS_PER_MINUTE");
    /// Timeout of TLS and the request, and of a registration [default: 10s]
    handshake_timeout: Option<Deadline> => Duration = limits::HANDSHAKE,
        arg(long, global = true, value_name = "TIME", env = "BOWLINE_HANDSHAKE_TIMEOUT");
    /// Timeout of the daemon's data socket after a session's first client [default: 10s]
    peer_wait: Option<Deadline> => Duration = limits::PEER_WAIT,
        arg(long, global = true, value_name = "TIME", env = "BOWLINE_PEER_WAIT");
    /// Ping a daemon idle for this time; drop it after twice this time [default: 4s]
    heartbeat: Option<Deadline> => Duration = limits::HEARTBEAT,
        arg(long, global = true, value_name = "TIME", env = "BOWLINE_HEARTBEAT");
    /// Time that sessions outlive their daemon's control socket [default: 10s]
    control_grace: Option<Deadline> => Duration = limits::CONTROL_GRACE,
        arg(long, global = true, value_name = "TIME", env = "BOWLINE_CONTROL_GRACE");
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
