//! One lane: a client socket behind a relay, as a socket of messages (RL-3, INV-4).
//!
//! The data socket's task and the connection's driver share a pair of bounded queues. Both run in one task, so the
//! lock is never waited for. What a full queue means is what a full kernel buffer means: the reader of the one is
//! awaited, and the sweep closes a connection that takes nothing for too long (lesson 19).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bowline_protocol::{
    Reason,
    relay::{Lane, LaneFrame, LaneHeader, LaneKind, limits::QUEUE_BYTES},
};
use bytes::Bytes;

use crate::connection::{Gone, MessageSocket, Received};

/// Close code of a connection that ends without a reason that the peer can be told: 1001, going away.
const GOING_AWAY: u16 = 1001;

/// Both queues of one lane.
#[derive(Debug, Default)]
struct Queues {
    /// Messages for the connection.
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    /// Nothing more comes.
    ended: bool,
    /// What comes is dropped: the connection is being closed for not taking it.
    deaf: bool,
    /// Frames for the relay.
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    /// Bytes of the frames that the relay's socket has taken.
    taken: u64,
    /// The close frame is the last in the outbox, or was.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The data socket's side of a lane.
#[derive(Clone, Debug)]
pub(super) struct LaneEnd {
    lane: Lane,
    queues: Arc<Mutex<Queues>>,
}

/// The connection's side of a lane. Dropping it closes the lane.
#[derive(Debug)]
pub(super) struct LaneSocket(LaneEnd);

/// A new lane, both sides of it.
pub(super) fn lane(lane: Lane) -> (LaneEnd, LaneSocket) {
    let end = LaneEnd {
        lane,
        queues: Arc::default(),
    };
    (end.clone(), LaneSocket(end))
}

impl LaneEnd {
    pub(super) const fn lane(&self) -> Lane {
        self.lane
    }

    /// Hands a message to the connection. The caller looks at [`LaneEnd::is_full`] before it reads the next.
    pub(super) fn deliver(&self, message: Bytes) {
        let mut queues = self.lock();
        if queues.deaf || queues.ended || queues.closed {
            return;
        }
        queues.inbox_bytes += message.len();
        queues.inbox.push_back(message);
        wake(&mut queues.reader);
    }

    /// The connection does not keep up.
    pub(super) fn is_full(&self) -> bool {
        self.lock().inbox_bytes >= QUEUE_BYTES
    }

    /// Waits for this lane no longer: what it has not read is dropped, and what comes.
    pub(super) fn give_up(&self) {
        let mut queues = self.lock();
        queues.deaf = true;
        queues.inbox = VecDeque::new();
        queues.inbox_bytes = 0;
    }

    /// The client socket is gone: the connection reads what came before, then the end.
    pub(super) fn end(&self) {
        let mut queues = self.lock();
        queues.ended = true;
        queues.outbox = VecDeque::new();
        queues.outbox_bytes = 0;
        wake(&mut queues.reader);
        wake(&mut queues.writer);
    }

    /// The next frame for the relay.
    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let mut queues = self.lock();
        let frame = queues.outbox.pop_front()?;
        queues.outbox_bytes -= frame.len();
        queues.taken += frame.len() as u64;
        if queues.outbox_bytes < QUEUE_BYTES {
            wake(&mut queues.writer);
        }
        if queues.outbox.is_empty() && queues.outbox.capacity() > 64 {
            // A burst must not leave its high-water mark with an idle lane.
            queues.outbox = VecDeque::new();
        }
        Some(frame)
    }

    /// Whether frames wait for the relay.
    pub(super) fn has_frames(&self) -> bool {
        !self.lock().outbox.is_empty()
    }

    fn close(&self, code: u16) {
        let mut queues = self.lock();
        queues.inbox = VecDeque::new();
        queues.inbox_bytes = 0;
        if queues.ended || std::mem::replace(&mut queues.closed, true) {
            return;
        }
        let lane = self.lane;
        let frame = LaneFrame::Close { lane, code }.encode();
        queues.outbox_bytes += frame.len();
        queues.outbox.push_back(frame);
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while the lock is held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Waits with this waker from now on.
fn wait(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl MessageSocket for LaneSocket {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let mut queues = self.0.lock();
        if let Some(message) = queues.inbox.pop_front() {
            queues.inbox_bytes -= message.len();
            if queues.inbox.is_empty() && queues.inbox.capacity() > 64 {
                queues.inbox = VecDeque::new();
            }
            return Poll::Ready(Received::Message(message));
        }
        if queues.ended {
            return Poll::Ready(Received::Gone);
        }
        wait(&mut queues.reader, cx);
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut queues = self.0.lock();
        if queues.ended || queues.closed {
            return Poll::Ready(Err(Gone));
        }
        if queues.outbox_bytes >= QUEUE_BYTES {
            wait(&mut queues.writer, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        let mut queues = self.0.lock();
        if queues.ended || queues.closed {
            return Err(Gone);
        }
        let header = LaneHeader {
            kind: LaneKind::Data,
            lane: self.0.lane,
        };
        let mut frame = Vec::with_capacity(LaneHeader::LEN + message.len());
        frame.extend_from_slice(&header.to_bytes());
        frame.extend_from_slice(&message);
        queues.outbox_bytes += frame.len();
        queues.outbox.push_back(Bytes::from(frame));
        Ok(())
    }

    /// The bounded queue is to a lane what the kernel's buffer is to a socket: what is in it counts as written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_ready(cx)
    }

    fn taken(&self) -> u64 {
        self.0.lock().taken
    }

    async fn close(&mut self, reason: Reason) {
        self.0.close(reason.close_code().unwrap_or(GOING_AWAY));
    }
}

impl Drop for LaneSocket {
    fn drop(&mut self) {
        self.0.close(GOING_AWAY);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn pair() -> (LaneEnd, LaneSocket) {
        lane(Lane::new(7))
    }

    async fn received(socket: &mut LaneSocket) -> Received {
        poll_fn(|cx| socket.poll_recv(cx)).await
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_read_before_it() {
        let (end, mut socket) = pair();
        end.deliver(Bytes::from_static(b"last words"));
        end.end();
        end.deliver(Bytes::from_static(b"from beyond"));
        assert_eq!(
            received(&mut socket).await,
            Received::Message(Bytes::from_static(b"last words"))
        );
        assert_eq!(received(&mut socket).await, Received::Gone);
        assert_eq!(socket.feed(vec![1]), Err(Gone));
    }

    #[tokio::test]
    async fn rl_4_both_queues_are_bounded_and_say_so() {
        let (end, mut socket) = pair();
        let mut fed = 0;
        while poll_fn(|cx| Poll::Ready(socket.poll_ready(cx).is_ready())).await {
            socket.feed(vec![0; 1024]).unwrap();
            fed += 1;
            assert!(fed <= QUEUE_BYTES / 1024, "it must stop");
        }
        assert_eq!(socket.taken(), 0, "nobody takes any of it");
        let frame = end.next_frame().unwrap();
        assert_eq!(socket.taken(), frame.len() as u64);
        assert!(poll_fn(|cx| Poll::Ready(socket.poll_ready(cx).is_ready())).await);

        while !end.is_full() {
            end.deliver(Bytes::from_static(&[0; 1024]));
        }
        received(&mut socket).await;
        assert!(!end.is_full());
        end.give_up();
        end.deliver(Bytes::from_static(&[0; 1024]));
        assert!(poll_fn(|cx| Poll::Ready(socket.poll_recv(cx).is_pending())).await);
    }

    #[tokio::test]
    async fn a_lane_is_closed_once_and_always() {
        let (end, mut socket) = pair();
        socket.feed(vec![9]).unwrap();
        socket.close(Reason::IdleTimeout).await;
        assert_eq!(socket.feed(vec![9]), Err(Gone));
        drop(socket);
        let lane = Lane::new(7);
        let said: Vec<_> = std::iter::from_fn(|| end.next_frame())
            .map(|frame| LaneFrame::decode(frame).unwrap())
            .collect();
        let payload = Bytes::from_static(&[9]);
        assert_eq!(
            said,
            [
                LaneFrame::Data { lane, payload },
                LaneFrame::Close { lane, code: 4410 }
            ]
        );

        let (end, socket) = pair();
        drop(socket);
        assert!(end.has_frames(), "a connection that vanishes is closed");
    }
}
