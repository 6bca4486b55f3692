//! Where flags, variables, file and defaults meet.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_protocol::{limits::MAX_CHUNK, text::is_harmful};

use crate::service::content_bytes;

use super::{
    AdvertisedAddress, ConfigError, DEFAULT_PORT, FileConfig, Lapse, Limits, LogFormat,
    ProviderSettings, RelayUrl, Settings,
    file::FileLimits,
    places::{Home, default_socket},
};

use crate::agents::{self, Launcher};

/// Longest daemon name in bytes: it travels in every welcome and every QR code.
const MAX_NAME_BYTES: usize = 128;

/// Most relays, as an offer's format allows.
const MAX_RELAYS: usize = 16;

/// What flags and `BOWLINE_…` variables say; `None` or empty where they say nothing.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Where things are that nobody names.
    pub home: Home,
    /// `--config`, `BOWLINE_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--state-dir`, `BOWLINE_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `--log`, `BOWLINE_LOG`.
    pub log: Option<String>,
    /// `--log-format`, `BOWLINE_LOG_FORMAT`.
    pub log_format: Option<LogFormat>,
    /// `--listen`, `BOWLINE_LISTEN`.
    pub listen: Vec<SocketAddr>,
    /// `--socket`, `BOWLINE_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `--metrics`, `BOWLINE_METRICS`.
    pub metrics: Option<SocketAddr>,
    /// `--relay`, `BOWLINE_RELAY`.
    pub relay: Vec<RelayUrl>,
    /// `--relay-root`, `BOWLINE_RELAY_ROOT`.
    pub relay_root: Vec<PathBuf>,
    /// `--name`, `BOWLINE_NAME`.
    pub name: Option<String>,
    /// `--advertise`, `BOWLINE_ADVERTISE`.
    pub advertise: Vec<AdvertisedAddress>,
}

/// Reads the file that the overrides name, or the default one if there is one, and resolves.
///
/// # Errors
/// [`ConfigError`].
pub fn load(overrides: Overrides) -> Result<Settings, ConfigError> {
    let file = match overrides
        .config
        .clone()
        .or_else(|| overrides.home.config_file())
    {
        Some(path) => bowline_program::read(&path)?,
        None => FileConfig::default(),
    };
    resolve(overrides, file)
}

/// The settings in force.
///
/// # Errors
/// [`ConfigError::Conflict`] for values that do not go together, [`ConfigError::NoHome`].
pub fn resolve(overrides: Overrides, file: FileConfig) -> Result<Settings, ConfigError> {
    let state_dir = overrides
        .state_dir
        .or(file.state_dir)
        .or_else(|| overrides.home.state_dir())
        .map(absolute)
        .ok_or(ConfigError::NoHome)?;
    let name = overrides.name.or(file.name).unwrap_or_else(default_name);
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.contains(is_harmful) {
        return Err(ConfigError::Conflict(format!(
            "`name` must be 1 to {MAX_NAME_BYTES} bytes of printable text"
        )));
    }
    let default_listen = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))];
    let listen = first_said(overrides.listen, file.listen).unwrap_or_else(default_listen);
    let limits = limits(&file.limits)?;
    Ok(Settings {
        name,
        listen,
        socket: overrides
            .socket
            .or(file.socket)
            .map(absolute)
            .unwrap_or_else(|| default_socket(&state_dir)),
        metrics: overrides.metrics.or(file.metrics),
        relay: relays(first_said(overrides.relay, file.relay).unwrap_or_default())?,
        relay_root: first_said(overrides.relay_root, file.relay_root).unwrap_or_default(),
        advertise: first_said(overrides.advertise, file.advertise).unwrap_or_default(),
        state_dir,
        log: overrides
            .log
            .or(file.log)
            .unwrap_or_else(|| "info".to_owned()),
        log_format: overrides.log_format.or(file.log_format).unwrap_or_default(),
        providers: listed(providers(file.provider)?, limits.max_message_bytes)?,
        limits,
        launcher: Launcher::None,
    })
}

/// The providers, if their list fits into one message: `providers.list` has no pages.
fn listed(
    providers: Vec<ProviderSettings>,
    max_message_bytes: u32,
) -> Result<Vec<ProviderSettings>, ConfigError> {
    let bytes = |provider: &ProviderSettings| {
        // A byte of text has at most six in JSON, and what stands around the texts of one has less than 64.
        let title = provider.title.as_ref().unwrap_or(&provider.name);
        64 + provider.name.len() + 6 * title.len()
    };
    let all: usize = providers.iter().map(bytes).sum();
    let most = content_bytes(max_message_bytes as usize);
    if all > most {
        return Err(ConfigError::Conflict(format!(
            "the list of {} providers may take {all} bytes, and clients can be sent {most}: configure fewer, give them shorter \
             titles, or raise `limits.max_message_bytes`",
            providers.len()
        )));
    }
    Ok(providers)
}

/// The same place for whoever is told of it, in whatever folder they are. What cannot be made absolute (an empty path) is for
/// others to refuse.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn first_said<T>(flags: Vec<T>, file: Option<Vec<T>>) -> Option<Vec<T>> {
    if flags.is_empty() { file } else { Some(flags) }
}

/// Relays, each once: two registrations at one would replace each other for ever.
fn relays(configured: Vec<RelayUrl>) -> Result<Vec<RelayUrl>, ConfigError> {
    let mut all: Vec<RelayUrl> = Vec::with_capacity(configured.len());
    for relay in configured {
        if all.iter().all(|other| other.as_str() != relay.as_str()) {
            all.push(relay);
        }
    }
    if all.len() > MAX_RELAYS {
        return Err(ConfigError::Conflict(format!(
            "`relay` may name {MAX_RELAYS} relays, as many as fit into an offer"
        )));
    }
    Ok(all)
}

fn limits(file: &FileLimits) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let lapse = |said: Option<Lapse>, default: Option<Duration>| said.map_or(default, Lapse::get);
    let limits = Limits {
        max_message_bytes: file.max_message_bytes.unwrap_or(default.max_message_bytes),
        max_in_flight: file.max_in_flight.unwrap_or(default.max_in_flight),
        max_connections: file.max_connections.unwrap_or(default.max_connections),
        max_local_connections: file
            .max_local_connections
            .unwrap_or(default.max_local_connections),
        idle_timeout: lapse(file.idle_timeout, default.idle_timeout),
        request_timeout: lapse(file.request_timeout, default.request_timeout),
        session_grace: lapse(file.session_grace, default.session_grace),
        replay_bytes: file.replay_bytes.unwrap_or(default.replay_bytes),
        replay_events: file.replay_events.unwrap_or(default.replay_events),
        handshake_timeout: bounded(
            "handshake_timeout",
            file.handshake_timeout,
            default.handshake_timeout,
        )?,
        write_timeout: bounded("write_timeout", file.write_timeout, default.write_timeout)?,
        heartbeat_timeout: lapse(file.heartbeat_timeout, default.heartbeat_timeout),
    };
    let conflict = |text: String| Err(ConfigError::Conflict(text));
    // One chunk must fit, or the smallest answers could not be given; the upper end bounds memory.
    if !(4_096..=64 << 20).contains(&limits.max_message_bytes) {
        return conflict("`limits.max_message_bytes` must be from 4096 to 67108864".to_owned());
    }
    if limits.max_in_flight == 0 || limits.max_in_flight > 65_536 {
        return conflict("`limits.max_in_flight` must be from 1 to 65536".to_owned());
    }
    if limits.max_connections == 0 || limits.max_local_connections == 0 {
        return conflict(
            "`limits.max_connections` and `limits.max_local_connections` must be at least 1"
                .to_owned(),
        );
    }
    if limits.replay_bytes < MAX_CHUNK || limits.replay_events == 0 {
        return conflict(format!(
            "`limits.replay_bytes` must be at least {MAX_CHUNK} and `limits.replay_events` at least 1"
        ));
    }
    Ok(limits)
}

/// A lapse that must end: without it a socket nobody is behind would stay for good.
fn bounded(key: &str, said: Option<Lapse>, default: Duration) -> Result<Duration, ConfigError> {
    match said.map(Lapse::get) {
        None => Ok(default),
        Some(Some(said)) => Ok(said),
        Some(None) => Err(ConfigError::Conflict(format!(
            "`limits.{key}` cannot be never: a socket that nobody is behind would stay for good"
        ))),
    }
}

/// Configured providers, after the shell that is always there; a provider named `shell` replaces it.
fn providers(configured: Vec<ProviderSettings>) -> Result<Vec<ProviderSettings>, ConfigError> {
    let mut all: Vec<ProviderSettings> = Vec::with_capacity(configured.len() + 1);
    for provider in configured {
        let valid = !provider.name.is_empty()
            && provider.name.len() <= 64
            && provider
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !valid {
            return Err(ConfigError::Conflict(format!(
                "`provider.name`: `{}` must be 1 to 64 letters, digits, `-`, `_` or `.`",
                provider.name
            )));
        }
        if all.iter().any(|other| other.name == provider.name) {
            return Err(ConfigError::Conflict(format!(
                "provider `{}` is configured twice",
                provider.name
            )));
        }
        all.push(provider);
    }
    if all.iter().all(|provider| provider.name != "shell") {
        all.insert(0, ProviderSettings::shell());
    }
    // What `run` would refuse is refused here, so that `config check` says it too.
    agents::check(&all).map_err(|error| ConfigError::Conflict(error.to_string()))?;
    Ok(all)
}

/// The machine's name, as far as it can be known.
fn default_name() -> String {
    bowline_program::machine_name().unwrap_or_else(|| "bowline".to_owned())
}

impl Settings {
    /// Settings for a state directory, all else default: for tests and for daemons built on this library.
    pub fn for_state_dir(state_dir: &Path) -> Self {
        Self {
            name: default_name(),
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            socket: default_socket(state_dir),
            metrics: None,
            relay: Vec::new(),
            relay_root: Vec::new(),
            advertise: Vec::new(),
            state_dir: state_dir.to_owned(),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            limits: Limits::default(),
            providers: vec![ProviderSettings::shell()],
            launcher: Launcher::None,
        }
    }

    /// These settings as a configuration file that would bring them about.
    pub fn to_file(&self) -> FileConfig {
        let lapse = |duration: Option<Duration>| Some(Lapse::of(duration.unwrap_or_default()));
        FileConfig {
            name: Some(self.name.clone()),
            listen: Some(self.listen.clone()),
            socket: Some(self.socket.clone()),
            metrics: self.metrics,
            relay: Some(self.relay.clone()),
            relay_root: Some(self.relay_root.clone()),
            advertise: Some(self.advertise.clone()),
            state_dir: Some(self.state_dir.clone()),
            log: Some(self.log.clone()),
            log_format: Some(self.log_format),
            limits: FileLimits {
                max_message_bytes: Some(self.limits.max_message_bytes),
                max_in_flight: Some(self.limits.max_in_flight),
                max_connections: Some(self.limits.max_connections),
                max_local_connections: Some(self.limits.max_local_connections),
                idle_timeout: lapse(self.limits.idle_timeout),
                request_timeout: lapse(self.limits.request_timeout),
                session_grace: lapse(self.limits.session_grace),
                replay_bytes: Some(self.limits.replay_bytes),
                replay_events: Some(self.limits.replay_events),
                handshake_timeout: lapse(Some(self.limits.handshake_timeout)),
                write_timeout: lapse(Some(self.limits.write_timeout)),
                heartbeat_timeout: lapse(self.limits.heartbeat_timeout),
            },
            provider: self.providers.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> FileConfig {
        bowline_program::parse(text, Path::new("test.toml")).unwrap()
    }

    fn with_state() -> Overrides {
        Overrides {
            state_dir: Some(PathBuf::from("/state")),
            ..Overrides::default()
        }
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let text =
            "name = \"from-file\"\nlisten = [\"127.0.0.1:1\"]\n[limits]\nidle_timeout = \"0s\"";
        let settings = resolve(with_state(), file(text)).unwrap();
        assert_eq!(settings.name, "from-file");
        assert_eq!(settings.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(settings.limits.idle_timeout, None, "0s is never");
        assert_eq!(settings.limits.max_in_flight, 256);
        let overrides = Overrides {
            name: Some("from-flag".to_owned()),
            listen: vec!["127.0.0.1:2".parse().unwrap()],
            ..with_state()
        };
        let settings = resolve(overrides, file(text)).unwrap();
        assert_eq!(settings.name, "from-flag");
        assert_eq!(settings.listen, ["127.0.0.1:2".parse().unwrap()]);
    }

    #[test]
    fn without_a_word_it_listens_on_loopback_and_offers_the_shell() {
        let settings = resolve(with_state(), FileConfig::default()).unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:4717".parse().unwrap()]);
        assert_eq!(settings.providers.len(), 1);
        assert_eq!(settings.providers[0].name, "shell");
        #[cfg(unix)]
        assert_eq!(settings.socket, Path::new("/state/daemon.sock"));
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let error = |text: &str| resolve(with_state(), file(text)).unwrap_err().to_string();
        assert!(error("name = \"\"").contains("`name`"));
        assert!(error("[limits]\nmax_message_bytes = 1").contains("max_message_bytes"));
        assert!(error("[limits]\nmax_in_flight = 0").contains("max_in_flight"));
        assert!(error("[limits]\nhandshake_timeout = \"0s\"").contains("handshake_timeout"));
        assert!(error("[limits]\nwrite_timeout = \"0s\"").contains("write_timeout"));
        let provider = "[[provider]]\nname = \"a\"\nkind = \"command\"\ncommand = [\"x\"]\n";
        assert!(error(&format!("{provider}{provider}")).contains("configured twice"));
        assert!(
            error("[[provider]]\nname = \"a\"\nkind = \"command\"\ncommand = []")
                .contains("give it a program")
        );
        let acp = error("[[provider]]\nname = \"a\"\nkind = \"acp\"\ncommand = [\"x\"]");
        assert!(acp.contains("`acp`") && acp.contains("cannot run"), "{acp}");
    }

    #[test]
    fn case_c49_more_providers_than_a_message_takes_are_refused_at_the_start() {
        let provider = |n: u32| {
            let title = "t".repeat(100);
            format!(
                "[[provider]]\nname = \"p{n}\"\nkind = \"command\"\ncommand = [\"x\"]\ntitle = \"{title}\"\n"
            )
        };
        let some = |count: u32| {
            let all: String = (0..count).map(provider).collect();
            resolve(
                with_state(),
                file(&format!("[limits]\nmax_message_bytes = 65536\n{all}")),
            )
        };
        assert_eq!(some(50).unwrap().providers.len(), 51);
        let error = some(500).unwrap_err().to_string();
        assert!(error.contains("limits.max_message_bytes"), "{error}");
    }

    #[test]
    fn settings_in_force_read_back_as_a_file() {
        let settings = resolve(
            with_state(),
            file("name = \"x\"\nrelay = [\"wss://r.example\"]"),
        )
        .unwrap();
        let text = toml::to_string(&settings.to_file()).unwrap();
        let again = resolve(Overrides::default(), file(&text)).unwrap();
        assert_eq!(again.to_file(), settings.to_file());
    }
}
