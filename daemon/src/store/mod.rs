//! The SQLite store: opening, migrations, queries. Only the ledger's thread uses it.

use std::path::PathBuf;

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
    #[error("{path} has the format of a newer bowline-daemon (version {found}; this one knows up to {known}). Update this program, or choose another --state-dir", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// It cannot be read or written.
    #[error("cannot open {path}: {detail}. Check that the directory exists, that it is yours, that there is space, and that no other bowline-daemon uses it", path = path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
}
