//! Configuration of the client: flags override `BOWLINE_…` variables, which override the file,
//! which overrides defaults. [`bowline_program::config`] explains how to add a setting.
//!
//! [`settings`] declares them and resolves those of the sources.

mod settings;

#[cfg(test)]
pub(crate) use settings::Only;
pub(crate) use settings::{Settings, Written};
