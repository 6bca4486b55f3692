//! Bounds of a host's timelines, with what happens at each.

use std::time::Duration;

use crate::data::timeline::TimelineConfig;

/// Bounds of a host's timelines, with the effect of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimelinesConfig {
    /// Bounds of each timeline.
    pub timeline: TimelineConfig,
    /// Most open timelines; further ones are refused.
    pub most_open: usize,
    /// Bytes of text shared by all open timelines, not counting the newest item of each: with more
    /// open timelines each holds less and fetches more often.
    pub open_bytes: usize,
    /// Bounds of the rows of each timeline's readers.
    pub view: ViewBounds,
    /// Bounds of timelines kept without readers.
    pub kept: KeptBounds,
    /// Time that a message accepted by the daemon is displayed, while online and current, without
    /// its item arriving; the item is then in a part that is not displayed, and the message is
    /// removed.
    pub settle_grace: Duration,
    /// Messages accepted by the daemon that are kept for an unread agent until it is opened again;
    /// beyond this number the oldest is dropped.
    pub kept_delivered: usize,
    /// Most subscriptions without a reader ended under one attach, the limit of a session; beyond
    /// it their events are dropped without ending the subscription.
    pub most_leftovers: usize,
}

impl Default for TimelinesConfig {
    fn default() -> Self {
        Self {
            timeline: TimelineConfig::default(),
            most_open: 64,
            open_bytes: 96 << 20,
            view: ViewBounds::default(),
            kept: KeptBounds::default(),
            settle_grace: Duration::from_secs(10),
            kept_delivered: 32,
            most_leftovers: 1_024,
        }
    }
}

/// Bounds of a view; beyond them rows are dropped at the end away from the reader, and loaded again
/// on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewBounds {
    /// Items held.
    pub items: usize,
    /// Bytes of text held.
    pub bytes: usize,
    /// Items above [`ViewBounds::items`] before rows are dropped, so that several are dropped at
    /// once.
    pub slack: usize,
}

impl Default for ViewBounds {
    fn default() -> Self {
        Self {
            items: 10_000,
            bytes: 16 << 20,
            slack: 256,
        }
    }
}

/// Bounds of the timelines kept for screens that are opened again (UX-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeptBounds {
    /// Timelines kept; beyond this number the one closed longest ago is forgotten.
    pub timelines: usize,
    /// Newest items kept of each.
    pub items: usize,
    /// Bytes of text kept of each, not counting the newest item.
    pub bytes: usize,
    /// Approximate bytes kept in total; beyond it the one closed longest ago is forgotten.
    pub bytes_total: usize,
    /// Bytes of one timeline above which it is not kept.
    pub bytes_largest: usize,
    /// Agents recorded as loaded after their timelines were forgotten, so that opening them again
    /// shows no overlay; beyond this number the one forgotten longest ago opens as for the first
    /// time.
    pub loaded: usize,
}

impl Default for KeptBounds {
    fn default() -> Self {
        Self {
            timelines: 128,
            items: 100,
            bytes: 256 << 10,
            bytes_total: 16 << 20,
            bytes_largest: 4 << 20,
            loaded: 4_096,
        }
    }
}
