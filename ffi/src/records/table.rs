//! A service's table, as changes.

use bowline_runtime::{self as runtime, TableView};

use super::{
    agent::LoadFailure,
    list::{Crossing, ListChange},
    mirror,
    patch::RowFailure,
    small,
};

mirror! {
    /// What an app shows of a table or a log, besides its rows or items.
    TableState of runtime::TableState {
        /// The first rows are on their way, or the host is connecting: show a skeleton.
        Loading,
        /// The rows are current.
        Ready,
        /// The rows are current, and there are none.
        Empty,
        /// The rows stay while they are loaded again or confirmed. Also those of an earlier run of
        /// the app, at a cold start: they are never `Ready` before the daemon has confirmed or
        /// replaced them (LD-5).
        Revalidating,
        /// The rows stay, and may be outdated: the host is not connected, or loading them again
        /// failed (`error`, UX-4).
        Stale,
        /// The first rows could not be loaded (`error`). It is tried again.
        Failed,
        /// The daemon refuses the table or log (`error`). Not tried again before the next
        /// connection, `refresh_table` or `refresh_log`.
        Refused,
    }
}

mirror! {
    /// Rows after the last one of a table, or items before the first one of a log.
    MoreRows of runtime::Beyond {
        /// None, or none that fit (`truncated`).
        None,
        /// More, loaded by `load_more_rows` or `load_older_items`.
        More,
        /// More, which are loading.
        Loading,
        /// More, which failed to load; `load_more_rows` or `load_older_items` retries.
        Failed {
            /// The reason.
            error: LoadFailure,
        },
    }
}

mirror! {
    /// A row of a table.
    #[derive(Eq)]
    TableRow of row: &runtime::TableRow {
        /// Its key.
        key: String = row.key.to_string(),
        /// Its value as JSON; `null` with `omitted_bytes`.
        json: String = row.value.get().to_owned(),
        /// Size in bytes of a value that is too large to be sent, or is `unreadable`.
        omitted_bytes: Option<u32> = row.omitted_bytes.map(small),
        /// Whether its service cannot read what is stored of it any more.
        unreadable: bool = row.unreadable,
        /// Whether the value is what an intent of this app is expected to make of it (LD-3).
        pending: bool = row.pending,
        /// Why the newest intent of this app that concerned the row failed, until it is dismissed
        /// (LD-3). A row that exists nowhere else is shown as it would have been.
        failure: Option<RowFailure> = row.failure.as_deref().map(Into::into),
    }
}

/// The changes of a table since the listener's last update.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TableUpdate {
    /// Revision of the rows that the changes apply to; none: no rows.
    pub base_rev: Option<u32>,
    /// Revision of the resulting rows.
    pub rev: u32,
    /// Changes of the rows, in the order in which they apply.
    pub changes: Vec<ListChange>,
    /// The rows of all insertions and replacements in `changes`, in order of use.
    pub rows: Vec<TableRow>,
    /// What to show besides the rows.
    pub state: TableState,
    /// Why the rows are not current.
    pub error: Option<LoadFailure>,
    /// Rows after the last one.
    pub more: MoreRows,
    /// Whether the table has more rows than fit here; those after the last one are left out.
    pub truncated: bool,
}

/// The changes from the listener's value to the new one.
impl From<(Option<&TableView>, &TableView)> for TableUpdate {
    fn from((base, new): (Option<&TableView>, &TableView)) -> Self {
        let list = Crossing::from(new.diff(base));
        Self {
            base_rev: list.base_rev,
            rev: list.rev,
            changes: list.changes,
            rows: list.rows,
            state: new.state.into(),
            error: new.error.map(Into::into),
            more: new.beyond.into(),
            truncated: new.truncated,
        }
    }
}
