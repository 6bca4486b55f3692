//! What the daemon says unasked, in order, bounded in number and bytes.

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
    /// Its parameters, as sent; `None` where there were none.
    pub params: Option<Box<RawValue>>,
}

impl Notification {
    /// The typed parameters; absent ones count as `{}`.
    ///
    /// # Errors
    /// When they are of another shape: a client must be ready for events that it does not know.
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

/// What [`Notifications::next`] brings.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A notification.
    Notification(Notification),
    /// So many came while the bounds were reached, and were dropped: what is shown must be fetched again.
    Missed(u64),
}

/// The daemon's notifications, in order.
#[derive(Debug)]
pub struct Notifications(Inbox);

impl Notifications {
    pub(super) const fn new(inbox: Inbox) -> Self {
        Self(inbox)
    }

    /// The next one. Cancel-safe.
    ///
    /// # Errors
    /// How the connection ended, once everything that came before has been taken.
    pub async fn next(&mut self) -> Result<Heard, Closed> {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if let Some(notification) = state.queue.pop_front() {
                state.bytes -= notification.bytes();
                return Poll::Ready(Ok(Heard::Notification(notification)));
            }
            if state.missed > 0 {
                return Poll::Ready(Ok(Heard::Missed(std::mem::take(&mut state.missed))));
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
        state.deaf = true;
        state.queue = VecDeque::new();
    }
}

/// The queue between the connection's task and whoever listens.
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
    /// Nobody listens any more.
    deaf: bool,
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
        if state.deaf {
            return;
        }
        let bytes = state.bytes + notification.bytes();
        // After a gap nothing is queued before the gap was noticed, or the order would lie.
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
        // Nothing panics while the lock is held; a poisoned one still holds a valid queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the listener after the lock is released.
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
            Ok(Heard::Notification(notification)) => notification.method,
            Ok(Heard::Missed(count)) => format!("missed {count}"),
            Err(closed) => closed.to_string(),
        }
    }

    #[tokio::test]
    async fn lesson_19_a_listener_that_sleeps_is_told_what_it_missed() {
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
    fn nothing_is_kept_for_nobody() {
        let inbox = Inbox::new(10, 100);
        inbox.push(notification(0));
        drop(Notifications::new(inbox.clone()));
        inbox.push(notification(1));
        assert!(inbox.lock().queue.is_empty());
    }
}
