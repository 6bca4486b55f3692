//! The app's own place for secrets: the identity of this install goes there, everything else into the storage folder.
//!
//! The identity is read and written while a runtime is created and never after, so the app's code is called, and let go, on
//! the thread that creates it. No lock of this process is held then; of other runtimes that are created on the same folder
//! at that moment, all but one wait.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_runtime::storage::{FileStorage, OpenJournal, Storage, StorageError, Update};

/// The value that holds the identity.
const SECRET: &str = "profile.json";

/// The app's key store could not do it.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum KeyStoreError {
    /// It failed; the text says how.
    #[error("{detail}")]
    Failed {
        /// For people.
        detail: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for KeyStoreError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed {
            detail: error.reason,
        }
    }
}

/// A place for secrets: the Keychain, the Android Keystore, a password manager. Called while a runtime is created, on the
/// thread that creates it.
#[uniffi::export(callback_interface)]
pub trait KeyStore: Send + Sync {
    /// The value of that name, or nothing if none was ever written. A store that is locked must fail: what it cannot
    /// read is then not taken for absent, and no new identity is made (INV-9).
    fn read(&self, name: String) -> Result<Option<Vec<u8>>, KeyStoreError>;

    /// Keeps a value under that name, whole or not at all.
    fn write(&self, name: String, value: Vec<u8>) -> Result<(), KeyStoreError>;
}

/// Files, but for the identity.
pub(crate) struct SplitStorage {
    /// Empty once a runtime was created.
    secrets: Mutex<Option<Arc<dyn KeyStore>>>,
    files: Arc<FileStorage>,
}

impl SplitStorage {
    pub(crate) fn new(secrets: Box<dyn KeyStore>, files: Arc<FileStorage>) -> Self {
        let secrets = Mutex::new(Some(Arc::from(secrets)));
        Self { secrets, files }
    }

    /// Lets go of the key store, on this thread: dropping it calls the app's language.
    pub(crate) fn let_go(&self) {
        let secrets = self
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(secrets);
    }

    /// The key store, to be called with no lock held.
    fn secrets(&self) -> Result<Arc<dyn KeyStore>, StorageError> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.clone().ok_or_else(|| StorageError::KeyStore {
            name: SECRET.to_owned(),
            problem: "it is asked while a runtime is created, and not after".to_owned(),
        })
    }

    fn failed(action: &str, error: &KeyStoreError) -> StorageError {
        StorageError::KeyStore {
            name: SECRET.to_owned(),
            problem: format!("{action}: {error}"),
        }
    }
}

impl Storage for SplitStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        if name != SECRET {
            return self.files.read(name);
        }
        let value = self.secrets()?.read(name.to_owned());
        value.map_err(|error| Self::failed("read", &error))
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        if name != SECRET {
            return self.files.write(name, value);
        }
        let written = self.secrets()?.write(name.to_owned(), value.to_vec());
        written.map_err(|error| Self::failed("write", &error))
    }

    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError> {
        if name != SECRET {
            return self.files.update(name, change);
        }
        // The folder's lock on that name: of runtimes that are created at once, in whatever process, one makes the identity
        // and the others find it (INV-9). The file itself is not there and is not written.
        self.files.update(name, &mut |_file| {
            if let Some(value) = change(self.read(name)?)? {
                self.write(name, &value)?;
            }
            Ok(None)
        })
    }

    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError> {
        self.files.journal(name)
    }

    fn location(&self, name: &str) -> PathBuf {
        if name == SECRET {
            PathBuf::from(format!("the app's key store: {name}"))
        } else {
            self.files.location(name)
        }
    }
}
