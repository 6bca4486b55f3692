//! Folders and files that only this user may change (TR-11): state is kept in no place where
//! another user could read, plant or exchange a file.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod unsupported;

use std::{io, path::PathBuf};

#[cfg(unix)]
pub use unix::{check_private_file, make_private_folder};
#[cfg(not(unix))]
pub use unsupported::{check_private_file, make_private_folder};

/// Why a folder or file is not used for private state. Nothing was changed; the text says what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// Other users may write to it.
    #[error(
        "other users may write to {path} (mode {mode:04o}): check that everything in it is yours, then `chmod {private:o} {path}`",
        path = path.display()
    )]
    Writable {
        /// The folder or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The permissions that it should have.
        private: u32,
    },
    /// Other users may exchange it, because they may write to a folder above it.
    #[error(
        "other users may write to {above} (mode {mode:04o}) and exchange {path}: `chmod go-w {above}`, or choose another folder",
        above = above.display(),
        path = path.display()
    )]
    Exchangeable {
        /// The folder or file.
        path: PathBuf,
        /// The folder above it.
        above: PathBuf,
        /// The permissions of that folder.
        mode: u32,
    },
    /// It belongs to another user.
    #[error(
        "{path} belongs to {owner}: run this as that user, or `sudo chown -R {user} {folder}` gives it to this one",
        path = path.display(),
        owner = named(*owner),
        folder = folder.display()
    )]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// The user id of this process.
        user: u32,
        /// The folder to give to this user.
        folder: PathBuf,
    },
    /// A folder above it, or a symbolic link that leads to it, belongs to another user.
    #[error(
        "{above} belongs to {owner}, who may exchange {path}: run this as that user, or choose another folder",
        above = above.display(),
        owner = named(*owner),
        path = path.display()
    )]
    ForeignAbove {
        /// The folder or file.
        path: PathBuf,
        /// The folder above it, or the link.
        above: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// It cannot be created or examined.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// A user for people.
fn named(user: u32) -> String {
    match user {
        0 => "root".to_owned(),
        user => format!("user {user}"),
    }
}
