//! Journals in a folder: each process appends to its own and adopts those of ended processes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Adopt, Journal, OpenJournal, Rewrite, Storage, StorageError,
    files::{FileStorage, error, private, try_lock},
    refuse_newer,
};

/// Maximum journals of one name, and thus of concurrent processes on one profile.
const MAX_JOURNALS: usize = 64;
/// Maximum size of a journal in bytes. Writers stay far below it; a larger file is corrupt and not
/// loaded.
const MAX_JOURNAL: u64 = 256 << 20;

/// Opens the first free journal of that name and adopts the lines of all others without an owner.
pub(super) fn open(storage: &FileStorage, name: &str) -> Result<OpenJournal, StorageError> {
    for number in 0..MAX_JOURNALS {
        let slot = Slot::new(storage, name, number);
        let Some(lock) = try_lock(&slot.lock_path)? else {
            continue;
        };
        let (mut lines, len) = slot.read_lines()?;
        if let Some(first) = lines.first() {
            refuse_newer(|| slot.path(), first)?;
        }
        let mut journal = FileJournal(Arc::new(Shared {
            name: name.to_owned(),
            slot,
            written: Mutex::new(Written {
                file: None,
                len,
                since: None,
            }),
            _lock: lock,
        }));
        lines.extend(journal.adopt()()?);
        return Ok((Box::new(journal), lines));
    }
    let busy = format!("{MAX_JOURNALS} other processes use this profile");
    let source = io::Error::new(io::ErrorKind::ResourceBusy, busy);
    Err(error("open", &storage.location(name))(source))
}

/// Any journal of the folder, of any name; with `filled` one with lines.
pub(super) fn any(folder: &Path, filled: bool) -> Result<Option<PathBuf>, StorageError> {
    let failed = |source| error("read", folder)(source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let ends: &[&str] = if filled {
            &[".jsonl"]
        } else {
            &[".jsonl", ".lock"]
        };
        let is_one = name.is_some_and(|name| {
            name.starts_with("outbox-") && ends.iter().any(|end| name.ends_with(end))
        });
        if is_one && (!filled || fs::metadata(&path).is_ok_and(|found| found.len() > 0)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// One numbered journal. Its lock is a separate file, because rewriting renames over the lines.
struct Slot {
    storage: FileStorage,
    lock_path: PathBuf,
    lines: String,
}

impl Slot {
    fn new(storage: &FileStorage, name: &str, number: usize) -> Self {
        Self {
            storage: storage.clone(),
            lock_path: storage.location(&format!("{name}.{number}.lock")),
            lines: format!("{name}.{number}.jsonl"),
        }
    }

    fn path(&self) -> PathBuf {
        self.storage.location(&self.lines)
    }

    /// The complete lines and their size in bytes. A line without an end was being written when its
    /// process died and was never confirmed, so it is dropped.
    fn read_lines(&self) -> Result<(Vec<Vec<u8>>, u64), StorageError> {
        let text = self.storage.read_bounded(&self.lines, MAX_JOURNAL)?;
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .collect();
        let whole = lines.iter().map(|line| line.len() as u64 + 1).sum();
        let lines = lines.into_iter().filter(|line| !line.is_empty());
        Ok((lines.map(<[u8]>::to_vec).collect(), whole))
    }
}

struct FileJournal(Arc<Shared>);

/// A journal shared with its pending work. The lock is released with the last reference.
struct Shared {
    name: String,
    slot: Slot,
    written: Mutex<Written>,
    _lock: File,
}

struct Written {
    /// Opened by the first line after a rewrite, positioned at `len`. Absent also after a failure.
    file: Option<File>,
    /// Bytes of complete lines. Anything beyond is a torn line.
    len: u64,
    /// Lines written since a rewrite began.
    since: Option<Vec<u8>>,
}

impl Shared {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file without a torn end, ready for the next line.
    fn open(&self, len: u64) -> io::Result<File> {
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(self.slot.path())?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
        }
        file.seek(SeekFrom::Start(len))?;
        Ok(file)
    }

    /// Appends whole lines.
    fn append(&self, lines: &[u8]) -> Result<(), StorageError> {
        let failed = error("append to", &self.slot.path());
        let mut written = self.written();
        // Taken, because after a failure the amount written is unknown; the next line then starts
        // with a clean end.
        let file = written.file.take();
        let file = file.map_or_else(|| self.open(written.len), Ok);
        // One write: the file then ends with either a complete or a torn line, and torn lines are
        // ignored.
        let file = file.and_then(|mut file| file.write_all(lines).map(|()| file));
        written.file = Some(file.map_err(failed)?);
        written.len += lines.len() as u64;
        if let Some(since) = &mut written.since {
            since.extend_from_slice(lines);
        }
        Ok(())
    }

    fn replace(&self, lines: &[Vec<u8>]) -> Result<(), StorageError> {
        let bytes = text(lines);
        let storage = &self.slot.storage;
        let draft = storage.draft(&self.slot.lines, &bytes);
        let mut written = self.written();
        let since = written.since.take().unwrap_or_default();
        let draft = draft?;
        if !since.is_empty() {
            draft.append(&since)?;
        }
        // Closed first: some systems cannot rename over an open file.
        written.file = None;
        draft.put()?;
        written.len = bytes.len() as u64 + since.len() as u64;
        drop(written);
        draft.sync();
        Ok(())
    }

    fn adopt(&self) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut adopted = Vec::new();
        let mut orphans = Vec::new();
        for number in 0..MAX_JOURNALS {
            let slot = Slot::new(&self.slot.storage, &self.name, number);
            if slot.lines == self.slot.lines || !slot.path().exists() {
                continue;
            }
            let Some(lock) = try_lock(&slot.lock_path)? else {
                continue;
            };
            let (lines, _) = slot.read_lines()?;
            // A journal of a newer version stays unchanged for that version.
            let is_newer = |line: &Vec<u8>| refuse_newer(|| slot.path(), line).is_err();
            if lines.first().is_some_and(is_newer) {
                tracing::warn!(
                    journal = slot.lines,
                    "left to the newer version that made it"
                );
                continue;
            }
            adopted.extend(lines);
            orphans.push((slot, lock));
        }
        if !adopted.is_empty() {
            self.append(&text(&adopted))?;
            let path = self.slot.path();
            let file = OpenOptions::new().write(true).open(&path);
            let synced = file.and_then(|file| file.sync_all());
            synced.map_err(error("write", &path))?;
        }
        // The orphans' lines are safely stored by now. An orphan that cannot be deleted is adopted
        // again later, which is harmless because intents have ids.
        for (orphan, _lock) in orphans {
            if let Err(problem) = fs::remove_file(orphan.path()) {
                tracing::warn!(%problem, journal = orphan.lines, "an adopted journal cannot be deleted");
            }
        }
        Ok(adopted)
    }
}

/// The lines with their ends.
pub(super) fn text(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

impl Journal for FileJournal {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        self.0.append(&[line, b"\n"].concat())
    }

    fn rewrite(&mut self) -> Rewrite {
        self.0.written().since = Some(Vec::new());
        let shared = Arc::clone(&self.0);
        Box::new(move |lines| shared.replace(lines))
    }

    fn adopt(&mut self) -> Adopt {
        let shared = Arc::clone(&self.0);
        Box::new(move || shared.adopt())
    }

    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let path = self.location();
        let aside = path.with_extension("jsonl.corrupt");
        fs::copy(&path, &aside).map_err(error("copy", &path))?;
        Ok(aside)
    }

    fn location(&self) -> PathBuf {
        self.0.slot.path()
    }

    fn is_alone(&self) -> bool {
        let slot = &self.0.slot;
        let others = (0..MAX_JOURNALS).map(|number| Slot::new(&slot.storage, &self.0.name, number));
        let others = others.filter(|other| other.lines != slot.lines && other.lock_path.exists());
        // A journal whose lock cannot be tested counts as free: the worst case is losing another
        // process's events.
        let is_held = |other: &Slot| matches!(try_lock(&other.lock_path), Ok(None));
        !others.into_iter().any(|other| is_held(&other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
        lines.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn bx_1_a_journal_outlives_its_process_and_is_adopted_once() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (mut first, _) = storage.journal("outbox").unwrap();
        first.append(b"a").unwrap();
        assert!(first.is_alone());
        let (mut second, adopted) = storage.journal("outbox").unwrap();
        assert!(!first.is_alone() && !second.is_alone());
        assert!(
            adopted.is_empty(),
            "the first is alive: its lines are its own"
        );
        second.append(b"b").unwrap();
        drop(first);
        assert!(second.is_alone());
        drop(second);
        let (third, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, lines(&["a", "b"]));
        let (_fourth, adopted) = storage.journal("outbox").unwrap();
        assert!(adopted.is_empty(), "the third has them now");
        drop(third);
        let (_fifth, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, lines(&["a", "b"]), "adopted means written down");
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_what_follows_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        fs::write(folder.path().join("outbox.0.jsonl"), b"whole\nto").unwrap();
        let (mut journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, lines(&["whole"]));
        journal.append(b"next").unwrap();
        drop(journal);
        let (_journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, lines(&["whole", "next"]));
    }

    /// A full disk accepts half a line. The caller gets an error; the next line must not be lost
    /// with it.
    #[test]
    fn bx_1_a_line_after_a_failed_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let slot = Slot::new(&storage, "outbox", 0);
        let lock = try_lock(&slot.lock_path).unwrap().unwrap();
        let written = Written {
            file: None,
            len: 0,
            since: None,
        };
        let mut journal = FileJournal(Arc::new(Shared {
            name: "outbox".into(),
            slot,
            written: Mutex::new(written),
            _lock: lock,
        }));
        journal.append(b"one").unwrap();
        // State after a failed write: half a line, and a file that cannot be written.
        fs::write(folder.path().join("outbox.0.jsonl"), b"one\nhal").unwrap();
        let unwritable = File::open(folder.path().join("outbox.0.jsonl")).unwrap();
        journal.0.written().file = Some(unwritable);
        journal.append(b"half").unwrap_err();
        journal.append(b"two").unwrap();
        drop(journal);
        let (_journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, lines(&["one", "two"]));
    }

    #[test]
    fn bx_1_what_is_appended_while_the_journal_is_rewritten_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (mut journal, _) = storage.journal("outbox").unwrap();
        journal.append(b"done with").unwrap();
        let rewrite = journal.rewrite();
        journal.append(b"meanwhile").unwrap();
        rewrite(&lines(&["open"])).unwrap();
        journal.append(b"after").unwrap();
        drop(journal);
        let (mut journal, kept) = storage.journal("outbox").unwrap();
        assert_eq!(kept, lines(&["open", "meanwhile", "after"]));
        // A failed rewrite changes nothing.
        let rewrite = journal.rewrite();
        journal.append(b"more").unwrap();
        fs::rename(folder.path(), folder.path().with_extension("away")).unwrap();
        rewrite(&[]).unwrap_err();
        fs::rename(folder.path().with_extension("away"), folder.path()).unwrap();
        drop(journal);
        let (_journal, kept) = storage.journal("outbox").unwrap();
        assert_eq!(kept, lines(&["open", "meanwhile", "after", "more"]));
    }

    #[test]
    fn a_journal_whose_process_ended_later_is_adopted_by_one_that_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (mut old, _) = storage.journal("outbox").unwrap();
        old.append(b"a").unwrap();
        let (mut new, adopted) = storage.journal("outbox").unwrap();
        assert!(adopted.is_empty());
        new.append(b"b").unwrap();
        assert!(new.adopt()().unwrap().is_empty(), "its process lives");
        drop(old);
        assert_eq!(new.adopt()().unwrap(), lines(&["a"]));
        assert!(new.adopt()().unwrap().is_empty(), "once");
        new.append(b"c").unwrap();
        drop(new);
        let (_journal, kept) = storage.journal("outbox").unwrap();
        assert_eq!(kept, lines(&["b", "a", "c"]));
    }
}
