//! The bounded outbound queue between the ledger (and request tasks) and one connection's task.
//!
//! Producers push whole messages; the connection's task drains them. A push over the limits drops
//! the queue and marks the connection `slow_consumer`: a slow client loses only its connection and
//! resumes (LS-19). An idle queue holds no heap memory besides its own small block.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bowline_machines::{MonotonicTime, Path};
use bowline_protocol::Reason;
use bytes::Bytes;

/// One whole JSON-RPC text, without framing or sealing; clones share the bytes.
pub type Frame = Bytes;

/// Default limit of a queue in bytes. One message may be as large as `limits.maxMessageBytes`, so
/// an empty queue takes one frame of any size.
pub const OUTBOUND_BYTES: usize = 2 << 20;
/// Default limit of a queue in frames.
pub const OUTBOUND_FRAMES: usize = 8_192;

/// A handle to one connection's outbound queue. Clones share it.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    max_bytes: u32,
    max_frames: u32,
    /// Milliseconds of the daemon's clock.
    active_at: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: Option<Reason>,
    waker: Option<Waker>,
}

impl Outbound {
    /// A queue with the default limits.
    pub fn new() -> Self {
        Self::with_bounds(OUTBOUND_BYTES, OUTBOUND_FRAMES)
    }

    /// A queue with other limits.
    pub fn with_bounds(max_bytes: usize, max_frames: usize) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self(Arc::new(Inner {
            max_bytes: clamp(max_bytes),
            max_frames: clamp(max_frames),
            active_at: AtomicU64::new(0),
            state: Mutex::default(),
        }))
    }

    /// Appends one message. Returns whether it was taken: a closed queue refuses frames; a full one
    /// drops its content and closes with [`Reason::SlowConsumer`].
    pub fn push(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        let bytes = state.bytes.saturating_add(frame.len());
        let full = !state.frames.is_empty()
            && (bytes > self.0.max_bytes as usize
                || state.frames.len() >= self.0.max_frames as usize);
        if full {
            state.frames = VecDeque::new();
            state.bytes = 0;
            state.closed = Some(Reason::SlowConsumer);
        } else {
            state.bytes = bytes;
            state.frames.push_back(frame);
        }
        wake(state);
        !full
    }

    /// Requests the connection's task to close its socket. The first reason stays; queued frames
    /// may still be sent before it.
    pub fn close(&self, reason: Reason) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.closed = Some(reason);
            wake(state);
        }
    }

    /// Wakes the connection's task to check its deadlines.
    pub(crate) fn wake(&self) {
        wake(self.lock());
    }

    /// The close reason, once set.
    pub fn close_reason(&self) -> Option<Reason> {
        self.lock().closed
    }

    /// Records activity of the client. Over a session's limit of connections the one idle longest
    /// is closed.
    pub fn touch(&self, now: MonotonicTime) {
        self.0
            .active_at
            .fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Time of the client's last activity.
    pub fn last_active(&self) -> MonotonicTime {
        MonotonicTime::from_millis(self.0.active_at.load(Ordering::Relaxed))
    }

    /// Number of queued bytes.
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Moves the queued frames to `out`, in order, and returns the close reason, if set. For the
    /// single consumer.
    pub fn drain_into(&self, out: &mut Vec<Frame>) -> Option<Reason> {
        let mut state = self.lock();
        out.extend(state.frames.drain(..));
        // An idle connection does not keep the memory of an earlier burst.
        if state.frames.capacity() > 64 {
            state.frames = VecDeque::new();
        }
        state.bytes = 0;
        state.closed
    }

    /// Waits until there are frames to drain or a close reason. Cancel-safe; for the single
    /// consumer.
    pub async fn ready(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if !state.frames.is_empty() || state.closed.is_some() {
                return Poll::Ready(());
            }
            remember(&mut state.waker, context);
            Poll::Pending
        })
        .await;
    }

    /// Waits for the close reason; frames wake it too. For the single consumer while it has no room
    /// for frames.
    pub fn poll_closed(&self, context: &Context<'_>) -> Poll<Reason> {
        let mut state = self.lock();
        match state.closed {
            Some(reason) => Poll::Ready(reason),
            None => {
                remember(&mut state.waker, context);
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while the lock is held; a poisoned lock still holds a valid queue.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Outbound")
            .field("frames", &state.frames.len())
            .field("bytes", &state.bytes)
            .field("closed", &state.closed)
            .finish()
    }
}

fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        none => *none = Some(context.waker().clone()),
    }
}

/// Wakes the consumer after the lock is released (LS-15).
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The ledger's data of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    /// Number of the connection in this process, assigned by the listener; never on the wire
    /// (INV-4).
    pub id: u64,
    /// The path it arrived by.
    pub path: Path,
    /// Its queue.
    pub outbound: Outbound,
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    fn frame(len: usize) -> Frame {
        Bytes::from(vec![b'x'; len])
    }

    #[test]
    fn ls_19_a_slow_consumer_loses_its_queue_and_nothing_grows() {
        let outbound = Outbound::with_bounds(100, 10);
        assert!(outbound.push(frame(60)));
        assert!(outbound.push(frame(40)));
        assert!(!outbound.push(frame(1)));
        assert_eq!(outbound.close_reason(), Some(Reason::SlowConsumer));
        assert_eq!(outbound.queued_bytes(), 0);
        assert!(!outbound.push(frame(1)), "a closed queue refuses frames");
    }

    #[test]
    fn an_empty_queue_takes_one_message_of_any_size() {
        let outbound = Outbound::with_bounds(100, 10);
        assert!(outbound.push(frame(1_000)));
        assert!(!outbound.push(frame(1)));
    }

    #[test]
    fn frames_are_bounded_by_count_as_well() {
        let outbound = Outbound::with_bounds(1_000, 2);
        assert!(outbound.push(frame(1)));
        assert!(outbound.push(frame(1)));
        assert!(!outbound.push(frame(1)));
    }

    #[test]
    fn the_first_close_reason_stands_and_queued_frames_come_before_it() {
        let outbound = Outbound::new();
        outbound.push(frame(3));
        outbound.close(Reason::ShuttingDown);
        outbound.close(Reason::IdleTimeout);
        let mut out = Vec::new();
        assert_eq!(outbound.drain_into(&mut out), Some(Reason::ShuttingDown));
        assert_eq!(out.len(), 1);
    }

    #[tokio::test]
    async fn the_consumer_is_woken_by_a_push_and_by_a_close() {
        let outbound = Outbound::new();
        let waiting = tokio::spawn({
            let outbound = outbound.clone();
            async move { outbound.ready().await }
        });
        tokio::task::yield_now().await;
        outbound.push(frame(1));
        waiting.await.unwrap();
        outbound.drain_into(&mut Vec::new());
        let waiting = tokio::spawn({
            let outbound = outbound.clone();
            async move { outbound.ready().await }
        });
        tokio::task::yield_now().await;
        outbound.close(Reason::IdleTimeout);
        waiting.await.unwrap();
    }

    /// Records whether the queue's lock was free at the wake.
    struct Observer(Outbound, Mutex<Vec<bool>>);

    impl Wake for Observer {
        fn wake(self: Arc<Self>) {
            let is_free = self.0.0.state.try_lock().is_ok();
            self.1.lock().unwrap().push(is_free);
        }
    }

    #[test]
    fn ls_15_the_consumer_is_woken_while_no_lock_is_held() {
        let outbound = Outbound::new();
        let observer = Arc::new(Observer(outbound.clone(), Mutex::default()));
        let waker = Waker::from(Arc::clone(&observer));
        let wait = || outbound.poll_closed(&Context::from_waker(&waker));
        assert!(wait().is_pending());
        outbound.wake();
        assert!(wait().is_pending());
        outbound.push(frame(1));
        assert!(wait().is_pending());
        outbound.close(Reason::IdleTimeout);
        assert_eq!(*observer.1.lock().unwrap(), [true, true, true]);
    }

    #[test]
    fn an_idle_queue_is_small() {
        assert!(size_of::<Inner>() <= 120, "{}", size_of::<Inner>());
    }
}
