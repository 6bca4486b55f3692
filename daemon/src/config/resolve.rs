//! Resolves written settings: applies defaults and rejects invalid values.

use std::path::PathBuf;

use bowline_program::config::{self, Sets};
use bowline_protocol::{limits::MAX_CHUNK, text::is_harmful};

use super::{ConfigError, Home, Limits, RelayUrl, Sections, Settings, Written, sections::InFile};

/// Longest daemon name in bytes: every welcome and every QR code contains it.
const MAX_NAME_BYTES: usize = 128;

/// Smallest limit of the database: a new one with the largest messages fits.
const MIN_STORAGE: u64 = 4 << 20;

/// Most relays; the limit of the offer format.
const MAX_RELAYS: usize = 16;

/// The resolved settings: `written` of the command line over those of the file, which is `file` or
/// the default one of `home`. It may have the `sections` of services.
///
/// # Errors
/// [`ConfigError`].
pub fn load(
    home: Home,
    file: Option<PathBuf>,
    written: Written,
    sections: &Sections,
) -> Result<Settings, ConfigError> {
    sections.check()?;
    let file = file.or_else(|| home.config_file());
    let mut parts = InFile::new();
    let written = config::load_apart(written, file.as_deref(), &sections.apart(), |key, part| {
        sections.read(key, part, &mut parts)
    })?;
    let mut settings = resolve(home, written)?;
    sections.resolve(parts, file.as_deref(), &mut settings)?;
    Ok(settings)
}

/// Applies the defaults to written settings.
///
/// # Errors
/// [`ConfigError::Conflict`] for values that contradict each other, [`ConfigError::NoHome`].
pub fn resolve(home: Home, mut written: Written) -> Result<Settings, ConfigError> {
    let state_dir = written.state_dir.take().or_else(|| home.state_dir());
    let state_dir = state_dir.map(absolute).ok_or(ConfigError::NoHome)?;
    let mut settings = Settings::standard(&state_dir);
    written.set(&mut settings);
    let name = &settings.name;
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.contains(is_harmful) {
        return Err(ConfigError::Conflict(format!(
            "`name` must be 1 to {MAX_NAME_BYTES} bytes of printable text"
        )));
    }
    check(&settings.limits)?;
    settings.socket = absolute(settings.socket);
    settings.relay_token_file = settings.relay_token_file.map(absolute);
    settings.relay = relays(settings.relay)?;
    Ok(settings)
}

/// The path as an absolute one, valid in any working directory. A path that cannot be made absolute
/// (an empty one) fails at its use.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Removes duplicate relays: two registrations with one relay would replace each other forever.
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

/// Rejects limits out of their bounds.
fn check(limits: &Limits) -> Result<(), ConfigError> {
    let conflict = |text: String| Err(ConfigError::Conflict(text));
    // One chunk must fit, for the smallest responses; the upper limit bounds memory.
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
    if limits.storage_limit > 0 && limits.storage_limit < MIN_STORAGE {
        return conflict(format!(
            "`limits.storage_limit` must be at least {MIN_STORAGE}, or 0 for no limit"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bowline_program::config::Layer;

    use super::*;

    fn file(text: &str) -> Written {
        config::parse(text, Path::new("test.toml")).unwrap()
    }

    /// Resolves the text of a file, with a flag for the state directory.
    fn over(flags: Written, text: &str) -> Result<Settings, ConfigError> {
        let flags = Written {
            state_dir: Some(PathBuf::from("/state")),
            ..flags
        };
        resolve(Home::BOWLINE, flags.over(file(text)))
    }

    fn of(text: &str) -> Result<Settings, ConfigError> {
        over(Written::default(), text)
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let text =
            "name = \"from-file\"\nlisten = [\"127.0.0.1:1\"]\n[limits]\nidle_timeout = \"0s\"";
        let settings = of(text).unwrap();
        assert_eq!(settings.name, "from-file");
        assert_eq!(settings.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(settings.limits.idle_timeout, None, "0s is never");
        assert_eq!(settings.limits.max_in_flight, 256);
        let flags = Written {
            name: Some("from-flag".to_owned()),
            listen: Some(vec!["127.0.0.1:2".parse().unwrap()]),
            ..Written::default()
        };
        let settings = over(flags, text).unwrap();
        assert_eq!(settings.name, "from-flag");
        assert_eq!(settings.listen, ["127.0.0.1:2".parse().unwrap()]);
    }

    #[test]
    fn without_a_word_it_listens_on_loopback() {
        let settings = of("").unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:4717".parse().unwrap()]);
        #[cfg(unix)]
        assert_eq!(settings.socket, Path::new("/state/daemon.sock"));
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let error = |text: &str| of(text).unwrap_err().to_string();
        assert!(error("name = \"\"").contains("`name`"));
        assert!(error("[limits]\nmax_message_bytes = 1").contains("max_message_bytes"));
        assert!(error("[limits]\nmax_in_flight = 0").contains("max_in_flight"));
    }

    #[test]
    fn settings_in_force_read_back_as_a_file() {
        let text = "name = \"x\"\nrelay = [\"wss://r.example\"]\nrelay_token_file = \"/t\"\nproxy = \"http://p:1\"";
        let settings = of(text).unwrap();
        let text = settings.to_toml().unwrap();
        let again = resolve(Home::BOWLINE, file(&text)).unwrap();
        assert_eq!(again.to_written(), settings.to_written());
    }
}
