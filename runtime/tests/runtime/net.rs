//! An in-memory network: listening addresses, and pipes whose ends can be dropped, filled and left
//! unread.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bowline_protocol::Reason;
use bowline_runtime::{
    Failure,
    transport::{BoxFuture, Closed, Connector, Target, Transport},
};
use bowline_testkit::peer::MessageSocket;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Messages that a pipe buffers before its writer must wait.
const CAPACITY: usize = 64;

#[derive(Default)]
struct PipeState {
    queue: VecDeque<Bytes>,
    /// Received bytes, including incomplete messages.
    arrived: u64,
    closed: Option<Reason>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One direction.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<PipeState>>);

impl Pipe {
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        let mut state = self.0.lock().unwrap();
        if let Some(message) = state.queue.pop_front() {
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(message));
        }
        if let Some(reason) = state.closed {
            return Poll::Ready(Err(reason.into()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = self.0.lock().unwrap();
        if let Some(reason) = state.closed {
            return Poll::Ready(Err(reason.into()));
        }
        if state.queue.len() < CAPACITY {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn push(&self, message: Bytes) -> Result<(), Closed> {
        let mut state = self.0.lock().unwrap();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        state.arrived += message.len() as u64;
        state.queue.push_back(message);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    /// Delivers part of a message.
    fn trickle(&self, bytes: u64) {
        let mut state = self.0.lock().unwrap();
        state.arrived += bytes;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn arrived(&self) -> u64 {
        self.0.lock().unwrap().arrived
    }

    fn close(&self, reason: Reason) {
        let mut state = self.0.lock().unwrap();
        state.closed.get_or_insert(reason);
        let wakers = [state.reader.take(), state.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// One end of a connection; dropping it ends the connection.
pub(crate) struct End {
    incoming: Pipe,
    outgoing: Pipe,
}

impl End {
    fn pair() -> (Self, Self) {
        let (one, other) = (Pipe::default(), Pipe::default());
        let near = Self {
            incoming: one.clone(),
            outgoing: other.clone(),
        };
        let far = Self {
            incoming: other,
            outgoing: one,
        };
        (near, far)
    }

    /// Delivers part of a message to the other side.
    pub(crate) fn trickle(&self, bytes: u64) {
        self.outgoing.trickle(bytes);
    }
}

impl MessageSocket for End {
    async fn receive(&mut self) -> Option<Bytes> {
        let received = std::future::poll_fn(|cx| self.incoming.poll_recv(cx)).await;
        received.ok()
    }

    /// Sends even if the other side does not read.
    fn send(&self, message: Vec<u8>) {
        let _ = self.outgoing.push(message.into());
    }

    fn close(&self, reason: Reason) {
        self.outgoing.close(reason);
        self.incoming.close(reason);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        MessageSocket::close(self, Reason::ConnectionLost);
    }
}

impl Transport for End {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        self.incoming.poll_recv(cx)
    }

    fn received(&self) -> u64 {
        self.incoming.arrived()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.outgoing.poll_ready(cx)
    }

    fn queue(&mut self, message: &[u8]) -> Result<(), Closed> {
        self.outgoing.push(message.to_vec().into())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn close(self: Box<Self>, reason: Reason) -> BoxFuture<()> {
        MessageSocket::close(&*self, reason);
        Box::pin(std::future::ready(()))
    }
}

/// The network.
#[derive(Clone, Default)]
pub(crate) struct Net {
    listeners: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<End>>>>,
}

impl Net {
    /// Listens on an address until the receiver is dropped.
    pub(crate) fn listen(&self, address: &str) -> mpsc::UnboundedReceiver<End> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listeners = self.listeners.lock().unwrap();
        listeners.insert(address.to_owned(), sender);
        receiver
    }

    /// Stops listening on an address.
    pub(crate) fn refuse(&self, address: &str) {
        self.listeners.lock().unwrap().remove(address);
    }
}

impl Connector for Net {
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>> {
        let (near, far) = End::pair();
        let listeners = self.listeners.lock().unwrap();
        let listener = listeners.get(&target.address.address);
        let reached = listener.is_some_and(|listener| listener.send(far).is_ok());
        Box::pin(std::future::ready(if reached {
            Ok(Box::new(near) as Box<dyn Transport>)
        } else {
            Err(Failure::new(Reason::Unreachable, "nothing listens there"))
        }))
    }
}
