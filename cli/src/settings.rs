//! Where flags, variables, file and defaults meet.

use std::{path::PathBuf, time::Duration};

use bowline_program::{Lapse, LogFormat};

use crate::{
    args::{Only, Shared},
    config::FileConfig,
    failure::CliError,
    places,
};

/// How long a host may stay out of reach when nobody says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// JSON, one object a line.
    pub(crate) json: bool,
    /// The only kind of path to use.
    pub(crate) only: Option<Only>,
    /// How long a host may stay out of reach; `None` is for ever.
    pub(crate) timeout: Option<Duration>,
    /// How long to go on without a connection once there was one; `None` is for ever.
    pub(crate) give_up: Option<Duration>,
    /// Files of certificates to trust in relays besides the public ones.
    pub(crate) relay_root: Vec<PathBuf>,
    /// Folder of the runtime's state.
    pub(crate) state_dir: PathBuf,
    /// What this device is called in a daemon's list; `None` where nobody knows.
    pub(crate) device_name: Option<String>,
    /// Log filter.
    pub(crate) log: String,
    /// Form of the log.
    pub(crate) log_format: LogFormat,
    /// What the file says for the flags of single commands.
    pub(crate) file: FileConfig,
}

impl Settings {
    /// Reads the file that the flags name, or the default one if there is one, and resolves. `shared` holds
    /// the variables where no flag was given.
    pub(crate) fn load(shared: Shared) -> Result<Self, CliError> {
        let file = match shared.config.clone().or_else(places::config_file) {
            Some(path) => FileConfig::read(&path)?,
            None => FileConfig::default(),
        };
        Self::resolve(shared, file, places::state_dir)
    }

    fn resolve(
        shared: Shared,
        file: FileConfig,
        default_state_dir: impl FnOnce() -> Option<PathBuf>,
    ) -> Result<Self, CliError> {
        let state_dir = shared
            .state_dir
            .or_else(|| file.state_dir.clone())
            .or_else(default_state_dir);
        let no_home = "no home directory is known; name a state directory with --state-dir";
        Ok(Self {
            json: shared.json || file.json.unwrap_or_default(),
            only: shared.only.or(file.only),
            timeout: shared
                .timeout
                .or(file.timeout)
                .map_or(Some(DEFAULT_TIMEOUT), Lapse::get),
            give_up: shared.give_up.or(file.give_up).and_then(Lapse::get),
            relay_root: match shared.relay_root {
                said if !said.is_empty() => said,
                _ => file.relay_root.clone().unwrap_or_default(),
            },
            state_dir: state_dir.ok_or_else(|| CliError::usage("config", no_home))?,
            device_name: shared
                .device_name
                .or_else(|| file.device_name.clone())
                .or_else(bowline_program::machine_name),
            log: shared
                .log
                .or_else(|| file.log.clone())
                .unwrap_or_else(|| "error".to_owned()),
            log_format: shared.log_format.or(file.log_format).unwrap_or_default(),
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = FileConfig {
            timeout: Some("5s".parse().unwrap()),
            log: Some("debug".into()),
            ..FileConfig::default()
        };
        let flags = Shared {
            timeout: Some("0s".parse().unwrap()),
            ..Shared::default()
        };
        let state_dir = || Some(PathBuf::from("/s"));
        let settings = Settings::resolve(flags, file.clone(), state_dir).unwrap();
        assert_eq!(settings.timeout, None);
        assert_eq!(settings.log, "debug");
        let settings = Settings::resolve(Shared::default(), file, state_dir).unwrap();
        assert_eq!(settings.timeout, Some(Duration::from_secs(5)));
        let settings =
            Settings::resolve(Shared::default(), FileConfig::default(), state_dir).unwrap();
        assert_eq!(settings.timeout, Some(DEFAULT_TIMEOUT));
        assert_eq!((settings.give_up, settings.log.as_str()), (None, "error"));
        let homeless = Settings::resolve(Shared::default(), FileConfig::default(), || None);
        assert!(homeless.unwrap_err().to_string().contains("--state-dir"));
    }
}
