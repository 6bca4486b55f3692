//! Settings of the daemon: flags take precedence over `BOWLINE_…` variables, these over the file,
//! and the file over defaults. [`bowline_program::config`] describes how to add a setting.
//!
//! [`settings`] declares them, [`sections`] those of services, [`resolve()`] makes the resolved
//! ones from the written ones, and [`values`] are the value types. All other modules use only
//! [`Settings`].

mod home;
mod resolve;
mod sections;
mod settings;
mod values;

pub use bowline_program::{ConfigError, Deadline, LogFormat, Timeout, config::ProxyUrl};
pub use bowline_protocol::relay::RelayUrl;
pub use home::Home;
pub use resolve::{load, resolve};
pub use sections::{Section, SectionType, SectionValues, Sections};
pub use settings::{Limits, Settings, Written, WrittenLimits};
pub use values::{AdvertisedAddress, Inherited};

/// Port of the default listener.
pub const DEFAULT_PORT: u16 = 4717;
