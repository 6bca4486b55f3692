//! Settings of the relay: flags take precedence over `BOWLINE_…` variables, these over the file,
//! and the file over defaults. [`bowline_program::config`] describes how to add a setting.
//!
//! `settings` declares them, and `resolve` makes the resolved ones from the written ones. All other
//! modules use only [`Settings`].

mod resolve;
mod settings;

pub use self::{
    resolve::{load, resolve},
    settings::{Limits, Settings, Written, WrittenLimits},
};
pub use crate::{proxies::Network, tls::TlsFiles};
pub use bowline_program::{ConfigError, Deadline, LogFormat};

/// Port of the default listener.
pub const DEFAULT_PORT: u16 = 4718;
