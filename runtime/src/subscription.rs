//! Values that are published latest only, with the error that ended them.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

/// Values of one kind, latest only: a slow reader receives fewer. Dropping it ends the
/// subscription.
#[derive(Debug)]
pub struct Subscription<T, E> {
    values: watch::Receiver<Option<Arc<T>>>,
    ended: Arc<OnceLock<E>>,
    /// The error if none was set.
    gone: E,
}

impl<T, E: Clone> Subscription<T, E> {
    /// `gone`: the error after a publisher that was dropped.
    pub(crate) fn new(gone: E) -> (Self, Publisher<T, E>) {
        let (publisher, values) = watch::channel(None);
        let ended = Arc::new(OnceLock::new());
        let subscription = Self {
            values,
            ended: Arc::clone(&ended),
            gone,
        };
        let values = publisher;
        (subscription, Publisher { values, ended })
    }

    /// The newest value; `None` until the first, which follows at once.
    pub fn current(&self) -> Option<Arc<T>> {
        self.values.borrow().clone()
    }

    /// Waits for a value not returned yet and returns the newest. Cancel-safe.
    ///
    /// # Errors
    /// After the last value: why there are no more.
    pub async fn next(&mut self) -> Result<Arc<T>, E> {
        loop {
            if self.values.changed().await.is_err() {
                return Err(self.ended.get().unwrap_or(&self.gone).clone());
            }
            if let Some(value) = self.values.borrow_and_update().clone() {
                return Ok(value);
            }
        }
    }
}

/// The driver's side of a subscription.
#[derive(Debug)]
pub(crate) struct Publisher<T, E> {
    values: watch::Sender<Option<Arc<T>>>,
    ended: Arc<OnceLock<E>>,
}

impl<T, E> Publisher<T, E> {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.values.is_closed()
    }

    /// Ends the subscription with a reason.
    pub(crate) fn end(self, error: E) {
        // A publisher ends only once.
        let _ = self.ended.set(error);
    }

    /// The newest value.
    pub(crate) fn last(&self) -> Option<Arc<T>> {
        self.values.borrow().clone()
    }

    /// Publishes a value.
    pub(crate) fn publish(&self, value: Arc<T>) {
        self.values.send_replace(Some(value));
    }
}
