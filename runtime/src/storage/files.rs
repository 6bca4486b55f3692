//! Storage in a folder: one file a value, written atomically and readable by its owner only.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{Journal, OpenJournal, Storage, StorageError};

/// Most bytes read of one file; a larger one is corrupt, not loaded.
const MAX_FILE: u64 = 16 << 20;
/// Most journals of one name, and so processes on one profile at once.
const MAX_JOURNALS: usize = 64;

/// A folder that holds the runtime's state.
#[derive(Clone, Debug)]
pub struct FileStorage {
    folder: PathBuf,
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io {
        action,
        path,
        source,
    }
}

impl FileStorage {
    /// Storage in that folder, which is made if absent.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the folder cannot be made or used.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(error("create the folder", &folder))?;
        Ok(Self { folder })
    }
}

/// Opens for writing so that only the owner can read. Elsewhere than on Unix the user's profile folder
/// carries the protection.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn read_bounded(file: &File, path: &Path) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(error("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(StorageError::Corrupt {
            path: path.to_owned(),
            problem: format!("more than {MAX_FILE} bytes"),
        });
    }
    Ok(bytes)
}

impl Storage for FileStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.location(name);
        match File::open(&path) {
            Ok(file) => read_bounded(&file, &path).map(Some),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error("read", &path)(source)),
        }
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let path = self.location(name);
        // Unique per process, so that two writers never share a half-written file.
        let draft = self
            .folder
            .join(format!(".{name}.{}.draft", std::process::id()));
        let written = private(OpenOptions::new().write(true).create(true).truncate(true))
            .open(&draft)
            .and_then(|mut file| file.write_all(value).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path));
        written.map_err(|source| {
            let _ = fs::remove_file(&draft);
            error("write", &path)(source)
        })
    }

    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError> {
        let mut own = None;
        let mut adopted = Vec::new();
        let mut orphans = Vec::new();
        for number in 0..MAX_JOURNALS {
            let slot = Slot {
                storage: self.clone(),
                lock_path: self.location(&format!("{name}.{number}.lock")),
                lines: format!("{name}.{number}.jsonl"),
            };
            if own.is_some() && !self.location(&slot.lines).exists() {
                continue;
            }
            let Some(lock) = slot.lock()? else { continue };
            adopted.extend(slot.read_lines()?);
            if own.is_none() {
                own = Some((slot, lock));
            } else {
                orphans.push((slot, lock));
            }
        }
        let Some((slot, lock)) = own else {
            let busy = format!("{MAX_JOURNALS} other processes use this profile");
            let source = io::Error::new(io::ErrorKind::ResourceBusy, busy);
            return Err(error("open", &self.location(name))(source));
        };
        let mut journal = FileJournal {
            file: None,
            slot,
            _lock: lock,
        };
        journal.rewrite(&adopted)?;
        // Only now is what the orphans held safe with us.
        for (orphan, _lock) in orphans {
            let path = self.location(&orphan.lines);
            fs::remove_file(&path).map_err(error("remove", &path))?;
        }
        Ok((Box::new(journal), adopted))
    }

    fn location(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// One numbered journal. Its lock is a file of its own, because the lines are replaced by renaming.
struct Slot {
    storage: FileStorage,
    lock_path: PathBuf,
    lines: String,
}

impl Slot {
    /// Takes the slot, or `None` while a living process holds it: the system drops the lock with its process.
    fn lock(&self) -> Result<Option<File>, StorageError> {
        let file = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(&self.lock_path)
            .map_err(error("open", &self.lock_path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(error("lock", &self.lock_path)(source)),
        }
    }

    /// The whole lines. One without its end was being written when its process died: nobody was told that
    /// it is kept, so it is not.
    fn read_lines(&self) -> Result<Vec<Vec<u8>>, StorageError> {
        let text = self.storage.read(&self.lines)?.unwrap_or_default();
        Ok(text
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }
}

struct FileJournal {
    /// Opened for appending with the first line after a rewrite.
    file: Option<File>,
    slot: Slot,
    _lock: File,
}

impl Journal for FileJournal {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        let path = self.slot.storage.location(&self.slot.lines);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                private(OpenOptions::new().append(true).create(true))
                    .open(&path)
                    .map_err(error("open", &path))?,
            ),
        };
        // One write: either the whole line is there or a torn one that reading leaves out.
        let line = [line, b"\n"].concat();
        file.write_all(&line).map_err(error("append to", &path))
    }

    fn rewrite(&mut self, lines: &[Vec<u8>]) -> Result<(), StorageError> {
        self.file = None;
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        self.slot.storage.write(&self.slot.lines, &bytes)
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
    }

    #[test]
    fn bx_1_a_journal_outlives_its_process_and_is_adopted_once() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (mut first, _) = storage.journal("outbox").unwrap();
        first.append(b"a").unwrap();
        let (mut second, adopted) = storage.journal("outbox").unwrap();
        assert!(
            adopted.is_empty(),
            "the first is alive: its lines are its own"
        );
        second.append(b"b").unwrap();
        drop(first);
        drop(second);
        let (third, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, [b"a".to_vec(), b"b".to_vec()]);
        let (_fourth, adopted) = storage.journal("outbox").unwrap();
        assert!(adopted.is_empty(), "the third has them now");
        drop(third);
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        fs::write(folder.path().join("outbox.0.jsonl"), b"whole\nto").unwrap();
        let (_journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, [b"whole".to_vec()]);
    }
}
