//! Persistent state of the runtime: profile, hosts, outbox.

mod files;
mod journal;
mod keys;

pub use files::FileStorage;
pub(crate) use files::try_lock;
pub use keys::{KeyStorage, KeyStore, KeyStoreError};

use std::{io, path::PathBuf};

use bowline_local::PrivacyError;

/// An error of stored state. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An I/O error.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// The attempted action: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Other users may change the folder or a file in it, which is therefore not used (TR-11).
    #[error(transparent)]
    NotPrivate(PrivacyError),
    /// The content is invalid. The file stays unchanged: an identity is never replaced (INV-9).
    #[error(
        "{path} is corrupt ({problem}); it was left as it is. Restore it from a backup, or move it away to start anew",
        path = path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The invalid part.
        problem: String,
    },
    /// A newer version wrote the file, which stays unchanged.
    #[error(
        "{path} was made by a newer version of this program (file version {found}; this program knows up to {known}). Update \
         this program, or use another folder; the file was left as it is",
        path = path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version supported by this program.
        known: u64,
    },
    /// The app's key store failed.
    #[error("the key store failed to read or write `{name}`: {problem}")]
    KeyStore {
        /// The entry.
        name: String,
        /// The key store's message.
        problem: String,
    },
    /// A host's outbox could not be opened, for example on resume. Retried every few seconds.
    #[error("the outbox is unavailable: {problem}; it is retried")]
    Unavailable {
        /// The cause, with the file's name.
        problem: String,
    },
    /// The runtime is paused and touches no files.
    #[error("the runtime is paused; resume it first")]
    Paused,
    /// The runtime is closed and touches no files.
    #[error("the runtime is closed")]
    Closed,
}

/// Storage of named values and journals. The default is [`FileStorage`]; apps with their own key
/// store implement it.
pub trait Storage: Send + Sync + 'static {
    /// The value of a name, or `None` if none was ever written.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Replaces the value of a name atomically.
    ///
    /// # Errors
    /// [`StorageError::Io`]; the old value is then intact.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError>;

    /// Replaces the value of a name by the result of `change`; `None` leaves it unchanged. The
    /// value cannot change in between: a storage used by several processes locks it.
    ///
    /// # Errors
    /// [`StorageError`], including that of `change`; the old value is then intact.
    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError>;

    /// Opens a journal owned by this process and returns the lines of journals of that name whose
    /// processes have ended.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError>;

    /// Name of the value in messages.
    fn location(&self, name: &str) -> PathBuf;

    /// A cheap token that changes whenever any process changes the value. `None`, as here, for a
    /// storage that no other process uses.
    fn stamp(&self, _name: &str) -> Option<u128> {
        None
    }

    /// A folder for what may be lost at any time: the rows of the last run (LD-5). Created when it
    /// is needed, for this user alone. `None`, as here: nothing of the kind is kept.
    fn cache_folder(&self) -> Option<PathBuf> {
        None
    }

    /// A journal of any name that was ever opened here, which proves that hosts existed. With
    /// `filled` only one with lines. `None` also if the storage cannot tell.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn any_journal(&self, filled: bool) -> Result<Option<PathBuf>, StorageError> {
        let _ = filled;
        Ok(None)
    }
}

/// The newest version of every file of the runtime.
const VERSION: u64 = 2;

/// Refuses a value or line of a newer version before parsing the rest, which may have any form.
///
/// # Errors
/// [`StorageError::TooNew`].
pub(crate) fn refuse_newer(
    path: impl FnOnce() -> PathBuf,
    bytes: &[u8],
) -> Result<(), StorageError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    match serde_json::from_slice::<Versioned>(bytes) {
        Ok(Versioned { version }) if version > VERSION => Err(StorageError::TooNew {
            path: path(),
            found: version,
            known: VERSION,
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Computes a new value from the current one; `None` leaves it unchanged.
pub type Update<'a> = dyn FnMut(Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StorageError> + 'a;

/// A journal owned by this process, and the lines of ended processes.
pub type OpenJournal = (Box<dyn Journal>, Vec<Vec<u8>>);

/// Replaces the lines that existed when the rewrite began.
pub type Rewrite = Box<dyn FnOnce(&[Vec<u8>]) -> Result<(), StorageError> + Send>;

/// Takes over the lines of ended processes.
pub type Adopt = Box<dyn FnOnce() -> Result<Vec<Vec<u8>>, StorageError> + Send>;

/// An append-only list of lines owned by one process.
pub trait Journal: Send {
    /// Appends one line, without its end. It survives the process; a power cut may lose the last
    /// lines. A crash during the write loses only this line.
    ///
    /// # Errors
    /// [`StorageError::Io`], for example on a full disk. The line is then not
    /// stored; no other line is lost.
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError>;

    /// Starts to replace all current lines atomically. The returned closure does the work, which
    /// may take long, on a blocking thread. Meanwhile the journal still accepts lines, which follow
    /// the new ones.
    ///
    /// # Errors
    /// The closure fails with [`StorageError::Io`]; old and new lines are then intact.
    fn rewrite(&mut self) -> Rewrite;

    /// Takes over and returns the lines of journals of that name whose processes have ended, as
    /// opening does. The returned closure does the work, as with [`Journal::rewrite`]; never
    /// concurrently with it.
    fn adopt(&mut self) -> Adopt {
        Box::new(|| Ok(Vec::new()))
    }

    /// Copies the damaged journal, before its readable part replaces it, and returns the copy's
    /// path.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        Ok(self.location())
    }

    /// Name of the journal in messages.
    fn location(&self) -> PathBuf;

    /// Whether no other process has a journal of that name open.
    fn is_alone(&self) -> bool {
        true
    }
}
