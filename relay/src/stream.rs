//! The byte stream under a WebSocket: TCP, with or without TLS.

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use bowline_protocol::relay::limits::{HEARTBEAT, SOCKET_STALL};

/// Unanswered probes after which the kernel drops a silent peer.
#[cfg(not(windows))]
const KEEPALIVE_PROBES: u32 = 3;

/// An accepted connection: plain TCP, behind a proxy or on a private network, or TLS. The latter is
/// boxed, because its buffers are many times the size of a socket.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Options of every socket. The kernel detects vanished peers, so that a quiet socket needs neither
/// a timer nor a wakeup.
pub(crate) fn prepare(stream: &TcpStream) {
    // Small messages are responses that people wait for; Nagle's algorithm would delay them.
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
