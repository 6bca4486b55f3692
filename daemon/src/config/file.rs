//! The shape of the TOML file. Unknown keys are errors that name the key and its line.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{AdvertisedAddress, Lapse, LogFormat, ProviderSettings, RelayUrl};

/// A configuration file as written: what is absent is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each key is documented where it is used: `Settings`"
)]
pub struct FileConfig {
    pub name: Option<String>,
    pub listen: Option<Vec<SocketAddr>>,
    pub socket: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
    #[serde(default, deserialize_with = "super::values::relay_list")]
    pub relay: Option<Vec<RelayUrl>>,
    pub relay_root: Option<Vec<PathBuf>>,
    pub advertise: Option<Vec<AdvertisedAddress>>,
    pub state_dir: Option<PathBuf>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
    #[serde(default)]
    pub limits: FileLimits,
    #[serde(default)]
    pub provider: Vec<ProviderSettings>,
}

/// `[limits]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each key is documented where it is used: `Limits`"
)]
pub struct FileLimits {
    pub max_message_bytes: Option<u32>,
    pub max_in_flight: Option<u32>,
    pub max_connections: Option<u32>,
    pub max_local_connections: Option<u32>,
    pub idle_timeout: Option<Lapse>,
    pub request_timeout: Option<Lapse>,
    pub session_grace: Option<Lapse>,
    pub replay_bytes: Option<usize>,
    pub replay_events: Option<usize>,
    pub handshake_timeout: Option<Lapse>,
    pub write_timeout: Option<Lapse>,
    pub heartbeat_timeout: Option<Lapse>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bowline_program::{FileError, parse};

    use super::*;

    fn error(text: &str) -> String {
        let read: Result<FileConfig, FileError> = parse(text, Path::new("bowline.toml"));
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
        let text = error("[[provider]]\nname = \"x\"\nkind = \"magic\"\ncommand = [\"x\"]\n");
        assert!(
            text.starts_with("bowline.toml:3: ") && text.contains("magic"),
            "{text}"
        );
        // C33: what stands in the wrong place may hold a token.
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
    fn every_key_of_the_contract_is_read() {
        let text = r#"
            name = "laptop"
            listen = ["127.0.0.1:4717", "[::1]:0"]
            socket = "/run/bowline.sock"
            metrics = "127.0.0.1:9464"
            relay = ["wss://relay.example.org", "wss://token@private.example.org"]
            relay_root = ["/etc/bowline/ca.pem"]
            advertise = ["laptop.local:4717"]
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
            [[provider]]
            name = "tests"
            kind = "command"
            command = ["make", "test"]
            title = "Tests"
        "#;
        let file: FileConfig = parse(text, Path::new("x")).unwrap();
        assert_eq!(file.limits.idle_timeout.unwrap().to_string(), "5m");
        assert_eq!(file.provider[0].command, ["make", "test"]);
        assert_eq!(file.listen.unwrap().len(), 2);
    }
}
