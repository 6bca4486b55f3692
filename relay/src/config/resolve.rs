//! Resolves written settings: applies defaults and rejects invalid values.

use std::path::PathBuf;

use bowline_program::config::{self, Secret, Sets};

use super::{ConfigError, Settings, TlsFiles, Written};

/// The resolved settings: `written` of the command line over those of the file, which is `file` or
/// the default one.
///
/// # Errors
/// [`ConfigError`].
pub fn load(file: Option<PathBuf>, written: Written) -> Result<Settings, ConfigError> {
    let default = config::config_file("bowline", "relay.toml");
    resolve(config::load(written, file, default)?)
}

/// Applies the defaults to written settings.
///
/// # Errors
/// [`ConfigError::Conflict`] for values that contradict each other.
pub fn resolve(mut written: Written) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    let conflict = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
    settings.tls = match (written.tls_cert.take(), written.tls_key.take()) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => return conflict("`tls_cert` without `tls_key`; TLS needs both"),
        (None, Some(_)) => return conflict("`tls_key` without `tls_cert`; TLS needs both"),
    };
    if let Some(file) = &written.daemon_token_file {
        if written.daemon_token.is_some() {
            return conflict("`daemon_token` and `daemon_token_file`: one of them");
        }
        let token = config::read_secret(file)
            .map_err(|error| ConfigError::Conflict(format!("`daemon_token_file`: {error}")))?;
        written.daemon_token = Some(Secret::from(&*token));
    }
    if written.daemon_token.as_ref().map(Secret::reveal) == Some("") {
        return conflict("`daemon_token` is empty; leave it out for a relay that is open to all");
    }
    std::mem::take(&mut written.limits).set(&mut settings.limits);
    written.set(&mut settings);
    if settings.threads == 0 {
        return conflict("`threads` must be at least 1");
    }
    if settings.listen.is_empty() {
        return conflict("`listen` is empty; a relay needs at least one listener");
    }
    if settings.limits.sockets == 0 {
        return conflict("`sockets` must be at least 1");
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use bowline_program::config::Source;

    use super::*;
    use crate::config::{Limits, WrittenLimits};

    fn settings(flags: Written, text: &str) -> Result<Settings, String> {
        let file = config::parse(text, Path::new("relay.toml")).map_err(|e| e.to_string())?;
        resolve(flags.merged(file)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_contract_is_read_and_flags_win() {
        let text = r#"
            listen = ["127.0.0.1:1", "[::1]:2"]
            tls_cert = "/c.pem"
            tls_key = "/k.pem"
            daemon_token = "secret"
            metrics = "127.0.0.1:9465"
            origin = ["wss://Relay.example.org/"]
            allowed_origins = ["https://app.example.org"]
            allowed_hosts = ["relay.example.org"]
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
        let read = settings(Written::default(), text).unwrap();
        let expected = Limits {
            sockets: 1,
            sockets_per_address: 2,
            sockets_per_daemon: 3,
            sockets_per_session: 4,
            registrations_per_minute: 5,
            opens_per_minute: 6,
            handshake_timeout: Duration::from_secs(7),
            peer_wait: Duration::from_secs(8),
            heartbeat: Duration::from_secs(9),
            control_grace: Duration::from_secs(10),
        };
        assert_eq!(read.limits, expected);
        assert_eq!(read.listen.len(), 2);
        assert_eq!(read.trusted_proxy.len(), 2);
        assert_eq!(
            (read.allowed_origins.len(), read.allowed_hosts.len()),
            (1, 1)
        );
        assert_eq!(read.origin, ["wss://relay.example.org".parse().unwrap()]);
        assert_eq!(read.metrics, Some("127.0.0.1:9465".parse().unwrap()));
        assert_eq!((read.threads, read.log.as_str()), (2, "debug"));
        assert!(!format!("{read:?}").contains("secret"));

        let flags = Written {
            listen: Some(vec!["127.0.0.1:0".parse().unwrap()]),
            daemon_token: Some("other".into()),
            limits: WrittenLimits {
                sockets: Some(100),
                peer_wait: Some("1s".parse().unwrap()),
                ..WrittenLimits::default()
            },
            ..Written::default()
        };
        let file = Written {
            daemon_token: Some("other".into()),
            ..Written::default()
        };
        let replaced = settings(file, "daemon_token_file = \"/no/such/token\"").unwrap();
        assert_eq!(replaced.daemon_token, Some("other".into()));
        let over = settings(flags, text).unwrap();
        assert_eq!(over.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(over.daemon_token, Some("other".into()));
        assert_eq!(over.limits.sockets, 100);
        assert_eq!(over.limits.peer_wait, Duration::from_secs(1));
        assert_eq!(over.limits.heartbeat, expected.heartbeat);
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let read = settings(Written::default(), "").unwrap();
        assert_eq!(read.listen, ["0.0.0.0:4718".parse().unwrap()]);
        assert_eq!(read.limits, Limits::default());
        assert_eq!(read.threads, 1);
        assert!(read.tls.is_none() && read.daemon_token.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = |text: &str| settings(Written::default(), text).unwrap_err();
        assert!(error("\nlisten_on = 1").starts_with("relay.toml:2: "));
        assert!(error("\nlisten_on = 1").contains("`listen_on`"));
        let said = error("[limits]\npeer_wait = \"ten\"");
        assert!(
            said.starts_with("relay.toml:2: `peer_wait`") && said.contains("\"10s\""),
            "{said}"
        );
        assert!(error("trusted_proxy = [\"proxy\"]").contains("10.0.0.0/8"));
        assert!(error("origin = [\"https://x\"]").contains("wss://"));
        assert!(error("origin = [\"wss://x/path\"]").contains("wss://relay.example.org"));
        assert!(error("allowed_origins = [\"null\"]").contains("https://app.example.org"));
        assert!(error("allowed_hosts = [\"https://x\"]").contains("relay.example.org"));
        assert!(error("tls_cert = \"/c\"").contains("tls_key"));
        assert!(error("tls_key = \"/k\"").contains("tls_cert"));
        assert!(error("daemon_token = \"\"").contains("daemon_token"));
        let both = "daemon_token = \"a\"\ndaemon_token_file = \"/b\"";
        assert!(error(both).contains("one of them"));
        let none = error("daemon_token_file = \"/no/such/token\"");
        assert!(none.contains("/no/such/token"), "{none}");
        assert!(error("listen = []").contains("listen"));
        assert!(error("threads = 0").contains("threads"));
        assert!(error("[limits]\nsockets = 0").contains("sockets"));
    }
}
