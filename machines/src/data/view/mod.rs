//! A timeline as displayed by a screen: one immutable value, its list of items, and the changes
//! between two of them. Rows of a table are a list of their own kind ([`RowList`]).

mod change;
mod diff;
mod list;
mod rows;

use std::sync::Arc;

pub use change::{ListChange, ListDiff};
pub use diff::TimelineDiff;
pub use list::ItemList;
pub use rows::{Placed, RowList};

use super::{
    load::LoadError,
    optimistic::{FailedMessage, PendingMessage},
};

/// A timeline at one time. Each view replaces all earlier ones. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineView {
    /// Incremented with every change.
    pub rev: u64,
    /// A bounded run of the items, in order of index, without gaps. It starts as the newest ones
    /// and moves with its reader, who requests older and newer ones: rows over the bound are
    /// dropped at the other end. While the timeline catches up the run is unchanged, until the new
    /// one is consistent.
    pub items: ItemList,
    /// Messages sent by this client that are not in the timeline yet, in the order of submission:
    /// displayed after its newest item, with a mark (UX-3). Each is removed in the same value in
    /// which its item appears, or would appear if `newer` were `None`.
    pub pending: Arc<[Arc<PendingMessage>]>,
    /// Messages sent by this client that failed, with the error; the newest few, until dismissed.
    pub failed: Arc<[Arc<FailedMessage>]>,
    /// Whether any load succeeded (UX-1).
    pub loaded: bool,
    /// Whether `items` is the loaded list. False after it was dropped to save memory, until it is
    /// loaded again.
    pub known: bool,
    /// Whether the timeline is catching up (UX-2).
    pub catching_up: bool,
    /// The items before `items`.
    pub older: Beyond,
    /// The items after `items`.
    pub newer: Beyond,
    /// Index of the next item.
    pub end: u64,
    /// Items before this index are complete: their texts do not grow any more.
    pub complete_to: u64,
    /// Number of times that the daemon turned out to have another timeline for this agent, because
    /// its store was replaced.
    pub replaced: u64,
    /// Why it is not current (UX-4).
    pub error: Option<LoadError>,
}

/// The items beyond one end of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Beyond {
    /// None: the timeline starts here, or new items are appended here.
    #[default]
    None,
    /// More, loaded page by page on request; newer ones may be skipped by a jump to the newest.
    More,
    /// More, being loaded.
    Loading,
    /// More, whose load failed; a request retries it.
    Failed(LoadError),
}

impl TimelineView {
    /// Whether both have the same content, regardless of revisions, without comparing items.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.items.is_same(&other.items)
            && Arc::ptr_eq(&self.pending, &other.pending)
            && Arc::ptr_eq(&self.failed, &other.failed)
            && self.loaded == other.loaded
            && self.known == other.known
            && self.catching_up == other.catching_up
            && self.older == other.older
            && self.newer == other.newer
            && self.end == other.end
            && self.complete_to == other.complete_to
            && self.replaced == other.replaced
            && self.error == other.error
    }

    /// Whether there is anything to display, including pending messages.
    pub fn has_rows(&self) -> bool {
        !self.items.is_empty() || !self.pending.is_empty()
    }
}
