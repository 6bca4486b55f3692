//! Where the runtime keeps what must outlive the process: profile, hosts, outbox.

mod files;
mod journal;
mod keys;
mod owner;

pub use files::FileStorage;
pub use keys::{KeyStorage, KeyStore, KeyStoreError};

use std::{io, path::PathBuf};

/// What went wrong with stored state. The text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The content is not what was written. It is left as it is: an identity is never replaced (INV-9).
    #[error(
        "{path} is corrupt ({problem}); it was left as it is. Restore it from a backup, or move it away to start anew",
        path = path.display()
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not read.
        problem: String,
    },
    /// It was written by a newer version. It is left as it is.
    #[error(
        "{path} was made by a newer version of this program (file version {found}; this program knows up to {known}). Update \
         this program, or use another folder; the file was left as it is",
        path = path.display()
    )]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that this program knows.
        known: u64,
    },
    /// The app's key store refused.
    #[error("the key store did not give or take `{name}`: {problem}")]
    KeyStore {
        /// Which entry.
        name: String,
        /// What it said.
        problem: String,
    },
    /// A host's outbox could not be taken up, when the runtime was resumed for instance. It is tried again every few seconds.
    #[error("the outbox cannot be used: {problem}; it is tried again")]
    Unavailable {
        /// What went wrong, with the file's name.
        problem: String,
    },
    /// The runtime is paused and touches no files.
    #[error("the runtime is paused; resume it first")]
    Paused,
    /// The runtime is closed and touches no files.
    #[error("the runtime is closed")]
    Closed,
}

/// A place for named values and journals. The default is [`FileStorage`]; apps with a key store of their own
/// implement it.
pub trait Storage: Send + Sync + 'static {
    /// The value of that name, or `None` if none was ever written.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Replaces the value of that name, whole or not at all.
    ///
    /// # Errors
    /// [`StorageError::Io`]; the old value is then intact.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError>;

    /// Replaces the value of that name by what `change` makes of it; `None` leaves it as it is. Nobody else may
    /// change the value in between: a storage that several processes use locks it.
    ///
    /// # Errors
    /// [`StorageError`], that of `change` included; the old value is then intact.
    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError>;

    /// Opens a journal of its own for this process and hands over what journals of that name hold whose
    /// processes are gone.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError>;

    /// How messages name the value.
    fn location(&self, name: &str) -> PathBuf;

    /// Something that is another whenever the value was changed, by whomever, and is cheap to have. `None`, as here, for a storage
    /// that no other process uses.
    fn stamp(&self, _name: &str) -> Option<u128> {
        None
    }

    /// A journal that was opened here at some time, of whatever name: there were hosts then. With `filled` one that
    /// has lines. `None` too where a storage cannot tell.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn any_journal(&self, filled: bool) -> Result<Option<PathBuf>, StorageError> {
        let _ = filled;
        Ok(None)
    }
}

/// The newest version of every file that the runtime keeps.
const VERSION: u64 = 1;

/// Refuses a value or a line of a newer version before anything else is read of it: the rest may have any form.
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

/// What becomes of a value: given the one there is, if any, the one to store, if another.
pub type Update<'a> = dyn FnMut(Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StorageError> + 'a;

/// A journal of one's own, and the lines of those whose processes are gone.
pub type OpenJournal = (Box<dyn Journal>, Vec<Vec<u8>>);

/// Puts these lines in the place of those that there were.
pub type Rewrite = Box<dyn FnOnce(&[Vec<u8>]) -> Result<(), StorageError> + Send>;

/// Takes over what others left behind.
pub type Adopt = Box<dyn FnOnce() -> Result<Vec<Vec<u8>>, StorageError> + Send>;

/// An append-only list of lines that belongs to one process.
pub trait Journal: Send {
    /// Appends one line, without its end. It outlives the process; a power cut may take the last ones. A crash in
    /// the middle loses this line only.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the disk is full, for instance. The line is then not kept, and nothing else is lost.
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError>;

    /// Begins to replace all lines there are now, whole or not at all. The work may take long and is done by what is returned,
    /// where waiting is allowed. Until it is through the journal goes on taking lines, which then come after the new ones.
    ///
    /// # Errors
    /// The work's: [`StorageError::Io`]; the old lines are then intact, and those that came meanwhile too.
    fn rewrite(&mut self) -> Rewrite;

    /// Takes over the lines of journals of that name whose processes are gone, and hands them over, as opening does. Done by
    /// what is returned, as with [`Journal::rewrite`]; never both at once.
    fn adopt(&mut self) -> Adopt {
        Box::new(|| Ok(Vec::new()))
    }

    /// Keeps a copy of the journal, damaged as it is, and tells where: before what can be read of it replaces it.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        Ok(self.location())
    }

    /// How messages name the journal.
    fn location(&self) -> PathBuf;

    /// Whether no other process has a journal of that name open.
    fn is_alone(&self) -> bool {
        true
    }
}
