//! One WebSocket after its upgrade: received bytes, and a bounded queue of bytes to send.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_machines::relay::session::Ending;
use bowline_protocol::relay::{CloseText, limits::QUEUE_BYTES};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use crate::{
    connection_limits::ConnectionPermit,
    stream::Stream,
    websocket::{NORMAL, text_of_code, write_close, write_reason},
};

/// Longest wait until the peer has taken the queued bytes and the close frame.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Longest wait for the peer to close its side after the close frame: one round trip is enough.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes read and dropped after the close frame. A socket closed with unread data is reset, and the
/// peer would not see the reason.
const MAX_DRAIN: usize = 1 << 20;

/// The socket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// A WebSocket, without the reader of its frames.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Bytes read together with the upgrade request.
    early: Vec<u8>,
    /// Bytes the peer has not taken yet.
    queue: BytesMut,
    /// TLS buffers bytes of its own until it is flushed.
    unflushed: bool,
    /// Held for the life of the socket.
    _permit: ConnectionPermit,
}

impl Socket {
    pub(crate) fn new(stream: Stream, early: Vec<u8>, permit: ConnectionPermit) -> Self {
        Self {
            stream,
            early,
            queue: BytesMut::new(),
            unflushed: false,
            _permit: permit,
        }
    }

    /// Bytes waiting to go out.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether all bytes were sent, by the layers below too.
    pub(crate) fn is_clear(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    /// Reads the available bytes, at least one.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Lost>> {
        if !self.early.is_empty() {
            let read = self.early.len().min(into.len());
            for (to, from) in into.iter_mut().zip(self.early.drain(..read)) {
                *to = from;
            }
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            return Poll::Ready(Ok(read));
        }
        let mut buf = ReadBuf::new(into);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => Poll::Ready(Ok(buf.filled().len())),
            Ok(()) | Err(_) => Poll::Ready(Err(Lost)),
        }
    }

    /// Sends bytes. Those the peer does not take now are queued, and the task is woken when it
    /// takes more.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> Result<(), Lost> {
        if self.queue.is_empty() {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Lost),
                    Poll::Ready(Ok(written)) => {
                        self.unflushed = true;
                        bytes = bytes.get(written..).unwrap_or_default();
                    }
                    Poll::Pending => break,
                }
            }
        }
        self.queue.extend_from_slice(bytes);
        self.flush_stream(cx).map(|_| ())
    }

    /// Queues bytes for the next [`Socket::poll_flush`].
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
    }

    /// Sends responses to pings, unless the queue is full: the peer then does not read them.
    pub(crate) fn answer(&mut self, cx: &mut Context<'_>, pongs: &[u8]) -> Result<(), Lost> {
        if pongs.is_empty() || self.queued() > QUEUE_BYTES {
            return Ok(());
        }
        self.send(cx, pongs)
    }

    /// Writes queued bytes. Returns whether any were sent.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let before = self.queued();
        match self.poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(self.queued() < before),
        }
    }

    /// Writes queued bytes. Ready when none are left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.queue.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.queue)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Lost)),
                Ok(written) => {
                    self.queue.advance(written);
                    self.unflushed = true;
                    if self.queue.is_empty() {
                        // A quiet socket holds no memory.
                        self.queue = BytesMut::new();
                    }
                }
            }
        }
        match self.flush_stream(cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(lost) => Poll::Ready(Err(lost)),
        }
    }

    /// Whether the layers below have no bytes left.
    fn flush_stream(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        if self.unflushed {
            // TCP has no such layers; this is for TLS.
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Err(Lost),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Closes the socket as its ending requires.
    pub(crate) fn end(self, ending: Ending) {
        match ending {
            Ending::Lost => drop(self),
            Ending::ByPeer(code) | Ending::ByDaemon(code) => self.close_with(code),
            Ending::ByRelay(text) => self.close(text),
            Ending::Finished => self.close_with(NORMAL),
        }
    }

    /// Closes the socket with a reason, in a separate task.
    pub(crate) fn close(self, text: CloseText) {
        let mut frame = Vec::new();
        write_reason(&mut frame, text);
        tokio::spawn(self.send_close(frame));
    }

    /// Closes the socket with a close code of its other side, in a separate task.
    pub(crate) fn close_with(self, code: u16) {
        let mut frame = Vec::new();
        write_close(&mut frame, code, text_of_code(code));
        tokio::spawn(self.send_close(frame));
    }

    /// Sends the queued bytes and the close frame, then waits until the peer has read them.
    async fn send_close(mut self, frame: Vec<u8>) {
        self.queue(&frame);
        let flushed = std::future::poll_fn(|cx| self.poll_flush(cx));
        if timeout(LAST_WORDS, flushed).await != Ok(Ok(())) {
            return;
        }
        let drain = async {
            if self.stream.shutdown().await.is_err() {
                return;
            }
            let (mut dropped, mut drained) = ([0; 1024], 0);
            while drained < MAX_DRAIN {
                match self.stream.read(&mut dropped).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => drained += read,
                }
            }
        };
        let _ = timeout(DRAIN, drain).await;
    }
}
