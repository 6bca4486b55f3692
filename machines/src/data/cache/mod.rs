//! What a client keeps on its disk of the tables and logs that were open, so that a later run of
//! the app shows them before there is a network (LD-5). The driver reads and writes; everything
//! else is decided here.
//!
//! Two kinds of files are kept for a host:
//!
//! * For each table and log a **list** ([`SavedList`]): its rows as of one event, with the number
//!   of that event, the epoch and the follow. It is what a first page would have been.
//! * One **manifest** ([`Manifest`]): a position of the session, and which lists had no change
//!   between their own event and that position.
//!
//! ```text
//!   events applied ──► rows as of event n ──saved──► lists, then the manifest at n
//!                 └──► acknowledged, whether or not saved
//!
//!   next run: hello with the manifest's position ─► resumed ─► a list as of that position or later
//!                                               │              is continued (`seq`, `follow`)
//!                                               │          └─► any other is replaced by a page
//!                                               └► reset ───► every list is replaced by a page
//! ```
//!
//! **Why nothing is lost or repeated (LD-2).** A list is kept only when its rows are exactly those
//! as of the session's last event (`Collection::is_as_of`). The next run receives every event after
//! the position that it attached with, so a list that is as of that position or a later one gets
//! whatever it lacks, and drops by number what it has. A list as of an earlier event is never
//! continued, although the daemon, which knows nothing of files, would agree to it: events in
//! between were acknowledged by the run before. Lists are written before the manifest that names
//! them; whichever of the two a crash leaves older, the rule is the same. Acknowledgements do not
//! wait for files: if the daemon has dropped events after the manifest's position, its answer is
//! `reset`.
//!
//! Nothing here depends on a clock that can be set.

mod format;
mod saver;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline_protocol::{
    Epoch, Resume,
    live::{LiveKind, Scope},
};

pub use format::{Damaged, Manifest, Stored, StoredPage, read_list};
pub use saver::{Saver, SaverConfig};

use super::{logs::LogRow, tables::TableRow, target::LiveTarget, view::RowList};

/// Most rows or items that are kept of one table or log: the first rows, the newest items. Those
/// after them are loaded when they are wanted.
pub const MAX_ROWS: usize = 10_000;
/// Most bytes of values that are kept of one table or log; one row is always kept.
pub const MAX_BYTES: usize = 4 << 20;

/// Rows of a table or log to be written. They share memory with what is displayed.
#[derive(Clone, Debug)]
pub struct SavedList {
    /// Of what.
    pub kind: LiveKind,
    /// Its name and parameters.
    pub target: Arc<LiveTarget>,
    /// The numbering of `seq`.
    pub epoch: Epoch,
    /// The event that the rows are as of.
    pub seq: u64,
    /// The keys that it covers.
    pub scope: Scope,
    /// The follow that the rows are of.
    pub follow: Option<u64>,
    /// Whether the daemon has rows after the last one.
    pub more: bool,
    /// The rows.
    pub rows: SavedRows,
}

/// The rows of a [`SavedList`].
#[derive(Clone, Debug)]
pub enum SavedRows {
    /// Of a table.
    Table(RowList<TableRow>),
    /// Of a log.
    Log {
        /// The items, the newest first.
        items: RowList<LogRow>,
        /// Index of the oldest item that the daemon keeps.
        first: u64,
        /// Index of the next item.
        next: u64,
    },
}

/// What to write of one host: first the lists, then the manifest.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its number; one with a smaller number than the last one written is out of date.
    pub number: u64,
    /// Lists that have changed since they were written.
    pub lists: Vec<SavedList>,
    /// Lists whose rows the daemon refuses: their files are deleted.
    pub refused: Vec<(LiveKind, Arc<LiveTarget>)>,
    /// The position, and every list that is as of it.
    pub manifest: Manifest,
}

/// Rows of an earlier run, for a table or log that is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<P> {
    /// The rows, as of the page's `seq`.
    pub page: P,
    /// The event that the file says the rows are as of.
    pub stored_seq: u64,
    /// Whether every later event of the session is yet to come.
    pub is_unbroken: bool,
}

impl<P: StoredPage> Stored<P> {
    /// What a table or log begins with. `manifest`: that of the host; `position`: the event up to
    /// which the session's events were received, with its epoch.
    pub fn kept(mut self, manifest: Option<&Manifest>, position: Option<&Resume>) -> Kept<P> {
        let stored_seq = self.page.seq();
        let current = manifest.and_then(|manifest| manifest.current_to(&self));
        let seq = current.unwrap_or(stored_seq).max(stored_seq);
        self.page.set_seq(seq);
        let is_unbroken = position
            .is_some_and(|position| position.epoch == self.epoch && seq >= position.last_seq);
        Kept {
            page: self.page,
            stored_seq,
            is_unbroken,
        }
    }
}
