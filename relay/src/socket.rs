//! One WebSocket after its upgrade: bytes in, and a bounded queue of bytes out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::relay::{CloseText, limits::SOCKET_STALL};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

use crate::{
    places::Place,
    stream::Stream,
    websocket::{text_of_code, write_close, write_reason},
};

/// How long a peer has to take what it has not read yet, and the close frame after it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a peer has to end its side after our close frame; it needs no more than one round trip.
const DRAIN: Duration = Duration::from_secs(1);
/// What a peer still sends after our close frame is read and dropped up to here, in bytes: closing a socket with unread
/// data would reset it, and the peer would never see the reason.
const MAX_DRAIN: usize = 1 << 20;

/// The socket ended, one way or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// A WebSocket, without the reader of its frames.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// What was read together with the upgrade request.
    early: Vec<u8>,
    /// What the peer has not taken yet.
    queue: BytesMut,
    /// TLS keeps bytes of its own until it is flushed.
    unflushed: bool,
    /// Since when nothing of the queue went out.
    stalled: Option<Instant>,
    /// Held for as long as the socket lives.
    _place: Place,
}

impl Socket {
    pub(crate) fn new(stream: Stream, early: Vec<u8>, place: Place) -> Self {
        Self {
            stream,
            early,
            queue: BytesMut::new(),
            unflushed: false,
            stalled: None,
            _place: place,
        }
    }

    /// Bytes waiting to go out.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether everything has gone out, of the layers below as well.
    pub(crate) fn is_clear(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    /// When the socket has let nothing through for too long; `None` while nothing waits.
    pub(crate) fn stall_deadline(&self) -> Option<Instant> {
        self.stalled.map(|since| since + SOCKET_STALL)
    }

    /// Reads what there is, at least one byte.
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

    /// Sends bytes; what the peer does not take now is queued, and the caller is woken when it takes more.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> Result<(), Lost> {
        if self.queue.is_empty() {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Lost),
                    Poll::Ready(Ok(written)) => {
                        self.unflushed = true;
                        bytes = bytes.get(written..).unwrap_or_default();
                    }
                    Poll::Pending => {
                        self.stalled = Some(Instant::now());
                        break;
                    }
                }
            }
        }
        self.queue.extend_from_slice(bytes);
        self.flush_stream(cx).map(|_| ())
    }

    /// Queues bytes for the next [`Socket::poll_flush`].
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.stalled.get_or_insert_with(Instant::now);
            self.queue.extend_from_slice(bytes);
        }
    }

    /// Writes what waits. Ready: nothing does any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.queue.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.queue)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Lost)),
                Ok(written) => {
                    self.queue.advance(written);
                    self.unflushed = true;
                    self.stalled = Some(Instant::now());
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

    /// Whether nothing is left in the layers below.
    fn flush_stream(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        if self.unflushed {
            // TCP has no such layers; this is for TLS.
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Err(Lost),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(false);
                }
            }
        }
        if self.queue.is_empty() {
            self.stalled = None;
        }
        Ok(true)
    }

    /// Ends the socket with a reason, in a task of its own.
    pub(crate) fn dismiss(self, text: CloseText) {
        let mut frame = Vec::new();
        write_reason(&mut frame, text);
        tokio::spawn(self.part(frame));
    }

    /// Ends the socket with a close code that somebody else chose, in a task of its own.
    pub(crate) fn dismiss_with(self, code: u16) {
        let mut frame = Vec::new();
        write_close(&mut frame, code, text_of_code(code));
        tokio::spawn(self.part(frame));
    }

    /// Says the last words and sees to it that they arrive.
    async fn part(mut self, frame: Vec<u8>) {
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
