//! The limit of the database's size, and what happens at it (TR-12).
//!
//! SQLite enforces it: a write that needs a page over the limit fails as on a full disk, and only
//! that write. Such failures are told apart here by the size of the file. Intents leave some room
//! below the limit, for what was accepted before them. What removes rows may go over the limit by a
//! reserve, since removing can need pages too.

use bowline_protocol::{
    RpcReason,
    error::{Quota, RpcError},
};
use rusqlite::Connection;

use super::{core::Core, tx::Tx};
use crate::store::{self, fault};

/// Bytes of one page.
pub(super) const PAGE: u64 = 4_096;
/// Pages that a batch may need: one that fails is undone, and leaves the file up to that much
/// smaller than the limit. With a smaller limit, every write without space is taken to be over it.
const ONE_BATCH: u32 = 65_536;
/// Most pages by which upkeep may go over the limit.
const RESERVE: u32 = 1_024;

/// Part of the limit, and most pages, that no intent takes: the end of a turn and other results of
/// what was accepted are stored there. Less than the part at which services begin to make room
/// (`ticks.rs`), which comes first where there is something to drop.
const ROOM: (u32, u32) = (64, 1_024);

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

impl Tx<'_> {
    /// Most pages that may be in use once the intent that now begins has run: as many as leave
    /// room, or as there are by now; `None` without a limit. [`Tx::check_room`] takes it.
    pub(super) fn room(&self) -> Result<Option<u32>, RpcError> {
        let Some(limit) = self.storage_limit.0 else {
            return Ok(None);
        };
        let (part, most) = ROOM;
        let bound = limit.saturating_sub(most.min(limit / part));
        // A file that is not larger has no more pages in use.
        let is_near = store::pages(self.conn).map_err(fault)? > bound;
        Ok(Some(if is_near {
            bound.max(used(self)?)
        } else {
            bound
        }))
    }

    /// Refuses an intent that took the room; one that takes no page may always run.
    pub(super) fn check_room(&self, bound: Option<u32>) -> Result<(), RpcError> {
        let Some(bound) = bound else {
            return Ok(());
        };
        if store::pages(self.conn).map_err(fault)? > bound && used(self)? > bound {
            return Err(self.storage_limit.explain(self.conn, fault(full())));
        }
        Ok(())
    }
}

/// Pages in use.
pub(super) fn used(tx: &Tx<'_>) -> Result<u32, RpcError> {
    let pages = store::pages(tx.conn()).map_err(fault)?;
    let free = store::free_pages(tx.conn()).map_err(fault)?;
    Ok(pages.saturating_sub(free))
}

/// The error of SQLite at the limit.
pub(super) fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
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
