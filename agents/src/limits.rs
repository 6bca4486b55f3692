//! What is kept of agents at most: the section `[agents]` of the daemon's file (TR-12).

use bowline_daemon::config::{Section, Settings, Timeout};
use serde::{Deserialize, Serialize};

use crate::retention::Retention;

/// The limits of agents, with a default for each. Files of earlier versions have them under
/// `[limits]`.
pub const LIMITS: Section<AgentLimits> = Section::new("agents")
    .formerly(
        "limits",
        &[
            "agents_per_device",
            "timeline_bytes_per_device",
            "timeline_bytes",
            "output_age",
        ],
    )
    .resolved(resolve);

/// Smallest limit of a timeline: a prompt of the largest size and something to read beside it.
const MIN_TIMELINE: u64 = 128 << 10;

/// Agents kept for one device unless set otherwise.
pub(crate) const AGENTS_PER_DEVICE: u64 = 10_000;

/// `[agents]`. Each limit states its effect; zero: no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Most agents created by one device; a further one is answered with `quota_exceeded`.
    pub agents_per_device: u64,
    /// Most bytes of the timelines of all agents created by one device; over it their oldest
    /// outputs are dropped.
    pub timeline_bytes_per_device: u64,
    /// Most bytes of one agent's timeline; over it its oldest outputs are dropped, then its oldest
    /// prompts and messages.
    pub timeline_bytes: u64,
    /// Age at which outputs in timelines are dropped.
    pub output_age: Timeout,
}

impl AgentLimits {
    /// How much of timelines is kept, and how long.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            timeline_bytes: self.timeline_bytes,
            timeline_bytes_per_device: self.timeline_bytes_per_device,
            output_age: self.output_age.get().unwrap_or_default(),
        }
    }
}

impl Default for AgentLimits {
    fn default() -> Self {
        let Retention {
            timeline_bytes,
            timeline_bytes_per_device,
            output_age,
        } = Retention::DEFAULT;
        Self {
            agents_per_device: AGENTS_PER_DEVICE,
            timeline_bytes_per_device,
            timeline_bytes,
            output_age: Timeout::of(output_age),
        }
    }
}

fn resolve(limits: AgentLimits, _: &Settings) -> Result<AgentLimits, String> {
    if limits.timeline_bytes > 0 && limits.timeline_bytes < MIN_TIMELINE {
        return Err(format!(
            "`timeline_bytes` must be at least {MIN_TIMELINE}, or 0 for no limit"
        ));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tr_12_what_is_not_written_keeps_its_default_and_zero_is_no_limit() {
        let read = |text: &str| -> Result<AgentLimits, _> { serde_json::from_str(text) };
        assert_eq!(read("{}").unwrap(), AgentLimits::default());
        assert_eq!(AgentLimits::default().retention(), Retention::DEFAULT);
        let some = read(r#"{"timeline_bytes": 131072, "output_age": "0s"}"#).unwrap();
        let expected = Retention {
            timeline_bytes: 131_072,
            output_age: Duration::ZERO,
            ..Retention::DEFAULT
        };
        assert_eq!(some.retention(), expected);
        assert!(read(r#"{"timeline_byte": 1}"#).is_err());
    }
}
