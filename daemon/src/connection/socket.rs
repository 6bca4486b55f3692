//! Interface of a connection's socket, for every transport: whole binary messages in both
//! directions.

use std::{
    future::Future,
    task::{Context, Poll},
};

use bowline_protocol::Reason;
use bytes::Bytes;

/// The socket has ended; no more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Input of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// One binary message.
    Message(Bytes),
    /// No message, but a sign of liveness (a WebSocket ping or pong).
    Alive,
    /// The peer closed or vanished.
    Gone,
    /// The peer violated the socket's protocol; no more can be received.
    Broken(Reason),
}

/// One socket of binary messages: a WebSocket, or a lane of a relay's data socket.
///
/// Polled rather than awaited, so that the driver takes all pending input and flushes once.
pub trait MessageSocket: Send + Unpin + 'static {
    /// The next thing received.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received>;

    /// Whether one more message may be fed within the limit of the write buffer.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Feeds one message. Only after [`MessageSocket::poll_ready`] was ready.
    ///
    /// # Errors
    /// [`Gone`].
    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone>;

    /// Writes all fed messages.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Bytes taken so far by the underlying transport, without those in a buffer of its own.
    fn taken(&self) -> u64;

    /// Sends the close reason and ends the socket such that the peer can read it. The caller bounds
    /// the time.
    fn close(&mut self, reason: Reason) -> impl Future<Output = ()> + Send;
}
