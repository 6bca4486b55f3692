//! Changes of a list, the same type for timelines, directories, tables and logs.

use std::sync::Arc;

use bowline_runtime as runtime;

use super::{rev, small};

/// One change of a list. Positions count from 0, in the list after the preceding changes. An update
/// has the rows of all its insertions and replacements in one list, in order of use.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ListChange {
    /// Removes consecutive rows.
    Remove {
        /// Position of the first row.
        at: u32,
        /// Number of rows.
        count: u32,
    },
    /// Inserts the next rows of the update.
    Insert {
        /// Position of the first row afterwards.
        at: u32,
        /// Number of rows.
        count: u32,
    },
    /// Replaces a row with the next row of the update.
    Update {
        /// Position of the row.
        at: u32,
    },
    /// Appends to the text of a row whose other fields are unchanged.
    Grow {
        /// Position of the row.
        at: u32,
        /// The text to append.
        text: String,
    },
}

/// The fields of an update, computed from a diff.
pub(super) struct Crossing<T> {
    /// Revision of the list that the changes apply to; `None`: an empty list.
    pub(super) base_rev: Option<u32>,
    /// Revision of the resulting list.
    pub(super) rev: u32,
    /// The changes.
    pub(super) changes: Vec<ListChange>,
    /// The rows of all insertions and replacements, in order of use.
    pub(super) rows: Vec<T>,
}

impl<R, T: for<'a> From<&'a R>> From<runtime::ListDiff<R>> for Crossing<T> {
    fn from(diff: runtime::ListDiff<R>) -> Self {
        let mut rows = Vec::new();
        let mut cross = |row: &Arc<R>| rows.push(row.as_ref().into());
        let changes = diff.changes.into_iter().map(|change| match change {
            runtime::ListChange::Remove { at, count } => ListChange::Remove {
                at: small(at),
                count: small(count),
            },
            runtime::ListChange::Insert { at, rows } => {
                rows.iter().for_each(&mut cross);
                ListChange::Insert {
                    at: small(at),
                    count: small(rows.len()),
                }
            }
            runtime::ListChange::Update { at, row } => {
                cross(&row);
                ListChange::Update { at: small(at) }
            }
            runtime::ListChange::Grow { at, text } => ListChange::Grow {
                at: small(at),
                text,
            },
        });
        Self {
            base_rev: diff.base_rev.map(rev),
            rev: rev(diff.rev),
            changes: changes.collect(),
            rows,
        }
    }
}
