//! Storage in a folder: one file per value, written atomically and readable by its owner only.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use bowline_local::{PrivacyError, check_private_file, make_private_folder};

use super::{OpenJournal, Storage, StorageError, Update, journal};

/// Maximum size of a value in bytes; a larger file is corrupt and not loaded.
const MAX_VALUE: u64 = 16 << 20;
/// Longest wait for another process that changes the same value, which takes milliseconds.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
/// Interval of attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Makes the names of unfinished files unique within the process.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// A folder with the runtime's state. Several processes may use it concurrently.
#[derive(Clone, Debug)]
pub struct FileStorage {
    folder: PathBuf,
}

pub(super) fn error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StorageError + use<> {
    let path = path.to_owned();
    move |source| StorageError::Io {
        action,
        source,
        path,
    }
}

impl FileStorage {
    /// Storage in a folder, which is created if absent, for this user alone.
    ///
    /// # Errors
    /// [`StorageError::NotPrivate`] if other users may change the folder, [`StorageError::Io`] if
    /// it cannot be created or used.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        make_private_folder(&folder).map_err(refused("create the folder"))?;
        Ok(Self { folder })
    }

    /// A file's content, if it exists.
    pub(crate) fn read_bounded(
        &self,
        name: &str,
        most: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.location(name);
        // Opening a pipe would block until a writer opens it.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let wrong = io::Error::other("it is a pipe, socket or device, not a file");
            return Err(error("read", &path)(wrong));
        }
        check_private_file(&path).map_err(refused("read"))?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error("read", &path)(source)),
        };
        let mut bytes = Vec::new();
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(error("read", &path))?;
        if bytes.len() as u64 > most {
            return Err(StorageError::Corrupt {
                path,
                problem: format!("more than {most} bytes"),
            });
        }
        Ok(Some(bytes))
    }

    /// Writes a file's new content to a temporary file and syncs it.
    pub(super) fn draft(&self, name: &str, value: &[u8]) -> Result<Draft, StorageError> {
        self.draft_as(name, value, true)
    }

    /// Replaces a file's content atomically, but not against power cuts: after one, the file may
    /// have any content.
    ///
    /// # Errors
    /// As [`Storage::write`].
    pub(crate) fn write_unsynced(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        self.draft_as(name, value, false)?.put()
    }

    /// Deletes a file, if there is one.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn delete(&self, name: &str) -> Result<(), StorageError> {
        let path = self.location(name);
        match fs::remove_file(&path) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                Err(error("delete", &path)(problem))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The files of the folder, with their sizes.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn list(&self) -> Result<Vec<(String, u64)>, StorageError> {
        let failed = |source| error("read", &self.folder)(source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata())
                && found.is_file()
            {
                files.push((name, found.len()));
            }
        }
        Ok(files)
    }

    fn draft_as(&self, name: &str, value: &[u8], is_synced: bool) -> Result<Draft, StorageError> {
        // Concurrent writers use different temporary files.
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".{name}.{}.{number}.draft", std::process::id());
        let draft = Draft {
            path: self.folder.join(draft),
            target: self.location(name),
            folder: self.folder.clone(),
        };
        // A process that died may have left a file of this name: where the id of the process is
        // always the same, in a container.
        match fs::remove_file(&draft.path) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                return Err(error("write", &draft.target)(problem));
            }
            Ok(()) | Err(_) => {}
        }
        private(OpenOptions::new().write(true).create_new(true))
            .open(&draft.path)
            .and_then(|mut file| {
                file.write_all(value)?;
                if is_synced {
                    file.sync_all()?;
                }
                Ok(())
            })
            .map_err(error("write", &draft.target))?;
        Ok(draft)
    }

    /// Waits until no other process changes the value. The system releases the lock when the
    /// process ends.
    pub(super) fn lock(&self, name: &str) -> Result<File, StorageError> {
        let path = self.location(&format!("{name}.lock"));
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            if let Some(lock) = try_lock(&path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let busy = io::Error::new(io::ErrorKind::TimedOut, "another process holds it");
                return Err(error("lock", &path)(busy));
            }
            thread::sleep(LOCK_PAUSE);
        }
    }
}

/// An error of the check that only this user may change a folder or file.
pub(super) fn refused(action: &'static str) -> impl FnOnce(PrivacyError) -> StorageError {
    move |problem| match problem {
        PrivacyError::Io {
            path,
            error: source,
        } => error(action, &path)(source),
        problem => StorageError::NotPrivate(problem),
    }
}

/// A temporary file with the next content. Dropping it before [`Draft::put`] deletes it.
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    folder: PathBuf,
}

impl Draft {
    /// Appends further bytes.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<(), StorageError> {
        OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(error("write", &self.target))
    }

    /// Renames it over the old file.
    pub(super) fn put(&self) -> Result<(), StorageError> {
        fs::rename(&self.path, &self.target).map_err(error("write", &self.target))
    }

    /// Syncs the rename to disk.
    pub(super) fn sync(&self) {
        // The new value is in place; a failure to sync it against power cuts is not fatal.
        if let Err(problem) = sync_folder(&self.folder) {
            tracing::warn!(%problem, folder = %self.folder.display(), "cannot sync");
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Fails after the rename, which is expected.
        let _ = fs::remove_file(&self.path);
    }
}

/// Restricts access to the owner. Elsewhere than on Unix the user's profile folder provides the
/// protection.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Takes the lock, or returns `None` while a running process holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>, StorageError> {
    check_private_file(path).map_err(refused("open"))?;
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(path)
        .map_err(error("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(error("lock", path)(source)),
    }
}

/// Syncs a rename to disk. Elsewhere than on Unix a folder cannot be synced; the file system's
/// journal covers it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

impl Storage for FileStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.read_bounded(name, MAX_VALUE)
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let draft = self.draft(name, value)?;
        draft.put()?;
        draft.sync();
        Ok(())
    }

    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError> {
        let _lock = self.lock(name)?;
        match change(self.read(name)?)? {
            Some(value) => self.write(name, &value),
            None => Ok(()),
        }
    }

    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError> {
        journal::open(self, name)
    }

    fn stamp(&self, name: &str) -> Option<u128> {
        let Ok(metadata) = fs::metadata(self.location(name)) else {
            return Some(0);
        };
        let modified = metadata.modified().ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        // Times are coarse on some file systems, so the size is included.
        Some((since.unwrap_or_default().as_nanos() << 24) | u128::from(metadata.len() & 0xff_ffff))
    }

    fn location(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn cache_folder(&self) -> Option<PathBuf> {
        Some(self.folder.join("cache"))
    }

    fn any_journal(&self, filled: bool) -> Result<Option<PathBuf>, StorageError> {
        journal::any(&self.folder, filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path().join("deep/er")).unwrap();
        assert!(storage.read("profile.json").unwrap().is_none());
        storage.write("profile.json", b"one").unwrap();
        storage.write("profile.json", b"two").unwrap();
        assert_eq!(storage.read("profile.json").unwrap().unwrap(), b"two");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(storage.location("profile.json"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let left = fs::read_dir(folder.path().join("deep/er")).unwrap().count();
        assert_eq!(left, 1, "no draft stays behind");
    }

    #[test]
    fn changes_of_several_processes_to_one_value_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let writers: Vec<_> = (0..8_u8)
            .map(|writer| {
                // Like another process: with a separate storage, and thus separate locks.
                let storage = FileStorage::open(folder.path()).unwrap();
                thread::spawn(move || {
                    for _ in 0..10 {
                        storage
                            .update("list", &mut |old| {
                                let mut list = old.unwrap_or_default();
                                list.push(writer);
                                Ok(Some(list))
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        let storage = FileStorage::open(folder.path()).unwrap();
        assert_eq!(storage.read("list").unwrap().unwrap().len(), 80);
    }
}
