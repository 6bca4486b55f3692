//! Rows of a table as entries of a collection, and pages of the wire as pages of them.

use std::{cmp::Ordering, convert::Infallible, sync::Arc};

use bowline_protocol::live::{Json, Row, TablePage};

use crate::data::{
    collection::{Entry, Page},
    load::LoadError,
    patches::RowFailure,
    view::Placed,
};

/// Approximate bytes of a row besides its key and its value.
const ROW_BYTES: usize = 160;

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// Its key.
    pub key: Arc<str>,
    /// Its value, as the daemon wrote it; `null` with `omitted_bytes`.
    pub value: Json,
    /// Size in bytes of a value that is too large to be sent, or is `unreadable`.
    pub omitted_bytes: Option<u64>,
    /// Whether the value is left out because the service can no longer read what it stored.
    pub unreadable: bool,
    /// Whether the value is what an intent of this client is expected to make of it (LD-3).
    pub pending: bool,
    /// Why the newest intent of this client that concerned the row failed, until it is dismissed
    /// (LD-3). A row that exists nowhere else is shown as it would have been.
    pub failure: Option<Arc<RowFailure>>,
}

impl From<Row> for TableRow {
    fn from(row: Row) -> Self {
        Self {
            key: row.key.into(),
            value: row.value,
            omitted_bytes: row.omitted_bytes,
            unreadable: row.unreadable,
            pending: false,
            failure: None,
        }
    }
}

/// In ascending order of the bytes of the keys, as the daemon's pages.
impl Placed for TableRow {
    type Place = Arc<str>;

    fn place(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    fn compare(&self, place: &Arc<str>) -> Ordering {
        self.key.cmp(place)
    }

    fn compare_rows(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Entry for TableRow {
    type Key = Arc<str>;

    const IS_WINDOW: bool = true;
    const FOLLOWS: bool = true;

    type Growth = Infallible;

    fn grown(&self, growth: &Infallible) -> Self {
        match *growth {}
    }

    fn growth_bytes(growth: &Infallible) -> usize {
        match *growth {}
    }

    fn key(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.get().len() + ROW_BYTES
    }
}

/// A page of the wire as one of a collection.
///
/// # Errors
/// [`LoadError::Malformed`] for a page without rows that is not the last one.
pub(super) fn page(page: TablePage) -> Result<Page<TableRow>, LoadError> {
    let last = page.rows.last().map(|row| row.key.clone());
    if page.more && last.is_none() {
        return Err(LoadError::Malformed);
    }
    Ok(Page {
        rows: page.rows.into_iter().map(TableRow::from).collect(),
        next: last.filter(|_| page.more),
        total: None,
        seq: page.seq,
        resumed: page.resumed,
        follow: page.follow,
    })
}
