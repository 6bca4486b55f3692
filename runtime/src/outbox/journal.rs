//! What takes long with an outbox: taking up, replacing and letting go of its journal. All of it is done where waiting is
//! allowed, one at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::{MutexGuard, PoisonError},
};

use bowline_protocol::IntentId;

use super::{Inner, Kept, Line, Outbox, Place, Record, Submission, line, sort};
use crate::{
    settings::JOURNAL_SLACK,
    snapshot::StorageView,
    storage::{Journal, StorageError},
};

impl Outbox {
    fn files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the journal by what is open.
    pub(crate) fn rewrite(&self) {
        let _files = self.files();
        let (work, records, before) = {
            let mut inner = self.lock();
            let records = inner.records();
            let before = inner.journal_bytes;
            let Place::Open(journal) = &mut inner.place else {
                // Replaced when it is taken up again.
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
            // What came meanwhile is in it as well.
            Ok(()) => inner.journal_bytes = size(&lines) + (inner.journal_bytes - before),
            // It goes on growing by outcomes only, and is tried again later.
            Err(error) => {
                tracing::warn!(%error, "the outbox journal cannot be rewritten");
                inner.rewrite_from = inner.journal_bytes + JOURNAL_SLACK;
            }
        }
    }

    /// Lets go of the journal, after what is being done with it. What was kept is on disk; nothing is taken until
    /// [`Outbox::resume`].
    pub(crate) fn pause(&self) {
        self.let_go(Place::Paused);
    }

    /// Lets go of the journal for good.
    pub(crate) fn release(&self) {
        self.let_go(Place::Closed);
    }

    fn let_go(&self, next: Place) {
        let _files = self.files();
        let mut inner = self.lock();
        let last = match &inner.place {
            Place::Closed => None,
            Place::Open(_) | Place::Paused | Place::Failed(_) => {
                Some(std::mem::replace(&mut inner.place, next))
            }
        };
        drop(inner);
        // Files are closed with no caller waiting.
        drop(last);
    }

    /// Takes up a journal again after a pause. What is kept there and was not known here was left by other processes; the
    /// driver takes it as if it were submitted.
    ///
    /// # Errors
    /// What [`Outbox::trouble`] says from then on. It is tried again by [`Outbox::look_after`].
    pub(crate) fn resume(&self) -> Result<(), StorageError> {
        let _files = self.files();
        if matches!(self.lock().place, Place::Paused | Place::Failed(_)) {
            self.take_up()?;
        }
        Ok(())
    }

    /// Takes up a journal that could not be had, or else adopts those whose processes ended since. Does nothing in a pause.
    ///
    /// # Errors
    /// As [`Outbox::resume`].
    pub(crate) fn look_after(&self) -> Result<(), StorageError> {
        let _files = self.files();
        let work = {
            let mut inner = self.lock();
            match &mut inner.place {
                Place::Open(journal) => Some(journal.adopt()),
                Place::Failed(_) => None,
                Place::Paused | Place::Closed => return Ok(()),
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

    /// Takes no more; the journal keeps what is open for the next process unless `forget`, with which it is emptied and let
    /// go of. Without it touches no file.
    pub(crate) fn close(&self, forget: bool) {
        self.lock().closed = true;
        if !forget {
            return;
        }
        let files = self.files();
        let place = {
            let mut inner = self.lock();
            inner.open.clear();
            inner.open_bytes = 0;
            std::mem::replace(&mut inner.place, Place::Closed)
        };
        let emptied = match place {
            Place::Open(mut journal) => journal.rewrite()(&[]),
            Place::Closed => Ok(()),
            // Whatever a process of ours left there is forgotten too.
            Place::Paused | Place::Failed(_) => {
                let journal = self.storage.journal(&self.name);
                journal.and_then(|(mut journal, _)| journal.rewrite()(&[]))
            }
        };
        drop(files);
        if let Err(error) = emptied {
            tracing::warn!(%error, "the outbox of a host that is forgotten cannot be emptied");
        }
    }

    /// With `files` held and no journal.
    fn take_up(&self) -> Result<(), StorageError> {
        let taken = self.try_take_up();
        if let Err(error) = &taken {
            self.lock().place = Place::Failed(error.to_string());
        }
        // There may be intents, and there is or was trouble to show.
        self.arrived.notify_one();
        taken
    }

    fn try_take_up(&self) -> Result<(), StorageError> {
        // Another process may have adopted ours; then it offers them too, under the same ids.
        let (mut journal, stored) = self.storage.journal(&self.name)?;
        let (mut adopted, damaged) = read(&stored);
        let damage = match damaged {
            0 => None,
            _ => Some(set_aside(journal.as_ref(), damaged)?),
        };
        let (records, concluded, failed, new) = {
            let inner = self.lock();
            let is_known = |id: &IntentId| inner.open.contains_key(id);
            let is_whole = inner.open.iter().all(|(id, kept)| {
                let stored = adopted.get(id);
                stored.is_some_and(|stored| stored.record.outcome == kept.record.outcome)
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
            (records, inner.concluded.clone(), inner.failed(), new)
        };
        let mut bytes = size(&stored);
        if let Some(records) = records {
            let lines = lines(records);
            journal.rewrite()(&lines)?;
            bytes = size(&lines);
        }
        let mut inner = self.lock();
        inner.place = Place::Open(journal);
        inner.journal_bytes = bytes;
        if damage.is_some() {
            inner.damage = damage;
        }
        // What became of intents while the lines were being written.
        let all = std::mem::take(&mut inner.concluded);
        for id in all.difference(&concluded) {
            inner.conclude(*id);
        }
        for id in inner.failed().difference(&failed) {
            inner.write(*id);
        }
        inner.take_over(new);
        Ok(())
    }
}

impl Inner {
    /// Which of them were not done and are kept until that was seen.
    fn failed(&self) -> HashSet<IntentId> {
        let open = self.open.values().map(|kept| &kept.record);
        let failed = open.filter(|record| record.outcome.is_some());
        failed.map(|record| record.id).collect()
    }

    /// Writes an open intent down as it is now.
    fn write(&mut self, id: IntentId) {
        let record = self.open.get(&id).map(|kept| kept.record.clone());
        let written = record.and_then(|record| line(&Line::Kept(record)).ok());
        if let Some(Err(error)) = written.map(|line| self.append(&line)) {
            tracing::warn!(%error, "a failure cannot be written to the outbox journal");
        }
    }

    /// What is open.
    fn records(&self) -> Vec<Record> {
        self.open.values().map(|kept| kept.record.clone()).collect()
    }

    /// Takes note of intents that another process left, oldest first. True if any was not known.
    fn take_over(&mut self, mut left: Vec<Kept>) -> bool {
        left.retain(|kept| !self.open.contains_key(&kept.record.id));
        left.sort_by_key(|kept| (kept.record.at, *kept.record.id.as_bytes()));
        let is_any_new = !left.is_empty();
        for Kept { record, bytes } in left {
            self.keep(record.clone(), bytes);
            let outcome = None;
            self.submitted.push(Submission { record, outcome });
        }
        is_any_new
    }
}

/// The lines that keep these, oldest first.
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

/// Keeps the damaged journal for people to look at.
fn set_aside(journal: &dyn Journal, damaged: usize) -> Result<StorageView, StorageError> {
    let path = journal.set_aside()?;
    tracing::warn!(damaged, path = %path.display(), "lines of an outbox journal do not read; it was set aside");
    Ok(StorageView::damaged(damaged, &path))
}

/// What the lines of a journal keep, and how many of them do not read.
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
                kept.insert(record.id, Kept { record, bytes });
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

/// After a power cut a line may begin in the middle of another or of zeros, whose end was lost with the end of that line:
/// then its own text is at the end. Nothing else can be taken for it: within a line quotes are escaped, and an object in its
/// parameters is followed by more.
fn salvage(line: &[u8]) -> Option<Line> {
    let starts: [&[u8]; 3] = [b"{\"kept\":", b"{\"sent\":", b"{\"done\":"];
    (1..line.len()).find_map(|from| {
        let rest = line.get(from..)?;
        let is_start = starts.iter().any(|start| rest.starts_with(start));
        is_start.then(|| serde_json::from_slice(rest).ok())?
    })
}
