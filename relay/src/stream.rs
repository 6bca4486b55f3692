//! The bytes under a WebSocket: TCP, or TLS on it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use bowline_protocol::relay::limits::{HEARTBEAT, SOCKET_STALL};

/// Probes without answer after which the kernel gives a silent peer up.
#[cfg(not(windows))]
const KEEPALIVE_PROBES: u32 = 3;

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Behind a proxy, or on an own network.
    Plain(TcpStream),
    /// Boxed, because its buffers are many times the size of a socket.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Options of every socket. The kernel watches for peers that vanished, so that a quiet socket costs us neither a
/// timer nor a wakeup.
pub(crate) fn prepare(stream: &TcpStream) {
    // Small messages are what people wait for; Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(4 * HEARTBEAT)
        .with_interval(HEARTBEAT);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(SOCKET_STALL));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = SOCKET_STALL;
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
