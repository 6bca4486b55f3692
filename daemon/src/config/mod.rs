//! What the daemon is told: flags over `BOWLINE_…` variables over the file over defaults.
//!
//! [`file`] is the shape of the TOML file, [`values`] the small types its values parse into, [`resolve`]
//! the one place where the four sources meet. Everything else of the daemon sees [`Settings`] alone.

mod file;
mod places;
mod resolve;
mod settings;
mod values;

pub use bowline_program::{Lapse, LogFormat};
pub use bowline_protocol::relay::RelayUrl;
pub use file::FileConfig;
pub use places::Home;
pub use resolve::{Overrides, load, resolve};
pub use settings::{Limits, PromptVia, ProviderKind, ProviderSettings, Settings};
pub use values::AdvertisedAddress;

/// Port of the default listener.
pub const DEFAULT_PORT: u16 = 4717;

/// Why the configuration cannot be used. Each text says where, what, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or something in it is not understood.
    #[error(transparent)]
    File(#[from] bowline_program::FileError),
    /// Values that are right one by one do not go together.
    #[error("{0}")]
    Conflict(String),
    /// No state directory was given and none can be derived.
    #[error("no home directory is known; name a state directory with --state-dir")]
    NoHome,
}
