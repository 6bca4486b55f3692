//! The log on standard error.

use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "`log`: `{filter}` is no log filter: {problem}; write for example info, or {example}=debug"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        problem: String,
        /// A crate of the program.
        example: &'static str,
    },
    /// There is one already in this process.
    #[error("{0}")]
    Taken(String),
}

/// Reads a filter in the syntax of `tracing`'s `EnvFilter`. `example` is a crate of the program, for the error.
///
/// # Errors
/// [`LogError::Filter`].
pub fn filter(text: &str, example: &'static str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(text);
    parsed.map_err(|error| LogError::Filter {
        filter: text.to_owned(),
        problem: error.to_string(),
        example,
    })
}

/// Starts the log of this process, with colours only for a terminal and where `NO_COLOR` does not forbid them.
///
/// # Errors
/// [`LogError::Taken`].
pub fn start(filter: EnvFilter, format: LogFormat) -> Result<(), LogError> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let set = match format {
        LogFormat::Text => subscriber.with_ansi(is_coloured()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| LogError::Taken(error.to_string()))
}

fn is_coloured() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !forbidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_one_that_would_be() {
        let error = filter("=[", "bowline_daemon").unwrap_err().to_string();
        assert!(
            error.contains("`=[`") && error.contains("bowline_daemon=debug"),
            "{error}"
        );
        assert!(filter("info,bowline_daemon=debug", "bowline_daemon").is_ok());
    }
}
