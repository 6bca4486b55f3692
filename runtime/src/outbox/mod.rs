//! The outbox of one host: intents wait here until their outcome is known, across disconnects and restarts
//! of the process (BX-1).
//!
//! An intent is written to the journal before it is queued, and offered under the same id until the daemon
//! tells its outcome. The daemon runs each id once, so offering twice is safe.

mod queue;

pub(crate) use queue::Queue;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bowline_protocol::IntentId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use crate::{
    error::IntentError,
    intent::Outcome,
    settings::OUTBOX_INTENTS,
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
    inner: Mutex<Inner>,
    arrived: Notify,
}

struct Inner {
    journal: Box<dyn Journal>,
    submitted: Vec<Submission>,
    /// Intents kept and not done, here and in the driver's queue.
    open: usize,
    /// Lines in the journal that say nothing any more.
    dead_lines: usize,
    closed: bool,
}

impl Outbox {
    /// Opens the outbox of that name with what earlier processes left in it, oldest first.
    pub(crate) fn open(
        storage: &dyn Storage,
        name: &str,
    ) -> Result<(Self, Vec<Record>), StorageError> {
        let (journal, lines) = storage.journal(name)?;
        let mut kept: Vec<Record> = Vec::new();
        for line in lines {
            match serde_json::from_slice(&line) {
                Ok(Line::Kept(record)) => {
                    if kept.iter().all(|known| known.id != record.id) {
                        kept.push(record);
                    }
                }
                Ok(Line::Done(done)) => kept.retain(|record| record.id != done),
                Err(error) => {
                    return Err(StorageError::Corrupt {
                        path: storage.location(name),
                        problem: format!("a line of the outbox: {error}"),
                    });
                }
            }
        }
        kept.sort_by_key(|record| record.at);
        let inner = Inner {
            journal,
            submitted: Vec::new(),
            open: kept.len(),
            dead_lines: 0,
            closed: false,
        };
        Ok((
            Self {
                inner: Mutex::new(inner),
                arrived: Notify::new(),
            },
            kept,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an intent. Does not wait for any network; writes one line to the journal.
    pub(crate) fn submit(&self, record: Record) -> Result<oneshot::Receiver<Outcome>, IntentError> {
        let line = line(&Line::Kept(record.clone()))
            .map_err(|error| IntentError::Invalid(error.to_string()))?;
        let mut inner = self.lock();
        if inner.closed {
            return Err(IntentError::Closed);
        }
        if inner.open >= OUTBOX_INTENTS {
            return Err(IntentError::OutboxFull(inner.open));
        }
        inner.journal.append(&line)?;
        inner.open += 1;
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
        inner.open = inner.open.saturating_sub(1);
        inner.dead_lines += 2;
        let written = if inner.dead_lines > 2_048.max(4 * inner.open) {
            // What was submitted and not taken yet is open as well.
            let waiting = inner
                .submitted
                .iter()
                .map(|submission| submission.record.clone());
            let records: Vec<Record> = pending().into_iter().chain(waiting).collect();
            inner.dead_lines = 0;
            let lines: Vec<Vec<u8>> = records
                .into_iter()
                .filter_map(|record| line(&Line::Kept(record)).ok())
                .collect();
            inner.journal.rewrite(&lines)
        } else {
            match line(&Line::Done(id)) {
                Ok(line) => inner.journal.append(&line),
                Err(_) => Ok(()),
            }
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the outbox journal cannot be written");
        }
    }

    /// Takes no more; the journal keeps what is open for the next process unless `forget`.
    pub(crate) fn close(&self, forget: bool) {
        let mut inner = self.lock();
        inner.closed = true;
        if forget && let Err(error) = inner.journal.rewrite(&[]) {
            tracing::warn!(%error, "the outbox journal cannot be emptied");
        }
    }
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

    #[test]
    fn the_outbox_is_bounded_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let (outbox, _) = Outbox::open(&storage, "outbox").unwrap();
        outbox.lock().open = OUTBOX_INTENTS;
        assert!(matches!(
            outbox.submit(record(1)),
            Err(IntentError::OutboxFull(_))
        ));
        outbox.lock().open = 0;
        outbox.submit(record(1)).unwrap();
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
