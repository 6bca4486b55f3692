//! The app's own key store: it holds the identity of this install; all other data is in the storage
//! folder.
//!
//! The identity is read and written only while a runtime is created, so the app's code is called
//! and dropped on the creating thread. No lock of this process is held then. Runtimes that are
//! created on the same folder at the same time wait for each other.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_runtime::storage::{FileStorage, OpenJournal, Storage, StorageError, Update};

/// Name of the value that holds the identity.
const SECRET: &str = "profile.json";

/// Failure of the app's key store.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum KeyStoreError {
    /// The operation failed, with a text.
    #[error("{detail}")]
    Failed {
        /// Text for people.
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

/// A store of secrets: the Keychain, the Android Keystore or a password manager. Called only while
/// a runtime is created, on the creating thread.
#[uniffi::export(callback_interface)]
pub trait KeyStore: Send + Sync {
    /// The value of that name, or none if it was never written. A locked store must fail: the
    /// identity then does not count as absent, and no new one is generated (INV-9).
    fn read(&self, name: String) -> Result<Option<Vec<u8>>, KeyStoreError>;

    /// Stores a value under that name, atomically.
    fn write(&self, name: String, value: Vec<u8>) -> Result<(), KeyStoreError>;
}

/// Files for everything except the identity.
pub(crate) struct SplitStorage {
    /// Empty once the runtime is created.
    secrets: Mutex<Option<Arc<dyn KeyStore>>>,
    files: Arc<FileStorage>,
}

impl SplitStorage {
    pub(crate) fn new(secrets: Box<dyn KeyStore>, files: Arc<FileStorage>) -> Self {
        let secrets = Mutex::new(Some(Arc::from(secrets)));
        Self { secrets, files }
    }

    /// Drops the key store on this thread, because dropping it calls the app's language.
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
            problem: "it is used only while a runtime is created".to_owned(),
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
        // The folder's lock of that name: of runtimes created at the same time, in any process, one
        // generates the identity and the others read it (INV-9). The file itself is neither present
        // nor written.
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

    fn cache_folder(&self) -> Option<PathBuf> {
        self.files.cache_folder()
    }

    fn location(&self, name: &str) -> PathBuf {
        if name == SECRET {
            PathBuf::from(format!("the app's key store: {name}"))
        } else {
            self.files.location(name)
        }
    }
}
