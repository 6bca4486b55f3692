//! Journals in a folder: each process appends to one of its own, and adopts those whose processes are gone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use super::{
    Journal, OpenJournal, Storage, StorageError,
    files::{FileStorage, error, private, try_lock},
};

/// Most journals of one name, and so processes on one profile at once.
const MAX_JOURNALS: usize = 64;
/// Most bytes read of one journal. Who appends keeps far below it; a larger file is corrupt, not loaded.
const MAX_JOURNAL: u64 = 256 << 20;

/// Opens the first free journal of that name and adopts the lines of all others that nobody holds.
pub(super) fn open(storage: &FileStorage, name: &str) -> Result<OpenJournal, StorageError> {
    let mut own = None;
    let mut adopted = Vec::new();
    let mut orphans = Vec::new();
    for number in 0..MAX_JOURNALS {
        let slot = Slot::new(storage, name, number);
        if own.is_some() && !slot.path().exists() {
            continue;
        }
        let Some(lock) = try_lock(&slot.lock_path)? else {
            continue;
        };
        let (lines, whole) = slot.read_lines()?;
        adopted.extend(lines);
        if own.is_none() {
            own = Some((slot, whole, lock));
        } else {
            orphans.push((slot, lock));
        }
    }
    let Some((slot, len, lock)) = own else {
        let busy = format!("{MAX_JOURNALS} other processes use this profile");
        let source = io::Error::new(io::ErrorKind::ResourceBusy, busy);
        return Err(error("open", &storage.location(name))(source));
    };
    let mut journal = FileJournal {
        file: None,
        name: name.to_owned(),
        slot,
        len,
        _lock: lock,
    };
    if !orphans.is_empty() {
        journal.rewrite(&adopted)?;
    }
    // Only now is what the orphans held safe with us. One that stays behind is adopted again later, which the
    // ids in its lines make harmless.
    for (orphan, _lock) in orphans {
        if let Err(problem) = fs::remove_file(orphan.path()) {
            tracing::warn!(%problem, journal = orphan.lines, "an adopted journal stays behind");
        }
    }
    Ok((Box::new(journal), adopted))
}

/// One numbered journal. Its lock is a file of its own, because the lines are replaced by renaming.
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

    /// The whole lines, and how many bytes they take. A line without its end was being written when its process
    /// died: nobody was told that it is kept, so it is not.
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

struct FileJournal {
    /// Opened with the first line after a rewrite, positioned at `len`. Absent also after a failure.
    file: Option<File>,
    name: String,
    slot: Slot,
    /// Bytes of whole lines. What the file has beyond them is a torn line.
    len: u64,
    _lock: File,
}

impl FileJournal {
    /// The file without anything torn at its end, ready for the next line.
    fn open(&self) -> io::Result<File> {
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(self.slot.path())?;
        if file.metadata()?.len() != self.len {
            file.set_len(self.len)?;
        }
        file.seek(SeekFrom::Start(self.len))?;
        Ok(file)
    }
}

impl Journal for FileJournal {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        let failed = error("append to", &self.slot.path());
        // Taken: after a failure nobody knows what was written, so the next line begins with a clean end.
        let file = self.file.take().map_or_else(|| self.open(), Ok);
        // One write: either the whole line is there or a torn one that reading leaves out.
        let line = [line, b"\n"].concat();
        let written = file.and_then(|mut file| file.write_all(&line).map(|()| file));
        self.file = Some(written.map_err(failed)?);
        self.len += line.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self, lines: &[Vec<u8>]) -> Result<(), StorageError> {
        // Closed first: not every system renames onto an open file.
        self.file = None;
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        self.slot.storage.write(&self.slot.lines, &bytes)?;
        self.len = bytes.len() as u64;
        Ok(())
    }

    fn location(&self) -> PathBuf {
        self.slot.path()
    }

    fn is_alone(&self) -> bool {
        let others =
            (0..MAX_JOURNALS).map(|number| Slot::new(&self.slot.storage, &self.name, number));
        let others =
            others.filter(|other| other.lines != self.slot.lines && other.lock_path.exists());
        // One whose lock cannot be tried is taken for free: nothing is lost by that but another process's events.
        let is_held = |other: &Slot| matches!(try_lock(&other.lock_path), Ok(None));
        !others.into_iter().any(|other| is_held(&other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[&str]) -> Vec<Vec<u8>> {
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
        assert_eq!(adopted, text(&["a", "b"]));
        let (_fourth, adopted) = storage.journal("outbox").unwrap();
        assert!(adopted.is_empty(), "the third has them now");
        drop(third);
        let (_fifth, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, text(&["a", "b"]), "adopted means written down");
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_what_follows_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        fs::write(folder.path().join("outbox.0.jsonl"), b"whole\nto").unwrap();
        let (mut journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, text(&["whole"]));
        journal.append(b"next").unwrap();
        drop(journal);
        let (_journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, text(&["whole", "next"]));
    }

    /// A full disk takes half a line. The caller is told that it is not kept; the next one must not be lost
    /// with it.
    #[test]
    fn bx_1_a_line_after_a_failed_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let slot = Slot::new(&storage, "outbox", 0);
        let lock = try_lock(&slot.lock_path).unwrap().unwrap();
        let mut journal = FileJournal {
            file: None,
            name: "outbox".into(),
            slot,
            len: 0,
            _lock: lock,
        };
        journal.append(b"one").unwrap();
        // What is left of a write that failed: half of it, and a file that nothing can be written to.
        fs::write(folder.path().join("outbox.0.jsonl"), b"one\nhal").unwrap();
        journal.file = Some(File::open(folder.path().join("outbox.0.jsonl")).unwrap());
        journal.append(b"half").unwrap_err();
        journal.append(b"two").unwrap();
        drop(journal);
        let (_journal, adopted) = storage.journal("outbox").unwrap();
        assert_eq!(adopted, text(&["one", "two"]));
    }
}
