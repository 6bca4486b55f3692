//! The daemon's notifications, in order, bounded in number and bytes.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::Closed;

/// A notification of the daemon, such as `session.event`.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Its method.
    pub method: String,
    /// Its parameters, as sent; `None` if absent.
    pub params: Option<Box<RawValue>>,
}

impl Notification {
    /// The typed parameters; absent ones count as `{}`.
    ///
    /// # Errors
    /// When they have another form: a client must tolerate unknown events.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.params.as_deref().map_or("{}", RawValue::get))
    }

    fn bytes(&self) -> usize {
        self.method.len()
            + self
                .params
                .as_deref()
                .map_or(0, |params| params.get().len())
    }
}

/// An item of [`Notifications::next`].
#[derive(Clone, Debug)]
pub enum NotificationEvent {
    /// A notification.
    Notification(Notification),
    /// This many notifications were dropped because a limit was reached; the client must load its
    /// data again.
    Missed(u64),
}

/// The daemon's notifications, in order.
#[derive(Debug)]
pub struct Notifications(Inbox);

impl Notifications {
    pub(super) const fn new(inbox: Inbox) -> Self {
        Self(inbox)
    }

    /// The next item. Cancel-safe.
    ///
    /// # Errors
    /// Why the connection ended, once all queued notifications are taken.
    pub async fn next(&mut self) -> Result<NotificationEvent, Closed> {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if let Some(notification) = state.queue.pop_front() {
                state.bytes -= notification.bytes();
                return Poll::Ready(Ok(NotificationEvent::Notification(notification)));
            }
            if state.missed > 0 {
                return Poll::Ready(Ok(NotificationEvent::Missed(std::mem::take(
                    &mut state.missed,
                ))));
            }
            if let Some(closed) = &state.closed {
                return Poll::Ready(Err(closed.clone()));
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reader_dropped = true;
        state.queue = VecDeque::new();
    }
}

/// The queue between the connection's task and the reader.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    state: Arc<Mutex<State>>,
    max_count: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Notification>,
    bytes: usize,
    missed: u64,
    closed: Option<Closed>,
    /// The reader was dropped.
    reader_dropped: bool,
    waker: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self {
            state: Arc::default(),
            max_count,
            max_bytes,
        }
    }

    pub(super) fn push(&self, notification: Notification) {
        let mut state = self.lock();
        if state.reader_dropped {
            return;
        }
        let bytes = state.bytes + notification.bytes();
        // After a gap nothing is queued until the gap was delivered, to keep the order.
        let full = state.missed > 0
            || state.queue.len() >= self.max_count
            || (bytes > self.max_bytes && !state.queue.is_empty());
        if full {
            state.missed += 1;
        } else {
            state.bytes = bytes;
            state.queue.push_back(notification);
        }
        wake(state);
    }

    pub(super) fn close(&self, closed: Closed) {
        let mut state = self.lock();
        state.closed.get_or_insert(closed);
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned lock still protects a valid queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader after releasing the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::Reason;

    use super::*;

    fn notification(number: usize) -> Notification {
        Notification {
            method: format!("n{number}"),
            params: None,
        }
    }

    async fn heard(notifications: &mut Notifications) -> String {
        match notifications.next().await {
            Ok(NotificationEvent::Notification(notification)) => notification.method,
            Ok(NotificationEvent::Missed(count)) => format!("missed {count}"),
            Err(closed) => closed.to_string(),
        }
    }

    #[tokio::test]
    async fn ls_19_a_listener_that_sleeps_is_told_what_it_missed() {
        for (count, bytes) in [(2, 1_000), (1_000, 4)] {
            let inbox = Inbox::new(count, bytes);
            let mut notifications = Notifications::new(inbox.clone());
            for number in 0..5 {
                inbox.push(notification(number));
            }
            assert_eq!(heard(&mut notifications).await, "n0");
            inbox.push(notification(5));
            assert_eq!(heard(&mut notifications).await, "n1");
            assert_eq!(
                heard(&mut notifications).await,
                "missed 4",
                "the gap has its place"
            );
            inbox.push(notification(6));
            inbox.close(Closed {
                reason: Reason::IdleTimeout,
                said: None,
            });
            assert_eq!(heard(&mut notifications).await, "n6");
            assert_eq!(heard(&mut notifications).await, "idle_timeout");
            assert_eq!(heard(&mut notifications).await, "idle_timeout");
        }
    }

    #[test]
    fn nothing_is_queued_without_a_reader() {
        let inbox = Inbox::new(10, 100);
        inbox.push(notification(0));
        drop(Notifications::new(inbox.clone()));
        inbox.push(notification(1));
        assert!(inbox.lock().queue.is_empty());
    }
}
