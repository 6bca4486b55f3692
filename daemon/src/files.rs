//! Files of the state directory: why they cannot be used, how private ones are made, and how one is
//! told from another.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use bowline_local::PrivacyError;
use bowline_protocol::{IdentityError, ServerId};

/// Why the files of a state directory cannot be used. All of them are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Other users may change the state directory or a file in it (TR-11).
    #[error("the state directory is not private: {0}")]
    NotPrivate(PrivacyError),
    /// A file cannot be read or written.
    #[error("cannot use {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Another daemon holds the lock.
    #[error(
        "another daemon{holder} already uses the state directory {}; stop it, or give this one its own with --state-dir", path.display()
    )]
    Taken {
        /// The state directory.
        path: PathBuf,
        /// ` (process 123)`, where it is known.
        holder: String,
    },
    /// The file exists but does not contain an identity.
    #[error(
        "the identity file {} is corrupt: {problem}; restore it from a backup, or move it, bowline.db and store.json away to start as a new daemon that every device must pair with again", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The file was written by a newer version.
    #[error("{} was made by a newer version of this program (file version {found}; this program supports up to {known}). Update this program, or choose another --state-dir", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version this program supports.
        known: u64,
    },
    /// The system has no randomness for a new identity.
    #[error(transparent)]
    Randomness(IdentityError),
    /// A database without an identity.
    #[error(
        "{} is missing, and {} beside it is in use: without its identity no device would know this daemon again. Restore the identity from a backup, or move both files (and store.json) away to start as a new daemon that every device must pair with again",
        identity.display(), database.display()
    )]
    IdentityMissing {
        /// The file that is missing.
        identity: PathBuf,
        /// The file that is there.
        database: PathBuf,
    },
    /// An identity that had a database, which is gone.
    #[error(
        "{} is {how}, although the identity {} has had a database: its paired devices and agents are in it. Restore the database from a backup, or move store.json and what is left of the database away to start with an empty one, with which every device must pair again",
        database.display(), identity.display()
    )]
    DatabaseMissing {
        /// `missing` or `empty`.
        how: &'static str,
        /// The file that is missing.
        database: PathBuf,
        /// The file that is there.
        identity: PathBuf,
    },
    /// The database belongs to another identity.
    #[error(
        "{} is the identity of {found}, but {} beside it says that the database is that of {expected}. Put back the files that belong together, or move identity.json, bowline.db and store.json away to start as a new daemon that every device must pair with again",
        identity.display(), mark.display()
    )]
    Mixed {
        /// The identity's file.
        identity: PathBuf,
        /// Its daemon id.
        found: ServerId,
        /// The mark.
        mark: PathBuf,
        /// The mark's daemon id.
        expected: ServerId,
    },
}

impl FileError {
    /// The error of a file that cannot be read or written.
    pub(crate) fn of(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |error| Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// Options for writing a file that, when created, only its owner can read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true);
    options
}

/// The identity of the file at a path, which distinguishes it from another one there. The same for
/// all files of systems that do not allow replacing an open file.
pub(crate) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok((found.dev(), found.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Ok((0, 0))
    }
}
