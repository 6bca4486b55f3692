//! Cancellation: a signal to detached work that its result is no longer needed.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    notify: Notify,
}

/// Signals the end of a request or of the daemon. Clones share the signal.
#[derive(Clone, Debug)]
pub struct Cancellation(Arc<Inner>);

/// The other end of a [`Cancellation`]: dropping it cancels.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<Inner>);

impl Cancellation {
    /// Creates both ends.
    pub fn new() -> (CancelOnDrop, Self) {
        let inner = Arc::new(Inner::default());
        (CancelOnDrop(Arc::clone(&inner)), Self(inner))
    }

    /// Whether it is cancelled. Cheap: long loops can check it often.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Waits for the cancellation; returns at once if it has happened.
    pub async fn cancelled(&self) {
        let mut told = pin!(self.0.notify.notified());
        // Registered before the check, so that a cancellation in between is not missed.
        told.as_mut().enable();
        if !self.is_cancelled() {
            told.await;
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_the_other_end_cancels_every_clone() {
        let (end, cancellation) = Cancellation::new();
        assert!(!cancellation.is_cancelled());
        let waiting = tokio::spawn({
            let cancellation = cancellation.clone();
            async move { cancellation.cancelled().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(end);
        waiting.await.unwrap();
        cancellation.cancelled().await;
        assert!(cancellation.is_cancelled());
    }
}
