//! The limit of the database's size, and what happens at it (TR-12).
//!
//! SQLite enforces it: a write that needs a page over the limit fails as on a full disk, and only
//! that write. Such failures are told apart here by the size of the file. What removes rows may go
//! over the limit by a reserve, since removing can need pages too.

use bowline_protocol::{
    RpcReason,
    error::{Quota, RpcError},
};
use rusqlite::Connection;

use super::core::Core;
use crate::store;

/// Bytes of one page.
pub(super) const PAGE: u64 = 4_096;
/// Pages that a batch may need: one that fails is undone, and leaves the file up to that much
/// smaller than the limit. With a smaller limit, every write without space is taken to be over it.
const ONE_BATCH: u32 = 65_536;
/// Most pages by which upkeep may go over the limit.
const RESERVE: u32 = 1_024;

/// The setting.
const SETTING: &str = "storage_limit";

/// The limit in pages; `None` without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StorageLimit(pub(super) Option<u32>);

impl StorageLimit {
    /// The error of a write, naming the limit if that is its cause.
    pub(super) fn explain(self, conn: &Connection, error: RpcError) -> RpcError {
        let Some(pages) = self.0 else {
            return error;
        };
        let is_reached = || {
            let has = store::pages(conn).unwrap_or(0);
            has.saturating_add(ONE_BATCH) >= pages
        };
        if !store::is_full(&error) || !is_reached() {
            return error;
        }
        let limit = u64::from(pages) * PAGE;
        let quota = Quota {
            name: SETTING.to_owned(),
            limit,
            whose: "the daemon's store".to_owned(),
            device_id: None,
        };
        let text = format!(
            "the daemon's store has reached its limit of {} MiB (`limits.{SETTING}`): raise it, or shorten what is kept of timelines",
            limit >> 20
        );
        RpcError::of_quota(RpcReason::StorageUnavailable, quota, text)
    }
}

impl Core {
    /// The limit in force.
    pub(super) const fn storage_limit(&self) -> StorageLimit {
        StorageLimit(self.options.max_pages)
    }

    /// Runs work that removes rows; it may go over the limit by a reserve.
    pub(super) fn with_reserve<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let Some(pages) = self.options.max_pages else {
            return work(self);
        };
        let reserve = RESERVE.min(pages / 8);
        // If the limit cannot be changed, the work fails like any other write.
        let _ = store::limit_pages(&self.conn, pages.saturating_add(reserve));
        let result = work(self);
        let _ = store::limit_pages(&self.conn, pages);
        result
    }
}
