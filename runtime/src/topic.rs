//! What it takes to follow a topic of a service, and the queue between the driver and a subscriber
//! (LD-10).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bowline_machines::data::topics::{Backlog, BacklogConfig, TopicBatch, TopicStatus};
use tokio::sync::watch;

use crate::{live::LiveError, screen::ScreenError};

/// Batches of one topic: every event once and in order, from the first
/// [`TopicState::Following`](crate::TopicState::Following) on.
///
/// No batch replaces another. While none is taken, events wait: 4,096 of them and 8 MiB at most,
/// then the oldest are dropped and [`TopicBatch::missed`] says so. Subscriptions of one host with
/// the same name and parameters share what they follow, which ends a few seconds after the last of
/// them is dropped.
#[derive(Debug)]
pub struct TopicSubscription {
    backlog: Arc<Mutex<Backlog>>,
    changed: watch::Receiver<()>,
    ended: Arc<OnceLock<LiveError>>,
}

impl TopicSubscription {
    pub(crate) fn new() -> (Self, TopicPublisher) {
        let backlog = Arc::new(Mutex::new(Backlog::new(BacklogConfig::default())));
        let (changes, changed) = watch::channel(());
        let ended = Arc::new(OnceLock::new());
        let subscription = Self {
            backlog: Arc::clone(&backlog),
            changed,
            ended: Arc::clone(&ended),
        };
        let publisher = TopicPublisher {
            backlog,
            changes,
            ended,
        };
        (subscription, publisher)
    }

    /// Waits for the next batch: at most 256 events and 1 MiB, or one larger event. The first one
    /// comes at once, with the state. Cancel-safe.
    ///
    /// # Errors
    /// [`LiveError`] after the last batch.
    pub async fn next(&mut self) -> Result<TopicBatch, LiveError> {
        loop {
            if let Some(batch) = lock(&self.backlog).take() {
                return Ok(batch);
            }
            if self.changed.changed().await.is_err() {
                // What was published before the end comes first.
                let last = lock(&self.backlog).take();
                let gone = || LiveError::Host(ScreenError::Gone);
                return last.ok_or_else(|| self.ended.get().cloned().unwrap_or_else(gone));
            }
        }
    }
}

/// The driver's side of a subscription.
#[derive(Debug)]
pub(crate) struct TopicPublisher {
    backlog: Arc<Mutex<Backlog>>,
    changes: watch::Sender<()>,
    ended: Arc<OnceLock<LiveError>>,
}

impl TopicPublisher {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.changes.is_closed()
    }

    /// Adds a batch.
    pub(crate) fn publish(&self, batch: &TopicBatch) {
        lock(&self.backlog).append(batch);
        self.changes.send_replace(());
    }

    /// Adds a batch without events.
    pub(crate) fn say(&self, status: TopicStatus) {
        self.publish(&TopicBatch {
            status,
            ..TopicBatch::default()
        });
    }

    /// Ends the subscription with a reason.
    pub(crate) fn end(self, error: LiveError) {
        // A publisher ends only once.
        let _ = self.ended.set(error);
    }
}

fn lock(backlog: &Mutex<Backlog>) -> MutexGuard<'_, Backlog> {
    backlog.lock().unwrap_or_else(PoisonError::into_inner)
}
