//! A log as displayed by an app: one immutable value, and the changes between two of them.

use std::sync::Arc;

use super::row::LogRow;
use crate::data::{
    collection::Collection,
    lists::View,
    load::LoadError,
    screen::Connectivity,
    tables::TableState,
    view::{Beyond, ListDiff, RowList},
};

/// A log at one time. Each view replaces all earlier ones. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogView {
    /// Incremented with every change.
    pub rev: u64,
    /// The newest items, the newest first; before them those that are only expected.
    items: RowList<LogRow>,
    /// What to show besides them.
    pub state: TableState,
    /// The items before them, loaded page by page on request.
    pub older: Beyond,
    /// Whether the daemon has older items than fit here; they are left out.
    pub truncated: bool,
    /// Index of the oldest item that the daemon keeps, as far as known.
    pub first: u64,
    /// Index of the next item, as far as known.
    pub next: u64,
    /// Why the items are not current.
    pub error: Option<LoadError>,
}

impl View for LogView {
    /// Does not compare items.
    fn says_the_same(&self, other: &Self) -> bool {
        self.items.is_same(&other.items)
            && self.state == other.state
            && self.older == other.older
            && self.truncated == other.truncated
            && (self.first, self.next) == (other.first, other.next)
            && self.error == other.error
    }

    fn set_rev(&mut self, rev: u64) {
        self.rev = rev;
    }
}

impl LogView {
    pub(super) fn of(
        rows: &Collection<LogRow>,
        shown: RowList<LogRow>,
        (first, next): (u64, u64),
        host: Connectivity,
        rev: u64,
    ) -> Self {
        Self {
            rev,
            state: TableState::of(rows, shown.is_empty(), host),
            items: shown,
            older: rows.beyond(),
            truncated: rows.has_more() && rows.is_full(),
            first,
            next,
            error: rows.error(),
        }
    }

    /// A view of these items alone, in any order, for previews: nothing follows a log for it.
    pub fn of_items(rev: u64, items: impl IntoIterator<Item = LogRow>, state: TableState) -> Self {
        let mut view = Self {
            rev,
            state,
            ..Self::default()
        };
        for item in items {
            view.next = view.next.max(item.index.saturating_add(1));
            view.items.insert(Arc::new(item));
        }
        view.first = view.items.last().map_or(view.next, |oldest| oldest.index);
        view
    }

    /// The newest items that are loaded, oldest first, and after them those that this client's
    /// intents are expected to add (LD-3), also before the first items are there. An index is
    /// missing for as long as its item is fetched because it is too large for an event; the state
    /// is then revalidating.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = &Arc<LogRow>> {
        self.items.iter().rev()
    }

    /// Number of the items.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The changes of the items, oldest first, that turn a subscriber's view `base` into this one;
    /// `None`: from an empty one. Costs only what changed (LD-4), so compute it on delivery,
    /// against the view delivered last. [`LogRow::append`] applies growth.
    pub fn diff(&self, base: Option<&Self>) -> ListDiff<LogRow> {
        let len = base.map_or(0, Self::len);
        let diff = self
            .items
            .diff(base.map(|base| (base.rev, &base.items)), self.rev);
        diff.reversed(len)
    }
}
