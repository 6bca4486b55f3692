//! Slow operations of an outbox: opening, rewriting and releasing its journal. They run on blocking
//! threads, one at a time.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use bowline_protocol::IntentId;

use super::{Inner, JournalState, Kept, Line, Marks, Outbox, Record, Submission, line, sort};
use crate::{
    intent::Outcome,
    settings::JOURNAL_SLACK,
    snapshot::StorageView,
    storage::{Journal, StorageError},
};

impl Outbox {
    fn files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rewrites the journal with the open intents only.
    pub(crate) fn rewrite(&self) {
        let _files = self.files();
        let (work, records, before) = {
            let mut inner = self.lock();
            let records = inner.records();
            let before = inner.journal_bytes;
            let JournalState::Open(journal) = &mut inner.place else {
                // Rewritten when it is opened again.
                inner.is_rewriting = false;
                return;
            };
            (journal.rewrite(), records, before)
        };
        let lines = lines(records);
        let rewritten = work(&lines);
        let mut inner = self.lock();
        inner.is_rewriting = false;
        match rewritten {
            // Includes the lines appended during the rewrite.
            Ok(()) => inner.journal_bytes = size(&lines) + (inner.journal_bytes - before),
            // The journal grows only by outcomes until the rewrite is retried.
            Err(error) => {
                tracing::warn!(%error, "the outbox journal cannot be rewritten");
                inner.rewrite_from = inner.journal_bytes + JOURNAL_SLACK;
            }
        }
    }

    /// Releases the journal after pending writes. Everything stored is on disk; nothing is accepted
    /// until [`Outbox::resume`].
    pub(crate) fn pause(&self) {
        self.let_go(JournalState::Paused);
    }

    /// Releases the journal permanently.
    pub(crate) fn release(&self) {
        self.let_go(JournalState::Closed);
    }

    fn let_go(&self, next: JournalState) {
        let _files = self.files();
        let mut inner = self.lock();
        let last = match &inner.place {
            JournalState::Closed => None,
            JournalState::Open(_) | JournalState::Paused | JournalState::Failed(_) => {
                Some(std::mem::replace(&mut inner.place, next))
            }
        };
        drop(inner);
        // Files are closed outside of the lock.
        drop(last);
    }

    /// Opens a journal again after a pause. Unknown intents in it were left by other processes; the
    /// driver handles them as if submitted.
    ///
    /// # Errors
    /// The error that [`Outbox::trouble`] then reports. [`Outbox::look_after`] retries.
    pub(crate) fn resume(&self) -> Result<(), StorageError> {
        let _files = self.files();
        if matches!(
            self.lock().place,
            JournalState::Paused | JournalState::Failed(_)
        ) {
            self.take_up()?;
        }
        Ok(())
    }

    /// Opens a journal that was unavailable, or else adopts journals of processes that have ended.
    /// Does nothing while paused.
    ///
    /// # Errors
    /// As [`Outbox::resume`].
    pub(crate) fn look_after(&self) -> Result<(), StorageError> {
        let _files = self.files();
        let work = {
            let mut inner = self.lock();
            match &mut inner.place {
                JournalState::Open(journal) => Some(journal.adopt()),
                JournalState::Failed(_) => None,
                JournalState::Paused | JournalState::Closed => return Ok(()),
            }
        };
        let Some(work) = work else {
            return self.take_up();
        };
        let (adopted, damaged) = read(&work()?);
        let mut inner = self.lock();
        if damaged > 0 {
            tracing::warn!(damaged, "lines of an adopted outbox journal do not read");
        }
        let new: Vec<_> = adopted.into_values().collect();
        let bytes: usize = new.iter().map(|kept| kept.bytes).sum();
        inner.journal_bytes += bytes;
        let is_any_new = inner.take_over(new);
        drop(inner);
        if is_any_new {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Accepts no more intents; the journal keeps the open ones for the next process. With `forget`
    /// it is emptied and released. Without it no file is touched.
    pub(crate) fn close(&self, forget: bool) {
        self.lock().closed = true;
        if !forget {
            return;
        }
        let files = self.files();
        let place = {
            let mut inner = self.lock();
            let dropped = inner.open.drain();
            for teller in dropped.filter_map(|(_, kept)| kept.teller) {
                teller.tell(Outcome::Abandoned);
            }
            inner.open_bytes = 0;
            std::mem::replace(&mut inner.place, JournalState::Closed)
        };
        let emptied = match place {
            JournalState::Open(mut journal) => journal.rewrite()(&[]),
            JournalState::Closed => Ok(()),
            // Intents left there by this app's processes are removed too.
            JournalState::Paused | JournalState::Failed(_) => {
                let journal = self.storage.journal(&self.name);
                journal.and_then(|(mut journal, _)| journal.rewrite()(&[]))
            }
        };
        drop(files);
        if let Err(error) = emptied {
            tracing::warn!(%error, "the outbox of a host that is forgotten cannot be emptied");
        }
    }

    /// Requires `files` to be locked and no open journal.
    fn take_up(&self) -> Result<(), StorageError> {
        let taken = self.try_take_up();
        if let Err(error) = &taken {
            self.lock().place = JournalState::Failed(error.to_string());
        }
        // There may be new intents, and the storage fault may have changed.
        self.arrived.notify_one();
        taken
    }

    fn try_take_up(&self) -> Result<(), StorageError> {
        // Another process may have adopted this outbox's journal; it then sends the same intents
        // under the same ids.
        let (mut journal, stored) = self.storage.journal(&self.name)?;
        let (mut adopted, damaged) = read(&stored);
        let damage = match damaged {
            0 => None,
            _ => Some(set_aside(journal.as_ref(), damaged)?),
        };
        let (records, concluded, written, new) = {
            let mut inner = self.lock();
            // Another process may have sent it meanwhile.
            for (id, kept) in &mut inner.open {
                kept.record.sent |= adopted.get(id).is_some_and(|stored| stored.record.sent);
            }
            let is_known = |id: &IntentId| inner.open.contains_key(id);
            let is_whole = inner.open.iter().all(|(id, kept)| {
                let stored = adopted.get(id);
                stored.is_some_and(|stored| stored.record.marks() == kept.record.marks())
            });
            let is_as_stored = is_whole
                && damage.is_none()
                && !adopted.keys().any(|id| inner.concluded.contains(id));
            adopted.retain(|id, _| !is_known(id) && !inner.concluded.contains(id));
            let new: Vec<Kept> = adopted.into_values().collect();
            let records = (!is_as_stored).then(|| {
                let mut records = inner.records();
                records.extend(new.iter().map(|kept| kept.record.clone()));
                records
            });
            (records, inner.concluded.clone(), inner.marks(), new)
        };
        let mut bytes = size(&stored);
        if let Some(records) = records {
            let lines = lines(records);
            journal.rewrite()(&lines)?;
            bytes = size(&lines);
        }
        let mut inner = self.lock();
        inner.place = JournalState::Open(journal);
        inner.journal_bytes = bytes;
        if damage.is_some() {
            inner.damage = damage;
        }
        // Intents concluded, failed or sent while the lines were being written.
        let all = std::mem::take(&mut inner.concluded);
        for id in all.difference(&concluded) {
            inner.conclude(*id);
        }
        for (id, marks) in inner.marks() {
            if written.get(&id) != Some(&marks) {
                inner.write(id);
            }
        }
        inner.take_over(new);
        Ok(())
    }
}

impl Inner {
    /// The marks of every open intent.
    fn marks(&self) -> HashMap<IntentId, Marks> {
        let open = self.open.values().map(|kept| &kept.record);
        open.map(|record| (record.id, record.marks())).collect()
    }

    /// Writes the current state of an open intent.
    fn write(&mut self, id: IntentId) {
        let record = self.open.get(&id).map(|kept| kept.record.clone());
        let written = record.and_then(|record| line(&Line::Kept(record)).ok());
        if let Some(Err(error)) = written.map(|line| self.append(&line)) {
            tracing::warn!(%error, "the state of an intent cannot be written to the outbox journal");
        }
    }

    /// The open intents.
    fn records(&self) -> Vec<Record> {
        self.open.values().map(|kept| kept.record.clone()).collect()
    }

    /// Adds intents left by another process, oldest first. True if any was unknown.
    fn take_over(&mut self, mut left: Vec<Kept>) -> bool {
        left.retain(|kept| !self.open.contains_key(&kept.record.id));
        left.sort_by_key(|kept| (kept.record.at, *kept.record.id.as_bytes()));
        let is_any_new = !left.is_empty();
        for Kept { record, bytes, .. } in left {
            self.keep(record.clone(), bytes, None);
            let is_left = true;
            self.submitted.push(Submission { record, is_left });
        }
        is_any_new
    }
}

/// The lines of these intents, oldest first.
fn lines(mut records: Vec<Record>) -> Vec<Vec<u8>> {
    sort(&mut records);
    let records = records.into_iter();
    records
        .filter_map(|record| line(&Line::Kept(record)).ok())
        .collect()
}

fn size(lines: &[Vec<u8>]) -> usize {
    lines.iter().map(|line| line.len() + 1).sum()
}

/// Keeps a copy of the damaged journal for inspection.
fn set_aside(journal: &dyn Journal, damaged: usize) -> Result<StorageView, StorageError> {
    let path = journal.set_aside()?;
    tracing::warn!(damaged, path = %path.display(), "lines of an outbox journal do not read; it was set aside");
    Ok(StorageView::damaged(damaged, &path))
}

/// The intents in the lines of a journal, and the number of unreadable lines.
fn read(lines: &[Vec<u8>]) -> (HashMap<IntentId, Kept>, usize) {
    let mut kept: HashMap<IntentId, Kept> = HashMap::new();
    let mut damaged = 0;
    for line in lines {
        let parsed = serde_json::from_slice(line).ok().or_else(|| {
            damaged += 1;
            salvage(line)
        });
        match parsed {
            Some(Line::Kept(record)) => {
                let bytes = line.len() + 1;
                let teller = None;
                let read = Kept {
                    record,
                    bytes,
                    teller,
                };
                kept.insert(read.record.id, read);
            }
            Some(Line::Sent(sent)) => {
                if let Some(kept) = kept.get_mut(&sent) {
                    kept.record.sent = true;
                }
            }
            Some(Line::Done(done)) => {
                kept.remove(&done);
            }
            None => {}
        }
    }
    (kept, damaged)
}

/// After a power cut a line may begin in the middle of another line or of zeros whose end was lost;
/// its own text is then at the end. The match is unambiguous: quotes within a line are escaped, and
/// an object in its parameters is followed by more text.
fn salvage(line: &[u8]) -> Option<Line> {
    let starts: [&[u8]; 3] = [b"{\"kept\":", b"{\"sent\":", b"{\"done\":"];
    (1..line.len()).find_map(|from| {
        let rest = line.get(from..)?;
        let is_start = starts.iter().any(|start| rest.starts_with(start));
        is_start.then(|| serde_json::from_slice(rest).ok())?
    })
}
