//! One lane: a client socket behind a relay, as a socket of messages (RL-3, INV-4).
//!
//! The data socket's task and the connection's driver share a pair of bounded queues. Both run in
//! one task, so the lock is never contended. A full queue acts as a full kernel buffer: the writer
//! waits for the reader, and the sweep closes a stalled connection (LS-19).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bowline_machines::relay::lane::{LaneFlow, SendRoom};
use bowline_protocol::{
    Reason,
    relay::{Lane, LaneFrame, LaneHeader, LaneKind},
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::connection::{Gone, MessageSocket, Received};

/// Close code of a connection that closes without a reason for the client: 1001, going away.
const GOING_AWAY: u16 = 1001;

/// Both queues of one lane. The machine `flow` bounds them.
#[derive(Debug, Default)]
struct Queues {
    flow: LaneFlow,
    /// Messages for the connection.
    inbox: VecDeque<Bytes>,
    /// Frames for the relay.
    outbox: VecDeque<Bytes>,
    reader: AtomicWaker,
    writer: AtomicWaker,
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

    /// Passes a message to the connection. The caller checks [`LaneEnd::is_full`] before it reads
    /// the next.
    pub(super) fn deliver(&self, message: &[u8]) {
        let mut queues = self.lock();
        if queues.flow.deliver(message.len()) {
            // A copy, because the message shares the memory of whatever was read with it, and would
            // keep all of that (TR-8).
            queues.inbox.push_back(Bytes::copy_from_slice(message));
            queues.reader.wake();
        }
    }

    /// The connection does not keep up.
    pub(super) fn is_full(&self) -> bool {
        self.lock().flow.is_full()
    }

    /// Drops the pending and future messages of a connection that does not read.
    pub(super) fn give_up(&self) {
        let mut queues = self.lock();
        queues.flow.give_up();
        queues.inbox = VecDeque::new();
    }

    /// The client socket has closed: the connection reads the pending messages, then the end.
    pub(super) fn end(&self) {
        let mut queues = self.lock();
        queues.flow.end();
        queues.outbox = VecDeque::new();
        queues.reader.wake();
        queues.writer.wake();
    }

    /// The next frame for the relay.
    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let mut queues = self.lock();
        let frame = queues.outbox.pop_front()?;
        queues.flow.on_taken(frame.len());
        if queues.flow.send_room() == SendRoom::Free {
            queues.writer.wake();
        }
        if queues.outbox.is_empty() && queues.outbox.capacity() > 64 {
            // An idle lane does not keep the capacity that a burst needed.
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
        let lane = self.lane;
        let frame = LaneFrame::Close { lane, code }.encode();
        if queues.flow.close(frame.len()) {
            queues.outbox.push_back(frame);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No code panics while the lock is held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageSocket for LaneSocket {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let mut queues = self.0.lock();
        if let Some(message) = queues.inbox.pop_front() {
            queues.flow.on_read(message.len());
            if queues.inbox.is_empty() && queues.inbox.capacity() > 64 {
                queues.inbox = VecDeque::new();
            }
            return Poll::Ready(Received::Message(message));
        }
        if queues.flow.has_ended() {
            return Poll::Ready(Received::Gone);
        }
        queues.reader.register(cx.waker());
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let queues = self.0.lock();
        match queues.flow.send_room() {
            SendRoom::Free => Poll::Ready(Ok(())),
            SendRoom::Gone => Poll::Ready(Err(Gone)),
            SendRoom::Full => {
                queues.writer.register(cx.waker());
                Poll::Pending
            }
        }
    }

    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        let mut queues = self.0.lock();
        if queues.flow.send_room() == SendRoom::Gone {
            return Err(Gone);
        }
        let header = LaneHeader {
            kind: LaneKind::Data,
            lane: self.0.lane,
        };
        let mut frame = Vec::with_capacity(LaneHeader::LEN + message.len());
        frame.extend_from_slice(&header.to_bytes());
        frame.extend_from_slice(&message);
        queues.flow.send(frame.len());
        queues.outbox.push_back(Bytes::from(frame));
        Ok(())
    }

    /// Frames in the bounded queue count as written, as bytes in the kernel's buffer do for a
    /// socket.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_ready(cx)
    }

    fn taken(&self) -> u64 {
        self.0.lock().flow.taken()
    }

    async fn close(&mut self, reason: Reason) {
        let code = reason.close_code().map(|_| reason.in_clear().0);
        self.0.close(code.unwrap_or(GOING_AWAY));
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

    use bowline_protocol::relay::limits::QUEUE_BYTES;

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
        end.deliver(b"last words");
        end.end();
        end.deliver(b"from beyond");
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
            end.deliver(&[0; 1024]);
        }
        received(&mut socket).await;
        assert!(!end.is_full());
        end.give_up();
        end.deliver(&[0; 1024]);
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
