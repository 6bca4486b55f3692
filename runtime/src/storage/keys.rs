//! Storage in the app's key store, such as a platform keychain, which holds few and small values.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    FileStorage, Journal, OpenJournal, Rewrite, Storage, StorageError, Update, journal,
    refuse_newer,
};

/// An error of the key store, as text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyStoreError(pub String);

/// Named values stored by the app. One process uses it at a time.
pub trait KeyStore: Send + Sync + 'static {
    /// The value of a name, or `None` if none was ever written. An existing but inaccessible entry
    /// (such as in a locked keychain) is an error and never `None`, so that an identity is not
    /// replaced (INV-9).
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeyStoreError>;

    /// Replaces the value of a name atomically.
    ///
    /// # Errors
    /// [`KeyStoreError`]; the old value is then intact.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), KeyStoreError>;
}

/// A [`KeyStore`] as a [`Storage`]. It holds keys and hosts, and the outbox too unless there is a
/// folder for it.
#[derive(Clone)]
pub struct KeyStorage {
    keys: Arc<dyn KeyStore>,
    journals: Option<FileStorage>,
    changing: Arc<Mutex<()>>,
}

impl KeyStorage {
    /// Storage in a key store, with outboxes in `journals` if given.
    pub fn new(keys: Arc<dyn KeyStore>, journals: Option<FileStorage>) -> Self {
        Self {
            keys,
            journals,
            changing: Arc::default(),
        }
    }

    fn failed(&self, name: &str) -> impl FnOnce(KeyStoreError) -> StorageError + use<> {
        let name = name.to_owned();
        move |error| StorageError::KeyStore {
            name,
            problem: error.0,
        }
    }
}

impl Storage for KeyStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.keys.read(name).map_err(self.failed(name))
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        self.keys.write(name, value).map_err(self.failed(name))
    }

    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError> {
        // Processes with a shared key store and folder use the folder's lock; without a folder
        // there is no exclusion.
        let _lock = self.journals.as_ref().map(|files| files.lock(name));
        let _lock = _lock.transpose()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match change(self.read(name)?)? {
            Some(value) => self.write(name, &value),
            None => Ok(()),
        }
    }

    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError> {
        if let Some(files) = &self.journals {
            return files.journal(name);
        }
        let text = self.read(name)?.unwrap_or_default();
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        refuse_newer(|| self.location(name), first)?;
        let lines = text.split(|byte| *byte == b'\n');
        let lines: Vec<_> = lines
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let journal = ValueJournal {
            storage: self.clone(),
            name: name.to_owned(),
            text: Arc::new(Mutex::new(text)),
        };
        Ok((Box::new(journal), lines))
    }

    fn location(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("the key store's entry {name}"))
    }

    fn cache_folder(&self) -> Option<PathBuf> {
        self.journals.as_ref().and_then(Storage::cache_folder)
    }

    fn any_journal(&self, filled: bool) -> Result<Option<PathBuf>, StorageError> {
        match &self.journals {
            Some(files) => files.any_journal(filled),
            None => Ok(None),
        }
    }
}

/// A journal in one value, rewritten with each line: outboxes are short.
struct ValueJournal {
    storage: KeyStorage,
    name: String,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Journal for ValueJournal {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        let mut kept = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = [kept.as_slice(), line, b"\n"].concat();
        self.storage.write(&self.name, &text)?;
        *kept = text;
        Ok(())
    }

    fn rewrite(&mut self) -> Rewrite {
        let kept = Arc::clone(&self.text);
        let before = kept.lock().unwrap_or_else(PoisonError::into_inner).len();
        let (storage, name) = (self.storage.clone(), self.name.clone());
        Box::new(move |lines| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let mut text = journal::text(lines);
            text.extend_from_slice(kept.get(before..).unwrap_or_default());
            storage.write(&name, &text)?;
            *kept = text;
            Ok(())
        })
    }

    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let name = format!("{}.corrupt", self.name);
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.storage.write(&name, &text)?;
        Ok(self.storage.location(&name))
    }

    fn location(&self) -> PathBuf {
        self.storage.location(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowline_protocol::{ClientSessionKey, ServerId};

    use super::*;
    use crate::{error::OpenError, profile::Profile};

    fn key(profile: &Profile) -> ClientSessionKey {
        profile.client_session_key(&ServerId::of_public_key(&[1; 32]))
    }

    /// An in-memory key store that can be locked, like a phone's before its first unlock.
    #[derive(Default)]
    struct Keychain {
        values: Mutex<BTreeMap<String, Vec<u8>>>,
        locked: Mutex<bool>,
    }

    impl Keychain {
        fn check(&self) -> Result<(), KeyStoreError> {
            if *self.locked.lock().unwrap() {
                return Err(KeyStoreError("the keychain is locked".into()));
            }
            Ok(())
        }
    }

    impl KeyStore for Keychain {
        fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeyStoreError> {
            self.check()?;
            let value = self.values.lock().unwrap().get(name).cloned();
            // A keychain is a separate process and takes time.
            std::thread::sleep(std::time::Duration::from_millis(2));
            Ok(value)
        }

        fn write(&self, name: &str, value: &[u8]) -> Result<(), KeyStoreError> {
            self.check()?;
            self.values
                .lock()
                .unwrap()
                .insert(name.into(), value.into());
            Ok(())
        }
    }

    #[test]
    fn inv_9_an_identity_in_a_locked_key_store_is_an_error_and_is_not_replaced() {
        let keys = Arc::new(Keychain::default());
        let storage = KeyStorage::new(keys.clone(), None);
        let first = Profile::load_or_create(&storage).unwrap();
        *keys.locked.lock().unwrap() = true;
        let error = Profile::load_or_create(&storage).unwrap_err();
        assert!(
            matches!(&error, OpenError::Storage(StorageError::KeyStore { .. })),
            "{error}"
        );
        *keys.locked.lock().unwrap() = false;
        let second = Profile::load_or_create(&storage).unwrap();
        assert_eq!(key(&first), key(&second));
    }

    #[test]
    fn bx_1_a_journal_in_a_key_store_outlives_its_process() {
        let keys = Arc::new(Keychain::default());
        let storage = KeyStorage::new(keys.clone(), None);
        let (mut journal, lines) = storage.journal("outbox").unwrap();
        assert!(lines.is_empty());
        journal.append(b"a").unwrap();
        journal.append(b"b").unwrap();
        *keys.locked.lock().unwrap() = true;
        journal.append(b"lost").unwrap_err();
        *keys.locked.lock().unwrap() = false;
        journal.append(b"c").unwrap();
        drop(journal);
        let (mut journal, lines) = storage.journal("outbox").unwrap();
        assert_eq!(lines, [b"a", b"b", b"c"]);
        let rewrite = journal.rewrite();
        journal.append(b"d").unwrap();
        rewrite(&[b"c".to_vec()]).unwrap();
        let (_, lines) = storage.journal("outbox").unwrap();
        assert_eq!(lines, [b"c", b"d"], "what came meanwhile is kept");
    }

    /// Two processes of one app (such as a share extension) that start concurrently for the first
    /// time.
    #[test]
    fn inv_9_processes_that_begin_at_once_on_a_key_store_have_one_identity() {
        for _ in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let keys = Arc::new(Keychain::default());
            let begin = std::sync::Barrier::new(4);
            let names: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            let files = FileStorage::open(folder.path()).unwrap();
                            // Separate storages, like separate processes: they share only the
                            // folder and the keychain.
                            let storage = KeyStorage::new(keys.clone(), Some(files));
                            begin.wait();
                            let profile = Profile::load_or_create(&storage).unwrap();
                            key(&profile).as_str().to_owned()
                        })
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(names.len(), 1);
        }
    }
}
