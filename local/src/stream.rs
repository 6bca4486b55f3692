//! The bytes of one connection, whichever side opened it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::platform;

/// One connection of a local socket: a byte stream both ways.
///
/// A Unix domain socket can end one direction and read on in the other; a named pipe cannot, there
/// [`AsyncWrite::poll_shutdown`] only flushes, and dropping it ends both. What was written before is read either way.
#[derive(Debug)]
pub struct Stream(platform::Stream);

impl Stream {
    pub(crate) const fn new(stream: platform::Stream) -> Self {
        Self(stream)
    }

    /// Whether the peer is gone, and not only silent: after the end of what it sends this tells one that still reads its
    /// answers from one that was killed.
    pub fn is_peer_gone(&self) -> bool {
        platform::is_peer_gone(&self.0)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
