//! The SQLite store: opening, migrations, queries. Only the ledger's thread uses it.

pub(crate) mod agents;
pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod intents;
mod open;
pub(crate) mod sessions;
pub(crate) mod starts;
pub(crate) mod turns;

use std::path::PathBuf;

use bowline_protocol::{RpcReason, ServerId, error::RpcError};

pub(crate) use open::{FILE, checkpoint, classify, open};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is there but is no sound database of ours.
    #[error("{path} is damaged ({detail}). It was left untouched: restore it from a backup, or move it away to start with an empty store (paired devices and agents are in it)", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has the format of a newer version of this program (version {found}; this one knows up to {known}). Update it, or choose another --state-dir", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// It is another daemon's.
    #[error("{path} is the database of another daemon ({found}); `identity.json` beside it is that of {expected}. Both were left untouched: put back the two files that belong together, or move both away to start as a new daemon that every device must pair with again", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who this daemon is.
        expected: ServerId,
    },
    /// It cannot be read or written.
    #[error("cannot open {path}: {detail}. Check that the directory exists, that it is yours, that there is space, and that no other daemon uses it", path = path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
}

/// What a request is told when the store failed under it. A full or busy disk is `storage_unavailable`: nothing has happened, and
/// the same request may succeed later. Anything else is a defect.
pub(crate) fn fault(error: rusqlite::Error) -> RpcError {
    use rusqlite::ErrorCode as Code;
    let unavailable = |text: &str| {
        tracing::debug!(%error, "the store cannot write");
        RpcError::new(RpcReason::StorageUnavailable, text)
    };
    match error.sqlite_error_code() {
        Some(Code::DiskFull) => {
            unavailable("the daemon's disk is full; free some space on its machine")
        }
        Some(Code::ReadOnly | Code::PermissionDenied) => {
            unavailable("the daemon may not write to its state folder; see to its machine")
        }
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

/// Whether an error is the disk's.
pub(crate) fn is_unavailable(error: &RpcError) -> bool {
    error.reason() == Some(RpcReason::StorageUnavailable)
}
