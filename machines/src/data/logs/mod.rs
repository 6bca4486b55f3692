//! The logs of a host's services that an app follows (LD-2, LD-9).
//!
//! Each log is a collection ([`crate::data::collection`]) whose rows are its items, the newest
//! first: a first page is the newest one, more rows are older items, and what does not fit is left
//! out at the old end. Readers of the same log with the same parameters share one, as for tables
//! ([`crate::data::open`]).
//!
//! **Items.** Events add items, let them grow and replace them, each exactly once; what is too
//! large for an event is fetched by index. What the daemon no longer keeps is dropped here as well.
//!
//! **Which log.** The first page says which key the parameters stand for. Events of the name that
//! come before it are kept until then, within a bound; beyond it the items are fetched again.
//!
//! **Patches.** After the items lie those that this client's intents are expected to add and that
//! have not left the log ([`crate::data::patches`]).
//!
//! **Bounds** are in [`ListsConfig`](super::lists::ListsConfig). The bytes are shared by all open
//! logs.

mod laid;
mod open;
mod row;
mod text;
mod view;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use bowline_protocol::{
    IntentId,
    live::{LogAppended, LogGrown, LogPage, LogReplaced},
};

pub use row::{Expected, Grown, LogGrowth, LogPlace, LogRow};
pub use text::GrownText;
pub use view::LogView;

pub use self::open::Window;

use super::{
    lists::{self, Lists},
    screen::Connectivity,
};
use crate::MonotonicTime;

/// The logs of one host.
pub type Logs = Lists<Window>;

/// An event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// `log.appended`.
    Appended(LogAppended),
    /// `log.grown`.
    Grown(LogGrown),
    /// `log.replaced`.
    Replaced(LogReplaced),
}

impl LogEvent {
    fn name(&self) -> &str {
        match self {
            Self::Appended(event) => &event.name,
            Self::Grown(event) => &event.name,
            Self::Replaced(event) => &event.name,
        }
    }

    fn key(&self) -> &str {
        match self {
            Self::Appended(event) => &event.key,
            Self::Grown(event) => &event.key,
            Self::Replaced(event) => &event.key,
        }
    }

    /// Approximate bytes of memory.
    fn bytes(&self) -> usize {
        let around = size_of::<Self>() + self.name().len() + self.key().len();
        let items = |event: &LogAppended| -> usize {
            let items = event.items.iter();
            items.map(|item| item.value.get().len() + 64).sum()
        };
        around
            + match self {
                Self::Appended(event) => items(event),
                Self::Grown(event) => event.text.len() + event.field.len(),
                Self::Replaced(event) => event.value.as_ref().map_or(0, |json| json.get().len()),
            }
    }
}

/// Inputs of one log.
pub type Input = lists::Input<LogPage>;

/// Effects for the driver. The cursor of a page is the index that its items are before.
pub type Effect = lists::Effect<Reverse<u64>>;

impl Logs {
    /// An event changed a log.
    pub fn changed(&mut self, now: MonotonicTime, seq: u64, event: &LogEvent) {
        for one in self.open.named(event.name()) {
            one.event(now, seq, event);
        }
        self.passed(seq);
    }

    /// Builds the newest views, for [`Logs::poll_view`]; each that differs from its predecessor
    /// gets the next revision. `host`: its status.
    pub fn publish(&mut self, host: Connectivity, rev: &mut u64) {
        self.publish_each(rev, |one, patches| {
            let over = (patches, &mut one.left);
            let shown = one.own.laid.lay(over, &one.rows, &one.target);
            let (shown, bounds) = (shown.clone(), one.own.bounds);
            LogView::of(&one.rows, shown, bounds, host, one.view.rev)
        });
    }

    /// Whether a failure of an intent would be shown by an item.
    pub fn is_patched_by(&self, intent_id: IntentId) -> bool {
        self.patches.saying(intent_id).next().is_some()
    }
}
