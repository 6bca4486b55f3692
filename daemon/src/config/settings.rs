//! Every setting, declared once: as resolved and as one source contains it, the command line with
//! its variables or the file. Each is a key of the file, and those of `run` are also flags and
//! `BOWLINE_…` variables.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_program::{
    HostName, Origin,
    config::{Sets, Source},
    settings,
};
use bowline_protocol::{limits, relay::RelayUrlError};
use clap::{Args, builder::TypedValueParser, error::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{
    AdvertisedAddress, DEFAULT_PORT, Deadline, Inherited, LogFormat, ProxyUrl, RelayUrl,
    SectionValues, Timeout, home::default_socket,
};
use crate::{blobs::BlobLimits, ledger::Quotas};

const QUOTAS: Quotas = Quotas::DEFAULT;
const BLOBS: BlobLimits = BlobLimits::DEFAULT;

settings! {
    /// All settings of the daemon.
    #[derive(Clone, Debug)]
    pub struct Settings(state_dir: &Path) {
        /// The sections of services ([`Settings::section`]).
        sections: SectionValues = SectionValues::default();
        /// What the program had at its start. Not configurable: [`crate::run`] sets it, which also
        /// runs the program's hidden commands ([`crate::Program::hidden`]); without it there are
        /// none.
        inherited: Option<Inherited> = None;
    }

    /// Written settings: an absent one is `None`. An unknown key is an error with its name and
    /// line.
    #[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {}

    /// Origins of web pages that may connect, as https://app.example.org; repeatable
    /// [default: none]
    allowed_origins("ORIGIN", list): Option<Vec<Origin>> => Vec<Origin> = Vec::new();
    /// Names under which a loopback listener is reached, besides localhost; repeatable
    allowed_hosts("NAME", list): Option<Vec<HostName>> => Vec<HostName> = Vec::new();
    /// Where to listen; repeatable; port 0 picks a free one [default: 127.0.0.1:4717]
    listen("ADDR:PORT", list): Option<Vec<SocketAddr>> => Vec<SocketAddr> = vec![(Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()];
    /// Address of GET /metrics, for Prometheus [default: off]
    metrics("ADDR:PORT"): Option<SocketAddr> => Option<SocketAddr> = None;
    /// A relay to register with, wss://HOST, or wss://TOKEN@HOST if it is private; repeatable
    relay("URL", list): Option<Vec<RelayUrl>> => Vec<RelayUrl> = Vec::new(),
        arg(hide_env_values = true, value_parser = RelayParser),
        serde(default, deserialize_with = "super::values::relay_list");
    /// File with the token of the relay, if the relay is private and its URL contains none
    relay_token_file("FILE"): Option<PathBuf> => Option<PathBuf> = None;
    /// Certificates (PEM) to trust in relays besides the public ones; repeatable
    relay_root("FILE", list): Option<Vec<PathBuf>> => Vec<PathBuf> = Vec::new();
    /// Proxy for connections to relays: http://, https:// or socks5://, with USER:PASSWORD@ if
    /// it requires them, then better in the variable or the file [default: HTTPS_PROXY,
    /// HTTP_PROXY, ALL_PROXY and NO_PROXY apply]
    proxy("URL"): Option<ProxyUrl> => Option<ProxyUrl> = None,
        arg(hide_env_values = true);
    /// The daemon's name, for people [default: the machine's name]
    name("NAME"): Option<String> => String =
        bowline_program::machine_name().unwrap_or_else(|| "bowline".to_owned());
    /// Addresses to list in offers in place of the bound ones; repeatable
    advertise("HOST:PORT", list): Option<Vec<AdvertisedAddress>> => Vec<AdvertisedAddress> = Vec::new();
    /// Directory of identity and database. A flag of every command, see `commands`.
    state_dir: Option<PathBuf> => PathBuf = state_dir.to_owned(), arg(skip);
    /// The local control socket: a file, or on Windows a pipe name. A flag of every command.
    socket: Option<PathBuf> => PathBuf = default_socket(state_dir), arg(skip);
    /// Filter of the log, in the syntax of `tracing`'s `EnvFilter`. A flag of every command.
    log: Option<String> => String = "info".to_owned(), arg(skip);
    /// Format of the log lines. A flag of every command.
    log_format: Option<LogFormat> => LogFormat = LogFormat::Text, arg(skip);
    /// The limits in force: `[limits]`; no flags.
    limits: WrittenLimits => Limits = Limits::default(), arg(skip), serde(default);
}

settings! {
    /// Limits that a user may set. Each states its effect.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Limits {}

    /// `[limits]` as written.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct WrittenLimits {}

    /// Largest JSON-RPC text in bytes: a longer request closes the connection with
    /// `message_too_large`; a longer result is answered with `response_too_large`.
    max_message_bytes: Option<u32> => u32 = limits::MAX_MESSAGE_BYTES;
    /// Most pending requests per connection; further ones are answered with `overloaded`.
    max_in_flight: Option<u32> => u32 = limits::MAX_IN_FLIGHT;
    /// Most open sockets, including those in the handshake; further ones are refused with HTTP 503.
    max_connections: Option<u32> => u32 = 4_096;
    /// Most open connections of the local socket; further ones get the error `overloaded` and close
    /// with `session_capacity`.
    max_local_connections: Option<u32> => u32 = 1_024;
    /// Idle timeout of a local connection, which then closes with `idle_timeout`.
    idle_timeout: Option<Timeout> => Option<Duration> = Some(Duration::from_secs(300));
    /// Timeout of a request, which is then answered with `timeout`.
    request_timeout: Option<Timeout> => Option<Duration> = Some(Duration::from_secs(60));
    /// Time after which a detached session expires.
    session_grace: Option<Timeout> => Option<Duration> = Some(limits::SESSION_GRACE);
    /// Most bytes in a session's replay log; older events are removed.
    replay_bytes: Option<usize> => usize = limits::REPLAY_BYTES;
    /// Most events in a session's replay log; older ones are removed.
    replay_events: Option<usize> => usize = limits::REPLAY_EVENTS;
    /// Most intents of one device whose outcome is stored; further ones are answered with
    /// `rate_limited`. Zero: no limit, as of all limits of a device (TR-12).
    intents_per_device: Option<u64> => u64 = QUOTAS.intents;
    /// Most bytes of parameters and outcomes of one device's stored intents; further ones are
    /// answered with `rate_limited`.
    intent_bytes_per_device: Option<u64> => u64 = QUOTAS.intent_bytes;
    /// Most requests of one device that wait for the store; further ones are answered with
    /// `rate_limited`.
    waiting_per_device: Option<usize> => usize = QUOTAS.waiting;
    /// Most sessions of one device; over it the one detached longest is removed.
    sessions_per_device: Option<usize> => usize = QUOTAS.sessions;
    /// Most entries of services written by one device; a further one is answered with
    /// `quota_exceeded`.
    data_rows_per_device: Option<u64> => u64 = QUOTAS.data_rows;
    /// Most bytes of services' entries written by one device, answered in the same way.
    data_bytes_per_device: Option<u64> => u64 = QUOTAS.data_bytes;
    /// Most bytes of blobs put by one device, as long as they are stored; a further one is answered
    /// with `quota_exceeded`.
    blob_bytes_per_device: Option<u64> => u64 = BLOBS.bytes_per_device;
    /// Most bytes of all blobs; a further one is answered with `quota_exceeded`. Zero: no limit.
    blob_bytes: Option<u64> => u64 = BLOBS.bytes;
    /// Most bytes of one blob; a larger one is answered with `quota_exceeded`. Zero: no limit.
    max_blob_bytes: Option<u64> => u64 = BLOBS.blob;
    /// Time after which a blob is removed that nothing refers to.
    blob_grace: Option<Deadline> => Duration = limits::BLOB_GRACE;
    /// Most scopes of live tables that one session follows; a further one is answered with
    /// `quota_exceeded`.
    follows_per_session: Option<usize> => usize = limits::FOLLOWS_PER_SESSION;
    /// Largest size of the database in bytes; over it requests that write are answered with
    /// `storage_unavailable`. Zero: no limit.
    storage_limit: Option<u64> => u64 = 8 << 30;
    /// From an accepted socket to `session.ready`; past it the connection closes with
    /// `handshake_timeout`.
    handshake_timeout: Option<Deadline> => Duration = limits::HANDSHAKE_DEADLINE;
    /// Time without progress of a blocked socket after which its connection closes with
    /// `slow_consumer` (LS-19).
    write_timeout: Option<Deadline> => Duration = Duration::from_secs(20);
    /// Time without received bytes after which a session connection closes with
    /// `heartbeat_timeout`.
    heartbeat_timeout: Option<Timeout> => Option<Duration> = Some(Duration::from_secs(60));
}

impl Limits {
    /// What is kept for one device at most.
    pub(crate) const fn quotas(&self) -> Quotas {
        Quotas {
            intents: self.intents_per_device,
            intent_bytes: self.intent_bytes_per_device,
            waiting: self.waiting_per_device,
            sessions: self.sessions_per_device,
            data_rows: self.data_rows_per_device,
            data_bytes: self.data_bytes_per_device,
        }
    }

    /// What is kept of blobs at most.
    pub(crate) const fn blobs(&self) -> BlobLimits {
        BlobLimits {
            bytes_per_device: self.blob_bytes_per_device,
            bytes: self.blob_bytes,
            blob: self.max_blob_bytes,
            grace: self.blob_grace,
        }
    }
}

impl Settings {
    /// Default settings for a state directory, on a free port: for tests and for daemons built on
    /// this library.
    pub fn for_state_dir(state_dir: &Path) -> Self {
        Self {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            ..Self::standard(state_dir)
        }
    }

    /// These settings as a file that produces them, without those of services.
    pub fn to_written(&self) -> Written {
        Written::of(self)
    }

    /// These settings as the text of a file that produces them, for `config check`.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let (before, after) = self.sections.to_texts();
        let own = toml::to_string(&self.to_written())?;
        let gap = if after.is_empty() { "" } else { "\n" };
        Ok(format!("{before}{own}{gap}{after}"))
    }
}

impl Source for Written {
    /// The token of a relay is one setting, in the URL or in a file.
    fn replace_in(&self, below: &mut Self) {
        let has_tokens =
            |relays: &Vec<RelayUrl>| relays.iter().all(|relay| relay.token().is_some());
        if self.relay.as_ref().is_some_and(has_tokens) {
            below.relay_token_file = None;
        }
        if self.relay_token_file.is_some()
            && let Some([relay]) = below.relay.as_deref_mut()
        {
            *relay = relay.clone().without_token();
        }
    }
}

/// Parses a relay's URL. Unlike the library's error, this one omits the URL, which may contain a
/// token (C33).
#[derive(Clone)]
struct RelayParser;

impl TypedValueParser for RelayParser {
    type Value = RelayUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<RelayUrl, clap::Error> {
        let parsed = value
            .to_str()
            .map_or(Err(RelayUrlError::Character), str::parse);
        parsed.map_err(|problem| {
            let text = format!("`relay` (--relay, BOWLINE_RELAY): {problem}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bowline_program::config::{FileError, parse};

    use super::*;

    fn error(text: &str) -> String {
        let read: Result<Written, FileError> = parse(text, Path::new("bowline.toml"));
        read.unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error("name = \"x\"\n\n[limits]\nmax_massage_bytes = 5\n");
        assert!(text.starts_with("bowline.toml:4: "), "{text}");
        assert!(text.contains("`max_massage_bytes`"), "{text}");
        let text = error("listne = []\n");
        assert!(
            text.starts_with("bowline.toml:1: ") && text.contains("`listne`"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let text = error("# hello\nlisten = [\"127.0.0.1\"]\n");
        assert!(text.starts_with("bowline.toml:2: `listen`"), "{text}");
        let text = error("[limits]\nidle_timeout = \"5 minutes\"\n");
        assert!(text.starts_with("bowline.toml:2: `idle_timeout`"), "{text}");
        assert!(
            text.contains("\"30s\""),
            "it says what would be right: {text}"
        );
        // Without these two, a socket without a peer would stay open forever.
        for key in ["handshake_timeout", "write_timeout"] {
            let text = error(&format!("[limits]\n{key} = \"0s\"\n"));
            assert!(
                text.starts_with(&format!("bowline.toml:2: `{key}`")),
                "{text}"
            );
        }
        // C33: a misplaced value may contain a token.
        for wrong in [
            "relay = \"wss://S3CRET@relay.example.org\"\n",
            "relay = [\"http://S3CRET@relay.example.org\"]\n",
            "relay = [\"ws://S3CRET/x@relay.example.org\"]\n",
        ] {
            let text = error(wrong);
            assert!(text.starts_with("bowline.toml:1: `relay`"), "{text}");
            assert!(!text.contains("S3CRET"), "{text}");
        }
        let text = error("listen = [\n");
        assert!(text.starts_with("bowline.toml:"), "{text}");
    }

    #[test]
    fn the_token_of_a_relay_is_one_setting_in_its_url_or_in_a_file() {
        let with = |url: &str| Written {
            relay: Some(vec![url.parse().unwrap()]),
            ..Written::default()
        };
        let (url, bare) = ("wss://t@relay.example.org", "wss://relay.example.org");
        let file = Written {
            relay_token_file: Some("/etc/bowline/token".into()),
            ..Written::default()
        };
        assert_eq!(with(url).merged(file.clone()), with(url));
        assert_eq!(
            with(bare).merged(file.clone()).relay_token_file,
            file.relay_token_file
        );
        let relay = file.clone().merged(with(url)).relay.unwrap();
        assert_eq!(relay[0].token(), None);
        let file = Written {
            relay: with(bare).relay,
            ..file
        };
        assert_eq!(file.clone().merged(with(url)), file);
    }

    #[test]
    fn every_key_of_the_contract_is_read() {
        let text = r#"
            name = "laptop"
            listen = ["127.0.0.1:4717", "[::1]:0"]
            socket = "/run/bowline.sock"
            metrics = "127.0.0.1:9464"
            relay = ["wss://relay.example.org", "wss://token@private.example.org"]
            relay_root = ["/etc/bowline/ca.pem"]
            relay_token_file = "/etc/bowline/token"
            proxy = "http://proxy:3128"
            advertise = ["laptop.local:4717"]
            allowed_origins = ["https://app.example.org"]
            allowed_hosts = ["laptop.example.org"]
            [limits]
            max_message_bytes = 1048576
            max_in_flight = 256
            max_connections = 100
            max_local_connections = 100
            idle_timeout = "300s"
            request_timeout = "60s"
            session_grace = "24h"
            replay_bytes = 4194304
            replay_events = 4096
        "#;
        let file: Written = parse(text, Path::new("x")).unwrap();
        assert_eq!(file.limits.idle_timeout.unwrap().to_string(), "5m");
        assert_eq!(file.listen.unwrap().len(), 2);
    }
}
