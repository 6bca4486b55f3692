//! What Bowline's programs do alike, so that a user learns it once: a settings file whose errors name line and key,
//! durations as people write them, a log, output that may have lost its reader, signals, tasks that must not die unnoticed, one line for each address that
//! accepts, the machine's name, and tables, ages and short ids.

pub mod ages;
mod announce;
mod durations;
mod file_limit;
pub mod log;
mod machine;
pub mod print;
mod settings_file;
pub mod short_ids;
mod signals;
pub mod table;
pub mod watch;

pub use announce::announce;
pub use durations::{Deadline, Lapse};
pub use file_limit::{FileLimit, raise_file_limit};
pub use log::LogFormat;
pub use machine::machine_name;
pub use settings_file::{FileError, parse, read};
#[cfg(unix)]
pub use signals::unblock_signals;
pub use signals::{Hangup, Signal, Signals, Stop};
pub use watch::Vital;
