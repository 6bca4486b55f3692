//! The outbox of one host: intents wait here until their outcome is known, across disconnects and restarts
//! of the process (BX-1).
//!
//! An intent is written to the journal before it is queued, and offered under the same id until the daemon
//! tells its outcome. The daemon runs each id once, so offering twice is safe.
//!
//! Two locks: `inner` is held for moments, and one line at most is written under it, because a UI's thread may wait for
//! it. `files` is held by whoever opens, replaces or lets go of the journal; that may take long and is done where waiting
//! is allowed.

mod journal;
mod order;
mod queue;

pub(crate) use queue::Queue;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_protocol::IntentId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use crate::{
    error::IntentError,
    intent::Outcome,
    settings::{INTENT_BYTES, JOURNAL_SLACK, OUTBOX_BYTES, OUTBOX_INTENTS},
    snapshot::StorageView,
    storage::{Journal, Storage, StorageError},
};

/// An intent as kept and sent. A frozen format on disk. Cheap to clone but for the name of its method.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: IntentId,
    pub(crate) method: String,
    pub(crate) params: Arc<RawValue>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(crate) at: i64,
    /// Why it was not done: it is offered no more, and kept until its user has seen that (UX-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
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
    /// None for one that another process left behind.
    pub(crate) outcome: Option<oneshot::Sender<Outcome>>,
}

/// The shared front of a host's outbox: callers put in, the driver takes out.
pub(crate) struct Outbox {
    storage: Arc<dyn Storage>,
    name: String,
    files: Mutex<()>,
    inner: Mutex<Inner>,
    arrived: Notify,
}

/// Where intents are written down.
enum Place {
    Open(Box<dyn Journal>),
    /// The app is suspended, or about to be: no file is touched until [`Outbox::resume`].
    Paused,
    /// It could not be opened, as the text says; tried again with every [`Outbox::look_after`].
    Failed(String),
    /// Nothing is written any more.
    Closed,
}

struct Inner {
    place: Place,
    /// Concluded while there was no journal to say so in.
    concluded: HashSet<IntentId>,
    submitted: Vec<Submission>,
    /// Intents kept and not done, here and in the driver's queue.
    open: HashMap<IntentId, Kept>,
    open_bytes: usize,
    /// Bytes in the journal, those that say nothing any more included.
    journal_bytes: usize,
    /// Not rewritten before the journal has so many bytes: it failed lately.
    rewrite_from: usize,
    /// Somebody is about to rewrite it.
    is_rewriting: bool,
    /// The journal was damaged when it was opened.
    damage: Option<StorageView>,
    closed: bool,
}

/// An open intent, with the bytes of its line.
struct Kept {
    record: Record,
    bytes: usize,
}

impl Outbox {
    /// Opens the outbox of that name with what earlier processes left in it, oldest first. A journal that is damaged is set
    /// aside, and what can be read of it is kept; [`Outbox::trouble`] tells.
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::KeyStore`].
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        name: &str,
    ) -> Result<(Self, Vec<Record>), StorageError> {
        let outbox = Self {
            storage,
            name: name.to_owned(),
            files: Mutex::new(()),
            inner: Mutex::new(Inner {
                place: Place::Failed(String::new()),
                concluded: HashSet::new(),
                submitted: Vec::new(),
                open: HashMap::new(),
                open_bytes: 0,
                journal_bytes: 0,
                rewrite_from: 0,
                is_rewriting: false,
                damage: None,
                closed: false,
            }),
            arrived: Notify::new(),
        };
        match outbox.look_after() {
            // One host's damage must not keep the others away; that it cannot be read at all is shown and tried again.
            Ok(()) | Err(StorageError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let records = outbox.take().into_iter().map(|one| one.record).collect();
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
        inner.keep(record.clone(), line.len() + 1);
        let (outcome, receiver) = oneshot::channel();
        let outcome = Some(outcome);
        inner.submitted.push(Submission { record, outcome });
        drop(inner);
        self.arrived.notify_one();
        Ok(receiver)
    }

    /// Waits until something was submitted, or there is another [`Outbox::trouble`].
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes what was submitted, and what others left behind.
    pub(crate) fn take(&self) -> Vec<Submission> {
        std::mem::take(&mut self.lock().submitted)
    }

    /// Forgets an intent whose outcome is known. True when the journal is worth a [`Outbox::rewrite`] now. A journal that
    /// cannot be written only means that the intent is offered once more after a restart, which the daemon answers with
    /// the stored outcome.
    pub(crate) fn done(&self, id: IntentId) -> bool {
        let mut inner = self.lock();
        let Some(kept) = inner.open.remove(&id) else {
            return false;
        };
        inner.open_bytes -= kept.bytes;
        inner.conclude(id);
        inner.should_rewrite()
    }

    /// Keeps an intent that was not done, with its outcome, until [`Outbox::done`]: its user may not be there to see it. True as
    /// with that. A journal that cannot be written means that it is offered again after a restart, with the same outcome.
    pub(crate) fn failed(&self, id: IntentId, outcome: Outcome) -> bool {
        let mut inner = self.lock();
        let Some(Kept { mut record, bytes }) = inner.open.remove(&id) else {
            return false;
        };
        record.outcome = Some(outcome);
        inner.open_bytes -= bytes;
        let bytes = match line(&Line::Kept(record.clone())) {
            Ok(line) => {
                if let Err(error) = inner.append(&line) {
                    tracing::debug!(%error, "a failure is not in the outbox journal yet");
                }
                line.len() + 1
            }
            Err(_) => bytes,
        };
        inner.keep(record, bytes);
        inner.should_rewrite()
    }

    /// Whether no other process has this host's outbox open, and with it the session.
    pub(crate) fn is_alone(&self) -> bool {
        match &self.lock().place {
            Place::Open(journal) => journal.is_alone(),
            Place::Paused | Place::Failed(_) | Place::Closed => true,
        }
    }

    /// Whether it takes nothing because its journal cannot be had.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.lock().place, Place::Failed(_))
    }

    /// What is wrong with what is stored.
    pub(crate) fn trouble(&self) -> Option<StorageView> {
        let inner = self.lock();
        match &inner.place {
            Place::Failed(problem) => Some(StorageView::unavailable(problem)),
            Place::Open(_) | Place::Paused | Place::Closed => inner.damage.clone(),
        }
    }
}

impl Inner {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        match &mut self.place {
            Place::Open(journal) => journal.append(line)?,
            Place::Paused => return Err(StorageError::Paused),
            Place::Failed(problem) => {
                let problem = problem.clone();
                return Err(StorageError::Unavailable { problem });
            }
            Place::Closed => return Err(StorageError::Closed),
        }
        self.journal_bytes += line.len() + 1;
        Ok(())
    }

    fn keep(&mut self, record: Record, bytes: usize) {
        self.open_bytes += bytes;
        self.open.insert(record.id, Kept { record, bytes });
    }

    /// Writes down that an intent has its outcome.
    fn conclude(&mut self, id: IntentId) {
        if !matches!(self.place, Place::Open(_)) {
            self.concluded.insert(id);
        } else if let Ok(line) = line(&Line::Done(id))
            && let Err(error) = self.append(&line)
        {
            tracing::warn!(%error, "an outcome cannot be written to the outbox journal");
        }
    }

    /// Whether whoever asks should rewrite the journal now.
    const fn should_rewrite(&mut self) -> bool {
        let is_worth_it = !self.is_rewriting && self.is_worth_rewriting();
        self.is_rewriting |= is_worth_it;
        is_worth_it
    }

    const fn is_worth_rewriting(&self) -> bool {
        self.journal_bytes > 2 * self.open_bytes + JOURNAL_SLACK
            && self.journal_bytes > self.rewrite_from
    }
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

    fn storage(folder: &tempfile::TempDir) -> Arc<dyn Storage> {
        Arc::new(FileStorage::open(folder.path()).unwrap())
    }

    fn record(n: u8) -> Record {
        Record {
            id: IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16])),
            method: "agents.send".into(),
            params: RawValue::from_string(format!("{{\"n\":{n}}}"))
                .unwrap()
                .into(),
            at: i64::from(n),
            outcome: None,
        }
    }

    #[test]
    fn bx_1_what_has_no_outcome_is_there_again_after_a_restart_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert!(kept.is_empty());
        for n in 1..=3 {
            outbox.submit(record(n)).unwrap();
        }
        outbox.done(record(2).id);
        drop(outbox);
        let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
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
            params: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes)))
                .unwrap()
                .into(),
            ..record(n)
        }
    }

    #[test]
    fn the_outbox_is_bounded_in_number_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
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
        outbox.done(id(7));
        outbox.submit(record(1)).unwrap();
    }

    #[test]
    fn bx_1_however_large_intents_are_the_next_process_can_read_the_outbox() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        let too_large = outbox.submit(of_size(0, INTENT_BYTES));
        assert!(matches!(too_large, Err(IntentError::Invalid(_))));
        // Done ones leave the journal, whatever their size.
        for _ in 0..40 {
            outbox.submit(of_size(0, 900_000)).unwrap();
            outbox.take();
            if outbox.done(record(0).id) {
                outbox.rewrite();
            }
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
        let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert_eq!(kept.len(), usize::from(waiting));
    }

    #[test]
    fn lesson_14_a_paused_outbox_holds_no_lock_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
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
        let (other, adopted) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert_eq!(adopted.len(), 2);
        other.submit(record(4)).unwrap();
        drop(other);
        // An outcome that came during the pause counts.
        outbox.done(record(1).id);
        outbox.take();
        outbox.resume().unwrap();
        let ids = |records: &[Record]| -> Vec<_> { records.iter().map(|one| one.id).collect() };
        let new: Vec<_> = outbox.take().into_iter().map(|one| one.record).collect();
        assert_eq!(ids(&new), [record(4).id]);
        outbox.submit(record(5)).unwrap();
        drop(outbox);
        let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert_eq!(ids(&kept), [record(2).id, record(4).id, record(5).id]);
    }

    #[test]
    fn ux_3_what_failed_in_a_pause_is_there_after_a_restart_as_failed() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        outbox.submit(record(1)).unwrap();
        outbox.pause();
        outbox.failed(record(1).id, Outcome::Expired);
        outbox.resume().unwrap();
        drop(outbox);
        let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
        let outcomes: Vec<_> = kept.into_iter().map(|record| record.outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::Expired)]);
    }

    #[test]
    fn bx_1_what_can_be_read_of_a_damaged_journal_goes_on_and_the_rest_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        for n in 1..=5 {
            outbox.submit(record(n)).unwrap();
        }
        assert_eq!(outbox.trouble(), None);
        drop(outbox);
        // A power cut: zeros over the end of the second line and the beginning of the third; the fourth is cut off and runs
        // into the one after it.
        let path = folder.path().join("outbox.0.jsonl");
        let mut text = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
        text.splice(ends[3] - 10..=ends[3], []);
        text[ends[1] - 10..ends[1] + 10].fill(0);
        std::fs::write(&path, &text).unwrap();
        let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        let ids: Vec<_> = kept.iter().map(|record| record.id).collect();
        assert_eq!(ids, [record(1).id, record(5).id]);
        let trouble = outbox.trouble().unwrap();
        assert_eq!(trouble.kind, crate::StorageTrouble::Damaged);
        assert!(trouble.message.contains("outbox.0.jsonl.corrupt"));
        let aside = folder.path().join("outbox.0.jsonl.corrupt");
        assert_eq!(std::fs::read(aside).unwrap(), text);
        outbox.submit(record(6)).unwrap();
        drop(outbox);
        let (outbox, kept) = Outbox::open(storage, "outbox").unwrap();
        assert_eq!(kept.len(), ids.len() + 1);
        assert_eq!(outbox.trouble(), None, "what goes on is whole");
    }

    #[test]
    fn a_journal_that_begins_with_zeros_keeps_what_comes_after_them() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        outbox.submit(record(1)).unwrap();
        drop(outbox);
        let path = folder.path().join("outbox.0.jsonl");
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&[0; 4_096], text.as_slice()].concat()).unwrap();
        let (outbox, kept) = Outbox::open(storage, "outbox").unwrap();
        assert_eq!(kept.len(), 1);
        assert!(outbox.trouble().is_some());
    }

    #[test]
    fn an_outbox_that_cannot_be_taken_up_says_so_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        outbox.submit(record(1)).unwrap();
        outbox.pause();
        outbox.look_after().unwrap();
        assert!(storage.journal("outbox").is_ok(), "nothing in a pause");
        // No lock can be taken.
        for number in 0..64 {
            let lock = folder.path().join(format!("outbox.{number}.lock"));
            let _ = std::fs::remove_file(&lock);
            std::fs::create_dir(lock).unwrap();
        }
        outbox.resume().unwrap_err();
        let refused = outbox.submit(record(2));
        assert!(matches!(
            refused,
            Err(IntentError::Storage(StorageError::Unavailable { .. }))
        ));
        let trouble = outbox.trouble().unwrap();
        assert_eq!(trouble.kind, crate::StorageTrouble::Unavailable);
        for number in 0..64 {
            std::fs::remove_dir(folder.path().join(format!("outbox.{number}.lock"))).unwrap();
        }
        outbox.look_after().unwrap();
        outbox.submit(record(2)).unwrap();
        assert_eq!(outbox.trouble(), None);
    }

    #[test]
    fn bx_1_intents_of_a_process_that_ends_later_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (old, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        for n in 1..=2 {
            old.submit(record(n)).unwrap();
        }
        old.done(record(2).id);
        let (new, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert!(kept.is_empty());
        new.look_after().unwrap();
        assert!(new.take().is_empty(), "the old one lives");
        old.release();
        new.look_after().unwrap();
        let taken: Vec<_> = new.take().into_iter().map(|one| one.record.id).collect();
        assert_eq!(taken, [record(1).id]);
        drop(new);
        let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn bx_1_intents_that_come_and_end_while_the_journal_is_rewritten_stay_so() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        let id = |n: u128| IntentId::from_uuid(uuid::Uuid::from_u128(n));
        let submit = |n: u128| {
            let record = Record {
                id: id(n),
                ..record(0)
            };
            outbox.submit(record).unwrap();
        };
        std::thread::scope(|scope| {
            let rewriter = scope.spawn(|| (0..50).for_each(|_| outbox.rewrite()));
            let mut n = 0;
            while !rewriter.is_finished() || n < 100 {
                submit(n);
                if n % 2 == 0 {
                    outbox.done(id(n));
                }
                n += 1;
                outbox.take();
                if n >= 8_000 {
                    break;
                }
            }
            submit(1_000_000);
        });
        let open = outbox.lock().open.len();
        drop(outbox);
        let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
        assert_eq!(kept.len(), open);
    }

    #[test]
    fn a_long_life_does_not_grow_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(&folder);
        let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
        let open = record(250);
        outbox.submit(open.clone()).unwrap();
        outbox.take();
        for _ in 0..5_000 {
            outbox.submit(record(1)).unwrap();
            outbox.take();
            if outbox.done(record(1).id) {
                outbox.rewrite();
            }
        }
        let size = std::fs::metadata(folder.path().join("outbox.0.jsonl"))
            .unwrap()
            .len();
        assert!(size < 512 * 1024, "{size}");
        drop(outbox);
        let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert!(kept.iter().any(|record| record.id == open.id));
    }
}
