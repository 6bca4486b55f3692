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
    /// When it was made, milliseconds since the Unix epoch; later than that of every intent kept before it.
    pub(crate) at: i64,
    /// Whether it was ever offered: then the daemon may have run it, whoever heard of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sent: bool,
    /// Why it was not done: it is offered no more, and kept until its user has seen that (UX-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
}

/// One line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Kept(Record),
    Sent(IntentId),
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
    /// The latest [`Record::at`] so far.
    last_at: i64,
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
                last_at: 0,
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
            Ok(()) | Err(StorageError::Corrupt { .. } | StorageError::TooNew { .. }) => {}
            // Reading goes on where nothing can be written (C8); sending says why it cannot.
            Err(StorageError::Io { source, .. }) if is_unwritable(source.kind()) => {}
            Err(error) => return Err(error),
        }
        let records = outbox.take().into_iter().map(|one| one.record).collect();
        Ok((outbox, records))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an intent. Does not wait for any network; writes one line to the journal.
    pub(crate) fn submit(
        &self,
        mut record: Record,
    ) -> Result<oneshot::Receiver<Outcome>, IntentError> {
        // A clock that was set back does not put a message before an earlier one.
        record.at = self.lock().order(record.at);
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

    /// Notes that an intent is about to be offered, so that whoever finds it in the journal knows that it may have been run. A
    /// journal that cannot be written means that this is not known after a crash.
    pub(crate) fn sent(&self, id: IntentId) {
        let mut inner = self.lock();
        let Some(kept) = inner.open.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut kept.record.sent, true) {
            return;
        }
        if matches!(inner.place, Place::Open(_))
            && let Ok(line) = line(&Line::Sent(id))
            && let Err(error) = inner.append(&line)
        {
            tracing::debug!(%error, "that an intent is offered is not in the outbox journal");
        }
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

    /// A time for an intent made now that is later than that of every one made before.
    fn order(&mut self, now: i64) -> i64 {
        self.last_at = now.max(self.last_at.saturating_add(1));
        self.last_at
    }

    fn keep(&mut self, record: Record, bytes: usize) {
        self.last_at = self.last_at.max(record.at);
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

/// Whether trouble of that kind keeps this process from writing, and from nothing else.
const fn is_unwritable(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::StorageFull | Kind::QuotaExceeded
    )
}

/// Oldest first. Ids of version 7 tell the order within a millisecond.
fn sort(records: &mut [Record]) {
    records.sort_by_key(|record| (record.at, *record.id.as_bytes()));
}

fn line(line: &Line) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(line)
}

#[cfg(test)]
mod tests;
