//! Shared parts of Bowline's programs: layered settings, exit codes, durations, the log, output
//! that tolerates a closed pipe, signals, supervised tasks, listeners and the limit of
//! sockets that have proved nothing yet, Prometheus metrics, the lines that announce listening
//! addresses, HTTP before a WebSocket upgrade, the machine's name, tables, ages and short ids.

pub mod ages;
mod announce;
pub mod config;
mod durations;
mod exit;
mod file_limit;
mod listener;
pub mod log;
mod machine;
pub mod metrics;
mod prefixes;
pub mod print;
pub mod short_ids;
mod signals;
mod strangers;
pub mod table;
pub mod terminal;
mod umask;
pub mod upgrade;
pub mod watch;
mod web;

pub use announce::announce;
pub use config::ConfigError;
pub use durations::{Deadline, Timeout};
pub use exit::{Exit, Failure, end};
pub use file_limit::{FileLimit, raise_file_limit};
pub use listener::{BindError, Listener};
pub use log::LogFormat;
pub use machine::machine_name;
pub use prefixes::{AddressPrefix, Region};
#[cfg(unix)]
pub use signals::unblock_signals;
pub use signals::{Hangup, Signal, Signals, Stop};
pub use strangers::{Stranger, StrangerLimits, Strangers};
pub use umask::{Umask, create_private_files};
pub use watch::Vital;
pub use web::{HostName, Origin, WebAccess};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
