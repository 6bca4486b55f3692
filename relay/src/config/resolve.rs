//! Where flags, variables, file and defaults meet.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    ConfigError, Deadline, FileConfig, FileLimits, Limits, LogFormat, Network, Settings, TlsFiles,
};

/// What flags and `BOWLINE_…` variables say; `None` or empty where they say nothing.
#[derive(Clone, Default)]
#[allow(
    missing_docs,
    reason = "each is documented where it is used: `Settings`; its flag and variable have the same name"
)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub listen: Vec<SocketAddr>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub daemon_token: Option<String>,
    pub trusted_proxy: Vec<Network>,
    pub threads: Option<usize>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
    pub limits: FileLimits,
}

/// Reads the file that the overrides name, or the default one if there is one, and resolves.
///
/// # Errors
/// [`ConfigError`].
pub fn load(overrides: Overrides) -> Result<Settings, ConfigError> {
    let file = match overrides.config.clone().or_else(default_file) {
        Some(path) => bowline_program::read(&path)?,
        None => FileConfig::default(),
    };
    resolve(overrides, file)
}

/// The settings in force.
///
/// # Errors
/// [`ConfigError::Conflict`] for values that do not go together.
pub fn resolve(overrides: Overrides, file: FileConfig) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let conflict = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
    let tls = match (
        overrides.tls_cert.or(file.tls_cert),
        overrides.tls_key.or(file.tls_key),
    ) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => return conflict("`tls_cert` without `tls_key`; TLS needs both"),
        (None, Some(_)) => return conflict("`tls_key` without `tls_cert`; TLS needs both"),
    };
    let daemon_token = overrides.daemon_token.or(file.daemon_token);
    if daemon_token.as_ref().is_some_and(|token| token.is_empty()) {
        return conflict("`daemon_token` is empty; leave it out for a relay that is open to all");
    }
    let threads = overrides
        .threads
        .or(file.threads)
        .unwrap_or(default.threads);
    if threads == 0 {
        return conflict("`threads` must be at least 1");
    }
    let listen = first_said(overrides.listen, file.listen).unwrap_or(default.listen);
    if listen.is_empty() {
        return conflict("`listen` is empty; a relay without a listener serves nobody");
    }
    Ok(Settings {
        listen,
        tls,
        daemon_token,
        trusted_proxies: first_said(overrides.trusted_proxy, file.trusted_proxy)
            .unwrap_or(default.trusted_proxies),
        threads,
        log: overrides.log.or(file.log).unwrap_or(default.log),
        log_format: overrides
            .log_format
            .or(file.log_format)
            .unwrap_or(default.log_format),
        limits: limits(&overrides.limits, &file.limits)?,
    })
}

fn first_said<T>(flags: Vec<T>, file: Option<Vec<T>>) -> Option<Vec<T>> {
    if flags.is_empty() { file } else { Some(flags) }
}

fn limits(flags: &FileLimits, file: &FileLimits) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let lapse = |flag: Option<Deadline>, file: Option<Deadline>, default: Duration| {
        flag.or(file).map_or(default, Deadline::get)
    };
    let number = |flag: Option<u32>, file: Option<u32>, default| flag.or(file).unwrap_or(default);
    let limits = Limits {
        sockets: number(flags.sockets, file.sockets, default.sockets),
        sockets_per_address: number(
            flags.sockets_per_address,
            file.sockets_per_address,
            default.sockets_per_address,
        ),
        sockets_per_daemon: number(
            flags.sockets_per_daemon,
            file.sockets_per_daemon,
            default.sockets_per_daemon,
        ),
        sockets_per_session: number(
            flags.sockets_per_session,
            file.sockets_per_session,
            default.sockets_per_session,
        ),
        registrations_per_minute: number(
            flags.registrations_per_minute,
            file.registrations_per_minute,
            default.registrations_per_minute,
        ),
        opens_per_minute: number(
            flags.opens_per_minute,
            file.opens_per_minute,
            default.opens_per_minute,
        ),
        handshake: lapse(
            flags.handshake_timeout,
            file.handshake_timeout,
            default.handshake,
        ),
        peer_wait: lapse(flags.peer_wait, file.peer_wait, default.peer_wait),
        heartbeat: lapse(flags.heartbeat, file.heartbeat, default.heartbeat),
        control_grace: lapse(
            flags.control_grace,
            file.control_grace,
            default.control_grace,
        ),
    };
    if limits.sockets == 0 {
        return Err(ConfigError::Conflict(
            "`sockets` must be at least 1".to_owned(),
        ));
    }
    Ok(limits)
}

/// The configuration file that is read when none is named, if it exists.
fn default_file() -> Option<PathBuf> {
    let directory = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path: &PathBuf| path.is_absolute())
    };
    let base = if cfg!(windows) {
        directory("APPDATA")?.join("Bowline")
    } else {
        directory("XDG_CONFIG_HOME")
            .or_else(|| directory("HOME").map(|home| home.join(".config")))?
            .join("bowline")
    };
    Some(base.join("relay.toml")).filter(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(text: &str) -> Result<FileConfig, String> {
        bowline_program::parse::<FileConfig>(text, Path::new("relay.toml"))
            .map_err(|error| error.to_string())
    }

    fn settings(overrides: Overrides, text: &str) -> Result<Settings, String> {
        resolve(overrides, file(text)?).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_contract_is_read_and_flags_win() {
        let text = r#"
            listen = ["127.0.0.1:1", "[::1]:2"]
            tls_cert = "/c.pem"
            tls_key = "/k.pem"
            daemon_token = "secret"
            trusted_proxy = ["127.0.0.1", "10.0.0.0/8"]
            threads = 2
            log = "debug"
            log_format = "json"
            [limits]
            sockets = 1
            sockets_per_address = 2
            sockets_per_daemon = 3
            sockets_per_session = 4
            registrations_per_minute = 5
            opens_per_minute = 6
            handshake_timeout = "7s"
            peer_wait = "8s"
            heartbeat = "9s"
            control_grace = "10s"
        "#;
        let read = settings(Overrides::default(), text).unwrap();
        let expected = Limits {
            sockets: 1,
            sockets_per_address: 2,
            sockets_per_daemon: 3,
            sockets_per_session: 4,
            registrations_per_minute: 5,
            opens_per_minute: 6,
            handshake: Duration::from_secs(7),
            peer_wait: Duration::from_secs(8),
            heartbeat: Duration::from_secs(9),
            control_grace: Duration::from_secs(10),
        };
        assert_eq!(read.limits, expected);
        assert_eq!(read.listen.len(), 2);
        assert_eq!(read.trusted_proxies.len(), 2);
        assert_eq!((read.threads, read.log.as_str()), (2, "debug"));
        assert!(!format!("{read:?}").contains("secret"));

        let overrides = Overrides {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            daemon_token: Some("other".to_owned()),
            limits: FileLimits {
                sockets: Some(100),
                peer_wait: Some("1s".parse().unwrap()),
                ..FileLimits::default()
            },
            ..Overrides::default()
        };
        let over = settings(overrides, text).unwrap();
        assert_eq!(over.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(over.daemon_token.as_deref(), Some("other"));
        assert_eq!(over.limits.sockets, 100);
        assert_eq!(over.limits.peer_wait, Duration::from_secs(1));
        assert_eq!(over.limits.heartbeat, expected.heartbeat);
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let read = settings(Overrides::default(), "").unwrap();
        assert_eq!(read.listen, ["0.0.0.0:4718".parse().unwrap()]);
        assert_eq!(read.limits, Limits::default());
        assert_eq!(read.threads, 1);
        assert!(read.tls.is_none() && read.daemon_token.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = |text: &str| settings(Overrides::default(), text).unwrap_err();
        assert!(error("\nlisten_on = 1").starts_with("relay.toml:2: "));
        assert!(error("\nlisten_on = 1").contains("`listen_on`"));
        let said = error("[limits]\npeer_wait = \"ten\"");
        assert!(
            said.starts_with("relay.toml:2: `peer_wait`") && said.contains("\"10s\""),
            "{said}"
        );
        assert!(error("trusted_proxy = [\"proxy\"]").contains("10.0.0.0/8"));
        assert!(error("tls_cert = \"/c\"").contains("tls_key"));
        assert!(error("tls_key = \"/k\"").contains("tls_cert"));
        assert!(error("daemon_token = \"\"").contains("daemon_token"));
        assert!(error("listen = []").contains("listen"));
        assert!(error("threads = 0").contains("threads"));
        assert!(error("[limits]\nsockets = 0").contains("sockets"));
    }
}
