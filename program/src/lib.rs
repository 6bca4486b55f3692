//! What Bowline's programs do alike, so that a user learns it once: a settings file whose errors name line and key,
//! durations as people write them, a log, signals, and one line for each address that accepts.

mod announce;
mod durations;
mod file_limit;
pub mod log;
mod settings_file;
mod signals;

pub use announce::announce;
pub use durations::{Deadline, Lapse};
pub use file_limit::raise_file_limit;
pub use log::LogFormat;
pub use settings_file::{FileError, parse, read};
pub use signals::{Signal, Signals};
