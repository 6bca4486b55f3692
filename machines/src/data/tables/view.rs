//! A table as displayed by an app: one immutable value, and the changes between two of them.

use serde::Serialize;

use super::row::TableRow;
use crate::data::{
    collection::{Collection, CollectionState, Entry, State},
    lists::View,
    load::LoadError,
    screen::Connectivity,
    view::{Beyond, ListDiff, RowList},
};

/// What an app shows of a table or a log, besides its rows or items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// The first rows are on their way, or the host is connecting: display a skeleton (DS-3).
    #[default]
    Loading,
    /// The rows are current.
    Ready,
    /// The rows are current, and there are none.
    Empty,
    /// The rows stay while they are fetched again or confirmed. Also those of an earlier run of the
    /// app, which are never shown as current before the daemon has confirmed or replaced them
    /// (LD-5).
    Revalidating,
    /// The rows stay, and may be outdated: the host is not connected, or fetching them again failed
    /// ([`TableView::error`], UX-4).
    Stale,
    /// The first rows could not be loaded ([`TableView::error`]). It is tried again.
    Failed,
    /// The daemon refuses the table ([`TableView::error`] says why). Not tried again before the
    /// next attach or a refresh. Rows of earlier stay.
    Refused,
}

impl TableState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Loading,
        Self::Ready,
        Self::Empty,
        Self::Revalidating,
        Self::Stale,
        Self::Failed,
        Self::Refused,
    ];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Empty => "empty",
            Self::Revalidating => "revalidating",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    pub(in crate::data) fn of<R: Entry>(
        rows: &Collection<R>,
        is_empty: bool,
        host: Connectivity,
    ) -> Self {
        let is_online = host == Connectivity::Online;
        match rows.state().kind() {
            _ if rows.error().is_some_and(LoadError::is_refusal) => Self::Refused,
            CollectionState::Idle | CollectionState::InitialLoading => Self::Loading,
            CollectionState::ErrorBeforeFirstSuccess => Self::Failed,
            CollectionState::ErrorAfterReady => Self::Stale,
            // Of an earlier run of the app, while the host connects for the first time (LD-5).
            CollectionState::Revalidating if *rows.state() == State::Restored => Self::Revalidating,
            CollectionState::Ready | CollectionState::Revalidating if !is_online => Self::Stale,
            CollectionState::Revalidating => Self::Revalidating,
            CollectionState::Ready if is_empty && !rows.has_more() => Self::Empty,
            CollectionState::Ready => Self::Ready,
        }
    }
}

/// A table at one time. Each view replaces all earlier ones. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableView {
    /// Incremented with every change.
    pub rev: u64,
    /// The first rows, in order of key, without gaps; over them, what this client's intents are
    /// expected to change (LD-3), also before the first rows are there.
    pub rows: RowList<TableRow>,
    /// What to show besides them.
    pub state: TableState,
    /// The rows after them, loaded page by page on request.
    pub beyond: Beyond,
    /// Whether the table has more rows than fit here; those after the last one are left out.
    pub truncated: bool,
    /// Why the rows are not current.
    pub error: Option<LoadError>,
}

impl View for TableView {
    /// Does not compare rows.
    fn says_the_same(&self, other: &Self) -> bool {
        self.rows.is_same(&other.rows)
            && self.state == other.state
            && self.beyond == other.beyond
            && self.truncated == other.truncated
            && self.error == other.error
    }

    fn set_rev(&mut self, rev: u64) {
        self.rev = rev;
    }
}

impl TableView {
    /// `shown`: the rows with patches over them.
    pub(super) fn of(
        rows: &Collection<TableRow>,
        shown: RowList<TableRow>,
        host: Connectivity,
        rev: u64,
    ) -> Self {
        Self {
            rev,
            state: TableState::of(rows, shown.is_empty(), host),
            rows: shown,
            beyond: rows.beyond(),
            truncated: rows.has_more() && rows.is_full(),
            error: rows.error(),
        }
    }

    /// The changes of the rows that turn a subscriber's view `base` into this one; `None`: from an
    /// empty one. Costs only what changed (LD-4), so compute it on delivery, against the view
    /// delivered last.
    pub fn diff(&self, base: Option<&Self>) -> ListDiff<TableRow> {
        self.rows
            .diff(base.map(|base| (base.rev, &base.rows)), self.rev)
    }
}
