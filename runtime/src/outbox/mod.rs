//! The outbox of one host: intents wait here until their outcome is known, across disconnects and restarts
//! of the process (BX-1).
//!
//! An intent is written to the journal before it is queued, and offered under the same id until the daemon
//! tells its outcome. The daemon runs each id once, so offering twice is safe.

mod order;
mod queue;

pub(crate) use queue::Queue;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bowline_protocol::IntentId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use crate::{
    error::IntentError,
    intent::Outcome,
    settings::{INTENT_BYTES, JOURNAL_SLACK, OUTBOX_BYTES, OUTBOX_INTENTS},
    storage::{Journal, Storage, StorageError},
};

/// An intent as kept and sent. A frozen format on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: IntentId,
    pub(crate) method: String,
    pub(crate) params: Box<RawValue>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(crate) at: i64,
}

/// One line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Kept(Record),
    Done(IntentId),
}

/// A new intent on its way to the host's driver.
pub(crate) struct Submission {
    pub(crate) record: Record,
    pub(crate) outcome: oneshot::Sender<Outcome>,
}

/// The shared front of a host's outbox: callers put in, the driver takes out.
pub(crate) struct Outbox {
    name: String,
    inner: Mutex<Inner>,
    arrived: Notify,
}

struct Inner {
    /// None while the runtime is paused.
    journal: Option<Box<dyn Journal>>,
    /// Concluded while there was no journal to say so in.
    concluded: HashSet<IntentId>,
    submitted: Vec<Submission>,
    /// Intents kept and not done, here and in the driver's queue, each with the bytes of its line.
    open: HashMap<IntentId, usize>,
    open_bytes: usize,
    /// Bytes in the journal, those that say nothing any more included.
    journal_bytes: usize,
    /// Not rewritten before the journal has so many bytes: it failed lately.
    rewrite_from: usize,
    closed: bool,
}

impl Outbox {
    /// Opens the outbox of that name with what earlier processes left in it, oldest first.
    pub(crate) fn open(
        storage: &dyn Storage,
        name: &str,
    ) -> Result<(Self, Vec<Record>), StorageError> {
        let (journal, lines) = storage.journal(name)?;
        let journal_bytes = lines.iter().map(|line| line.len() + 1).sum();
        let kept = read(journal.as_ref(), &lines)?;
        let mut inner = Inner {
            journal: Some(journal),
            concluded: HashSet::new(),
            submitted: Vec::new(),
            open: HashMap::new(),
            open_bytes: 0,
            journal_bytes,
            rewrite_from: 0,
            closed: false,
        };
        let mut records = Vec::with_capacity(kept.len());
        for (id, (record, bytes)) in kept {
            inner.open.insert(id, bytes);
            inner.open_bytes += bytes;
            records.push(record);
        }
        sort(&mut records);
        let outbox = Self {
            name: name.to_owned(),
            inner: Mutex::new(inner),
            arrived: Notify::new(),
        };
        Ok((outbox, records))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an intent. Does not wait for any network; writes one line to the journal.
    pub(crate) fn submit(&self, record: Record) -> Result<oneshot::Receiver<Outcome>, IntentError> {
        let line = line(&Line::Kept(record.clone()))
            .map_err(|error| IntentError::Invalid(error.to_string()))?;
        if line.len() > INTENT_BYTES {
            let problem = format!("{} bytes, over the limit of {INTENT_BYTES}", line.len());
            return Err(IntentError::Invalid(problem));
        }
        let mut inner = self.lock();
        if inner.closed {
            return Err(IntentError::Closed);
        }
        if inner.open.len() >= OUTBOX_INTENTS || inner.open_bytes + line.len() > OUTBOX_BYTES {
            return Err(IntentError::OutboxFull(inner.open.len()));
        }
        inner.append(&line)?;
        inner.open.insert(record.id, line.len() + 1);
        inner.open_bytes += line.len() + 1;
        let (outcome, receiver) = oneshot::channel();
        inner.submitted.push(Submission { record, outcome });
        drop(inner);
        self.arrived.notify_one();
        Ok(receiver)
    }

    /// Waits until something was submitted.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes what was submitted.
    pub(crate) fn take(&self) -> Vec<Submission> {
        std::mem::take(&mut self.lock().submitted)
    }

    /// Forgets an intent whose outcome is known. `pending` gives what is still open when the journal is worth
    /// rewriting. A journal that cannot be written only means that the intent is offered once more after a
    /// restart, which the daemon answers with the stored outcome.
    pub(crate) fn done(&self, id: IntentId, pending: impl FnOnce() -> Vec<Record>) {
        let mut inner = self.lock();
        let Some(bytes) = inner.open.remove(&id) else {
            return;
        };
        inner.open_bytes -= bytes;
        if inner.journal.is_none() {
            inner.concluded.insert(id);
            return;
        }
        if let Ok(line) = line(&Line::Done(id))
            && let Err(error) = inner.append(&line)
        {
            tracing::warn!(%error, "an outcome cannot be written to the outbox journal");
        }
        if inner.is_worth_rewriting() {
            // What was submitted and not taken yet is open as well.
            let waiting = inner.submitted.iter().map(|one| one.record.clone());
            let records: Vec<Record> = pending().into_iter().chain(waiting).collect();
            inner.rewrite(records);
        }
    }

    /// Whether no other process has this host's outbox open, and with it the session.
    pub(crate) fn is_alone(&self) -> bool {
        let inner = self.lock();
        inner
            .journal
            .as_ref()
            .is_none_or(|journal| journal.is_alone())
    }

    /// Lets go of the journal. What was kept is on disk; nothing is taken until [`Outbox::resume`].
    pub(crate) fn pause(&self) {
        self.lock().journal = None;
    }

    /// Takes up a journal again. `pending` is what the driver's queue has open. Hands over what is kept there and was not
    /// known here: left by other processes, oldest first.
    pub(crate) fn resume(
        &self,
        storage: &dyn Storage,
        pending: Vec<Record>,
    ) -> Result<Vec<Record>, StorageError> {
        let mut inner = self.lock();
        if inner.journal.is_some() || inner.closed {
            return Ok(Vec::new());
        }
        // Another process may have adopted ours; then it offers them too, under the same ids.
        let (mut journal, lines) = storage.journal(&self.name)?;
        let mut adopted = read(journal.as_ref(), &lines)?;
        adopted.retain(|id, _| !inner.open.contains_key(id) && !inner.concluded.contains(id));
        let waiting = inner.submitted.iter().map(|one| one.record.clone());
        let mut records: Vec<Record> = pending.into_iter().chain(waiting).collect();
        let mut new: Vec<Record> = adopted.values().map(|(record, _)| record.clone()).collect();
        sort(&mut new);
        records.extend(new.iter().cloned());
        let lines: Vec<Vec<u8>> = records
            .into_iter()
            .filter_map(|record| line(&Line::Kept(record)).ok())
            .collect();
        journal.rewrite(&lines)?;
        inner.journal_bytes = lines.iter().map(|line| line.len() + 1).sum();
        inner.journal = Some(journal);
        inner.concluded.clear();
        for (id, (_, bytes)) in adopted {
            inner.open.insert(id, bytes);
            inner.open_bytes += bytes;
        }
        Ok(new)
    }

    /// Takes no more; the journal keeps what is open for the next process unless `forget`.
    pub(crate) fn close(&self, forget: bool) {
        let mut inner = self.lock();
        inner.closed = true;
        if forget {
            inner.open.clear();
            inner.open_bytes = 0;
            inner.rewrite(Vec::new());
        }
    }
}

impl Inner {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        let journal = self.journal.as_mut().ok_or(StorageError::Paused)?;
        journal.append(line)?;
        self.journal_bytes += line.len() + 1;
        Ok(())
    }

    const fn is_worth_rewriting(&self) -> bool {
        self.journal_bytes > 2 * self.open_bytes + JOURNAL_SLACK
            && self.journal_bytes > self.rewrite_from
    }

    /// A journal that cannot be rewritten goes on growing by outcomes only, and is tried again later.
    fn rewrite(&mut self, records: Vec<Record>) {
        let lines: Vec<Vec<u8>> = records
            .into_iter()
            .filter_map(|record| line(&Line::Kept(record)).ok())
            .collect();
        let Some(journal) = self.journal.as_mut() else {
            // Written when it is taken up again.
            return;
        };
        match journal.rewrite(&lines) {
            Ok(()) => self.journal_bytes = lines.iter().map(|line| line.len() + 1).sum(),
            Err(error) => {
                tracing::warn!(%error, "the outbox journal cannot be rewritten");
                self.rewrite_from = self.journal_bytes + JOURNAL_SLACK;
            }
        }
    }
}

/// What the lines of a journal keep, each with the bytes of its line.
fn read(
    journal: &dyn Journal,
    lines: &[Vec<u8>],
) -> Result<HashMap<IntentId, (Record, usize)>, StorageError> {
    let mut kept = HashMap::new();
    for line in lines {
        match serde_json::from_slice(line) {
            Ok(Line::Kept(record)) => {
                kept.insert(record.id, (record, line.len() + 1));
            }
            Ok(Line::Done(done)) => {
                kept.remove(&done);
            }
            Err(error) => {
                return Err(StorageError::Corrupt {
                    path: journal.location(),
                    problem: format!("a line of the outbox: {error}"),
                });
            }
        }
    }
    Ok(kept)
}

/// Oldest first. Ids of version 7 tell the order within a millisecond.
fn sort(records: &mut [Record]) {
    records.sort_by_key(|record| (record.at, *record.id.as_bytes()));
}

fn line(line: &Line) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    fn record(n: u8) -> Record {
        Record {
            id: IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16])),
            method: "agents.send".into(),
            params: RawValue::from_string(format!("{{\"n\":{n}}}")).unwrap(),
            at: i64::from(n),
        }
    }

    #[test]
    fn bx_1_what_has_no_outcome_is_there_again_after_a_restart_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, kept) = Outbox::open(&storage, "outbox").unwrap();
        assert!(kept.is_empty());
        for n in 1..=3 {
            outbox.submit(record(n)).unwrap();
        }
        outbox.done(record(2).id, Vec::new);
        drop(outbox);
        let (_outbox, kept) = Outbox::open(&storage, "outbox").unwrap();
        let ids: Vec<_> = kept.iter().map(|record| record.id).collect();
        assert_eq!(ids, [record(1).id, record(3).id]);
        assert_eq!(
            kept[1].params.get(),
            r#"{"n":3}"#,
            "sent again to the letter"
        );
    }

    fn of_size(n: u8, bytes: usize) -> Record {
        Record {
            params: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            ..record(n)
        }
    }

    #[test]
    fn the_outbox_is_bounded_in_number_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, _) = Outbox::open(&storage, "outbox").unwrap();
        let id = |n: u128| IntentId::from_uuid(uuid::Uuid::from_u128(n));
        for n in 0..OUTBOX_INTENTS as u128 {
            outbox
                .submit(Record {
                    id: id(n),
                    ..record(0)
                })
                .unwrap();
        }
        assert!(matches!(
            outbox.submit(record(1)),
            Err(IntentError::OutboxFull(OUTBOX_INTENTS))
        ));
        outbox.done(id(7), Vec::new);
        outbox.submit(record(1)).unwrap();
    }

    #[test]
    fn bx_1_however_large_intents_are_the_next_process_can_read_the_outbox() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, _) = Outbox::open(&storage, "outbox").unwrap();
        let too_large = outbox.submit(of_size(0, INTENT_BYTES));
        assert!(matches!(too_large, Err(IntentError::Invalid(_))));
        // Done ones leave the journal, whatever their size.
        for _ in 0..40 {
            outbox.submit(of_size(0, 900_000)).unwrap();
            outbox.take();
            outbox.done(record(0).id, Vec::new);
        }
        let mut waiting = 0;
        let full = loop {
            match outbox.submit(of_size(waiting + 1, 900_000)) {
                Ok(_) => waiting += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, IntentError::OutboxFull(_)), "{full}");
        drop(outbox);
        let journal = std::fs::metadata(folder.path().join("outbox.0.jsonl")).unwrap();
        assert!(journal.len() < 3 * OUTBOX_BYTES as u64);
        let (_outbox, kept) = Outbox::open(&storage, "outbox").unwrap();
        assert_eq!(kept.len(), usize::from(waiting));
    }

    #[test]
    fn lesson_14_a_paused_outbox_holds_no_lock_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, _) = Outbox::open(&storage, "outbox").unwrap();
        for n in 1..=2 {
            outbox.submit(record(n)).unwrap();
        }
        outbox.pause();
        let refused = outbox.submit(record(3));
        assert!(matches!(
            refused,
            Err(IntentError::Storage(StorageError::Paused))
        ));
        // Another process takes the same journal, with what is in it, and leaves something of its own.
        let (other, adopted) = Outbox::open(&storage, "outbox").unwrap();
        assert_eq!(adopted.len(), 2);
        other.submit(record(4)).unwrap();
        drop(other);
        // An outcome that came during the pause counts.
        outbox.done(record(1).id, Vec::new);
        outbox.take();
        let new = outbox.resume(&storage, vec![record(2)]).unwrap();
        let ids = |records: &[Record]| -> Vec<_> { records.iter().map(|one| one.id).collect() };
        assert_eq!(ids(&new), [record(4).id]);
        outbox.submit(record(5)).unwrap();
        drop(outbox);
        let (_outbox, kept) = Outbox::open(&storage, "outbox").unwrap();
        assert_eq!(ids(&kept), [record(2).id, record(4).id, record(5).id]);
    }

    #[test]
    fn a_line_that_does_not_read_is_an_error_that_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let journal = folder.path().join("outbox.0.jsonl");
        std::fs::write(&journal, b"{}\n").unwrap();
        let error = Outbox::open(&storage, "outbox").err().unwrap().to_string();
        assert!(error.contains("outbox.0.jsonl"), "{error}");
        assert_eq!(std::fs::read(&journal).unwrap(), b"{}\n", "left as it was");
    }

    #[test]
    fn a_long_life_does_not_grow_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, _) = Outbox::open(&storage, "outbox").unwrap();
        let open = record(250);
        outbox.submit(open.clone()).unwrap();
        outbox.take();
        for _ in 0..5_000 {
            outbox.submit(record(1)).unwrap();
            outbox.take();
            outbox.done(record(1).id, || vec![open.clone()]);
        }
        let size = std::fs::metadata(folder.path().join("outbox.0.jsonl"))
            .unwrap()
            .len();
        assert!(size < 512 * 1024, "{size}");
        drop(outbox);
        let (_outbox, kept) = Outbox::open(&storage, "outbox").unwrap();
        assert!(kept.iter().any(|record| record.id == open.id));
    }
}
