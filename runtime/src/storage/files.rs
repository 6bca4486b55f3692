//! Storage in a folder: one file a value, written atomically and readable by its owner only.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{OpenJournal, Storage, StorageError, Update, journal, owner};

/// Most bytes read of one value; a larger file is corrupt, not loaded.
const MAX_VALUE: u64 = 16 << 20;
/// Longest wait for another process that changes the same value; what it does takes milliseconds.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Makes the names of unfinished files unique within the process.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// A folder that holds the runtime's state. Several processes may use it at once.
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
        source: owner::explained(&path, source),
        path,
    }
}

impl FileStorage {
    /// Storage in that folder, which is made if absent.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the folder cannot be made or used.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        make_folder(&folder).map_err(error("create the folder", &folder))?;
        Ok(Self { folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file's content, if there is such a file.
    pub(super) fn read_bounded(
        &self,
        name: &str,
        most: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.location(name);
        // Opening a pipe would wait for somebody who writes to it.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let wrong = io::Error::other("it is a pipe, a socket or a device, and no file");
            return Err(error("read", &path)(wrong));
        }
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

    /// Writes what is to become a file's content beside it, and puts it on the disk.
    pub(super) fn draft(&self, name: &str, value: &[u8]) -> Result<Draft, StorageError> {
        // Two writers never share a half-written file.
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".{name}.{}.{number}.draft", std::process::id());
        let draft = Draft {
            path: self.folder.join(draft),
            target: self.location(name),
            folder: self.folder.clone(),
        };
        private(OpenOptions::new().write(true).create(true).truncate(true))
            .open(&draft.path)
            .and_then(|mut file| {
                owner::give_to_owner_of(&self.folder, &file);
                file.write_all(value)?;
                file.sync_all()
            })
            .map_err(error("write", &draft.target))?;
        Ok(draft)
    }

    /// Waits until no other process changes that value. The system drops the lock with its process.
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

/// Makes the folder if it is absent, for the owner of the folder that it is in.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
        make_folder(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        #[cfg(unix)]
        owner::give_to_owner_of(parent, &File::open(folder)?);
        return Ok(());
    }
    fs::create_dir_all(folder)
}

/// A file's next content. Dropped before it is put in place it is gone.
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    folder: PathBuf,
}

impl Draft {
    /// Adds what came meanwhile.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<(), StorageError> {
        OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(error("write", &self.target))
    }

    /// Puts it in the old content's place.
    pub(super) fn put(&self) -> Result<(), StorageError> {
        fs::rename(&self.path, &self.target).map_err(error("write", &self.target))
    }

    /// Puts the replacing on the disk.
    pub(super) fn sync(&self) {
        // The new value is in place; that it also survives a power cut is not worth failing for.
        if let Err(problem) = sync_folder(&self.folder) {
            tracing::warn!(%problem, folder = %self.folder.display(), "cannot sync");
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more once it was put in place.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens for writing so that only the owner can read. Elsewhere than on Unix the user's profile folder
/// carries the protection.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Takes the lock, or `None` while a living process holds it.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, StorageError> {
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(path)
        .map_err(error("open", path))?;
    if let Some(folder) = path.parent() {
        owner::give_to_owner_of(folder, &file);
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(error("lock", path)(source)),
    }
}

/// Puts a renaming on the disk. Elsewhere than on Unix a folder cannot be synced; there the file system's own
/// journal does it.
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
        // Times are coarse on some file systems, so the size counts too.
        Some((since.unwrap_or_default().as_nanos() << 24) | u128::from(metadata.len() & 0xff_ffff))
    }

    fn location(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
                // As another process would: with a storage, and so with locks, of its own.
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
