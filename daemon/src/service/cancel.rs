//! Cancellation: work that runs on elsewhere learns that nobody waits for it.

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

/// Tells when something is over: a request, or the daemon. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Cancellation(Arc<Inner>);

/// The other end of a [`Cancellation`]: dropping it cancels.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<Inner>);

impl Cancellation {
    /// Both ends of a new one.
    pub fn new() -> (CancelOnDrop, Self) {
        let inner = Arc::new(Inner::default());
        (CancelOnDrop(Arc::clone(&inner)), Self(inner))
    }

    /// Whether it is over. Cheap: long loops ask it now and then.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Waits until it is over; at once if it is.
    pub async fn cancelled(&self) {
        let mut told = pin!(self.0.notify.notified());
        // Registered before the look, so that nothing falls between the two.
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
