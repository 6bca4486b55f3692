//! The SQLite store: opening, migrations, queries. Only the ledger's thread uses it.

pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod intents;
pub(crate) mod logs;
mod moves;
pub(crate) mod offers;
mod open;
pub(crate) mod sessions;
pub(crate) mod sql;
pub(crate) mod starts;

use std::path::PathBuf;

use bowline_protocol::{IdentityError, RpcReason, ServerId, error::RpcError};

pub(crate) use open::{FILE, checkpoint, classify, free_pages, limit_pages, open, pages};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file exists but is not a sound Bowline database.
    #[error("{path} is damaged ({detail}). It was left untouched: restore it from a backup, or move it away to start with an empty store (paired devices and agents are in it)", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The problem.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has the format of a newer version of this program (version {found}; this program supports up to {known}). Update it, or choose another --state-dir", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: i64,
        /// The newest version this program supports.
        known: i64,
    },
    /// The file belongs to another daemon.
    #[error("{path} is the database of another daemon ({found}); `identity.json` beside it is that of {expected}. Both were left untouched: put back the two files that belong together, or move both away to start as a new daemon that every device must pair with again", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The daemon it belongs to.
        found: String,
        /// This daemon.
        expected: ServerId,
    },
    /// The file cannot be read or written.
    #[error("cannot open {path}: {detail}. Check that the directory exists, that it is yours, that there is space, and that no other daemon uses it", path = path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        detail: String,
    },
    /// The system gave no random numbers, with which the numbers of follows begin.
    #[error("{0}; try again once the system can make random numbers")]
    Randomness(IdentityError),
}

/// The error of a request whose transaction failed in the store. A full or busy disk is
/// `storage_unavailable`: nothing has changed, and the same request may succeed later. Any other
/// failure is a defect.
pub(crate) fn fault(error: rusqlite::Error) -> RpcError {
    use rusqlite::ErrorCode as Code;
    let unavailable = |text: &str| {
        tracing::debug!(%error, "the store cannot write");
        RpcError::new(RpcReason::StorageUnavailable, text)
    };
    match error.sqlite_error_code() {
        Some(Code::DiskFull) => unavailable(FULL),
        Some(Code::ReadOnly | Code::PermissionDenied) => unavailable(
            "the daemon has no permission to write to its state folder; check the folder on its machine",
        ),
        Some(
            Code::SystemIoFailure
            | Code::CannotOpen
            | Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::OutOfMemory
            | Code::OperationAborted,
        ) => unavailable("the daemon cannot write to its disk; its log says more"),
        _ => {
            tracing::error!(%error, "the store failed");
            RpcError::internal("the daemon's store failed; its log says why")
        }
    }
}

/// The text of a full disk; SQLite says the same of a database at its limit.
const FULL: &str = "the daemon's disk is full; free some space on its machine";

/// Whether an error comes from a full disk, or from a database at its limit.
pub(crate) fn is_full(error: &RpcError) -> bool {
    is_unavailable(error) && error.message == FULL
}

/// Whether an error comes from the disk.
pub(crate) fn is_unavailable(error: &RpcError) -> bool {
    error.reason() == Some(RpcReason::StorageUnavailable)
}
