//! The outbox of one host: keeps intents until their outcome is known, across disconnects and
//! restarts of the process (BX-1).
//!
//! An intent is written to the journal before it is queued, and stays there until its outcome is
//! known. The machine (`machines/src/client/intents/`) decides when each is sent; the host's driver
//! reads the request here.
//!
//! There are two locks. `inner` is held briefly, for at most one line of I/O, because a UI thread
//! may wait for it. `files` is held while the journal is opened, replaced or released, which may
//! take long and runs on blocking threads.

mod journal;
mod record;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_protocol::IntentId;
use tokio::sync::Notify;

pub(crate) use self::record::Record;
use self::record::{Line, Marks};
use crate::{
    error::IntentError,
    intent::{Outcome, Request},
    receipt::{Awaited, Teller},
    settings::{INTENT_BYTES, JOURNAL_SLACK, OUTBOX_BYTES, OUTBOX_INTENTS},
    snapshot::StorageView,
    storage::{Journal, Storage, StorageError},
};

/// A new intent for the host's driver.
pub(crate) struct Submission {
    pub(crate) record: Record,
    /// Whether it was left by another process.
    pub(crate) is_left: bool,
}

/// The shared state of a host's outbox: callers submit, the driver takes.
pub(crate) struct Outbox {
    storage: Arc<dyn Storage>,
    name: String,
    files: Mutex<()>,
    inner: Mutex<Inner>,
    arrived: Notify,
}

/// State of the journal.
enum JournalState {
    Open(Box<dyn Journal>),
    /// The app is suspended or about to be: no file is touched until [`Outbox::resume`].
    Paused,
    /// Opening failed with this error; every [`Outbox::look_after`] retries.
    Failed(String),
    /// Nothing is written any more.
    Closed,
}

struct Inner {
    place: JournalState,
    /// Intents concluded while there was no journal.
    concluded: HashSet<IntentId>,
    submitted: Vec<Submission>,
    /// Open intents, here and in the driver's queue.
    open: HashMap<IntentId, Kept>,
    open_bytes: usize,
    /// The latest [`Record::at`] so far.
    last_at: i64,
    /// Size of the journal in bytes, obsolete lines included.
    journal_bytes: usize,
    /// After a failed rewrite: the size in bytes at which to retry.
    rewrite_from: usize,
    /// A rewrite is scheduled or running.
    is_rewriting: bool,
    /// Damage found when the journal was opened.
    damage: Option<StorageView>,
    /// The last outcomes, oldest first.
    recent: Arc<[(IntentId, Outcome)]>,
    closed: bool,
    /// No outcome is told any more.
    has_ended: bool,
}

/// An open intent with the size of its line.
struct Kept {
    record: Record,
    bytes: usize,
    /// Tells those who wait for the outcome, if there are any.
    teller: Option<Teller>,
}

impl Outbox {
    /// Opens the outbox of that name with the intents of earlier processes, oldest first. A damaged
    /// journal is set aside and its readable part kept; [`Outbox::trouble`] reports it.
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
                place: JournalState::Failed(String::new()),
                concluded: HashSet::new(),
                submitted: Vec::new(),
                open: HashMap::new(),
                open_bytes: 0,
                last_at: 0,
                journal_bytes: 0,
                rewrite_from: 0,
                is_rewriting: false,
                damage: None,
                recent: Arc::default(),
                closed: false,
                has_ended: false,
            }),
            arrived: Notify::new(),
        };
        match outbox.look_after() {
            // Damage of one host's outbox must not block other hosts; an unreadable journal is
            // reported and retried.
            Ok(()) | Err(StorageError::Corrupt { .. } | StorageError::TooNew { .. }) => {}
            // Reading works where nothing can be written (C8); submitting reports why it cannot.
            Err(StorageError::Io { source, .. }) if is_unwritable(source.kind()) => {}
            Err(error) => return Err(error),
        }
        let records = outbox.take().into_iter().map(|one| one.record).collect();
        Ok((outbox, records))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an intent. Writes one line to the journal; does not wait for the network.
    pub(crate) fn submit(&self, mut record: Record) -> Result<Awaited, IntentError> {
        // After a clock was set back, a later intent still gets a later time.
        record.at = self.lock().order(record.at);
        let line = line(&Line::Kept(record.clone()))
            .map_err(|error| IntentError::Invalid(error.to_string()))?;
        if line.len() > INTENT_BYTES {
            let problem = format!("{} bytes exceed the limit of {INTENT_BYTES}", line.len());
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
        let teller = Teller::new();
        let awaited = teller.awaited();
        let teller = (!inner.has_ended).then_some(teller);
        inner.keep(record.clone(), line.len() + 1, teller);
        let is_left = false;
        inner.submitted.push(Submission { record, is_left });
        drop(inner);
        self.arrived.notify_one();
        Ok(awaited)
    }

    /// The outcome of an intent that is open, has failed and is kept, or ended lately; `None` for
    /// any other.
    pub(crate) fn awaited(&self, id: IntentId) -> Option<Awaited> {
        let mut inner = self.lock();
        let has_ended = inner.has_ended;
        if let Some(kept) = inner.open.get_mut(&id) {
            if let Some(outcome) = &kept.record.outcome {
                return Some(Teller::told(outcome.clone()));
            }
            if !has_ended {
                return Some(kept.teller.get_or_insert_with(Teller::new).awaited());
            }
        }
        let recent = inner.recent.iter().find(|(ended, _)| *ended == id);
        recent.map(|(_, outcome)| Teller::told(outcome.clone()))
    }

    /// Notes the last outcomes, with that of this intent, which is told through what is returned
    /// once it is in the journal.
    pub(crate) fn settled(
        &self,
        id: IntentId,
        recent: Arc<[(IntentId, Outcome)]>,
    ) -> Option<Teller> {
        let mut inner = self.lock();
        inner.recent = recent;
        let kept = inner.open.get_mut(&id)?;
        // Who asks before that is told as well.
        Some(kept.teller.get_or_insert_with(Teller::new).clone())
    }

    /// Ends every wait for an outcome, and later ones at once.
    pub(crate) fn end_receipts(&self) {
        let mut inner = self.lock();
        inner.has_ended = true;
        for kept in inner.open.values_mut() {
            kept.teller = None;
        }
    }

    /// The request of an intent about to be sent. Marks it as sent in the journal, so that a later
    /// process knows that it may have been executed. If the journal cannot be written, that is
    /// unknown after a crash.
    pub(crate) fn send(&self, id: IntentId) -> Option<Arc<Request>> {
        let mut inner = self.lock();
        let kept = inner.open.get_mut(&id)?;
        let request = Arc::clone(&kept.record.request);
        if std::mem::replace(&mut kept.record.sent, true) {
            return Some(request);
        }
        if matches!(inner.place, JournalState::Open(_))
            && let Ok(line) = line(&Line::Sent(id))
            && let Err(error) = inner.append(&line)
        {
            tracing::debug!(%error, "the outbox journal does not record that an intent is being sent");
        }
        Some(request)
    }

    /// Waits for a submission or a change of [`Outbox::trouble`].
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes submitted and adopted intents.
    pub(crate) fn take(&self) -> Vec<Submission> {
        std::mem::take(&mut self.lock().submitted)
    }

    /// Removes an intent with a known outcome. True if the journal should now be rewritten with
    /// [`Outbox::rewrite`]. If the journal cannot be written, the intent is sent again after a
    /// restart, and the daemon answers with the stored outcome.
    pub(crate) fn done(&self, id: IntentId) -> bool {
        let mut inner = self.lock();
        let Some(kept) = inner.open.remove(&id) else {
            return false;
        };
        inner.open_bytes -= kept.bytes;
        inner.conclude(id);
        inner.should_rewrite()
    }

    /// Keeps a failed intent with its outcome until [`Outbox::done`], since the user may not be
    /// looking. Returns as that does. If the journal cannot be written, the intent is sent again
    /// after a restart, with the same outcome.
    pub(crate) fn failed(&self, id: IntentId, outcome: Outcome) -> bool {
        let mut inner = self.lock();
        let Some(Kept {
            mut record,
            bytes,
            teller,
        }) = inner.open.remove(&id)
        else {
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
        inner.keep(record, bytes, teller);
        inner.should_rewrite()
    }

    /// Whether no other process has this host's outbox, and thus its session, open.
    pub(crate) fn is_alone(&self) -> bool {
        match &self.lock().place {
            JournalState::Open(journal) => journal.is_alone(),
            JournalState::Paused | JournalState::Failed(_) | JournalState::Closed => true,
        }
    }

    /// Whether intents are refused because the journal is unavailable.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.lock().place, JournalState::Failed(_))
    }

    /// Storage fault of the outbox.
    pub(crate) fn trouble(&self) -> Option<StorageView> {
        let inner = self.lock();
        match &inner.place {
            JournalState::Failed(problem) => Some(StorageView::unavailable(problem)),
            JournalState::Open(_) | JournalState::Paused | JournalState::Closed => {
                inner.damage.clone()
            }
        }
    }
}

impl Inner {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        match &mut self.place {
            JournalState::Open(journal) => journal.append(line)?,
            JournalState::Paused => return Err(StorageError::Paused),
            JournalState::Failed(problem) => {
                let problem = problem.clone();
                return Err(StorageError::Unavailable { problem });
            }
            JournalState::Closed => return Err(StorageError::Closed),
        }
        self.journal_bytes += line.len() + 1;
        Ok(())
    }

    /// A creation time later than that of every earlier intent.
    fn order(&mut self, now: i64) -> i64 {
        self.last_at = now.max(self.last_at.saturating_add(1));
        self.last_at
    }

    fn keep(&mut self, record: Record, bytes: usize, teller: Option<Teller>) {
        self.last_at = self.last_at.max(record.at);
        self.open_bytes += bytes;
        let kept = Kept {
            record,
            bytes,
            teller,
        };
        self.open.insert(kept.record.id, kept);
    }

    /// Writes the outcome of an intent.
    fn conclude(&mut self, id: IntentId) {
        if !matches!(self.place, JournalState::Open(_)) {
            self.concluded.insert(id);
        } else if let Ok(line) = line(&Line::Done(id))
            && let Err(error) = self.append(&line)
        {
            tracing::warn!(%error, "an outcome cannot be written to the outbox journal");
        }
    }

    /// Whether the caller should rewrite the journal now.
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

/// Whether this kind of error only prevents writing.
const fn is_unwritable(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::StorageFull | Kind::QuotaExceeded
    )
}

/// Oldest first. Within a millisecond, ids of version 7 give the order.
fn sort(records: &mut [Record]) {
    records.sort_by_key(|record| (record.at, *record.id.as_bytes()));
}

fn line(line: &Line) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(line)
}

#[cfg(test)]
mod tests;
