//! What a connection needs of its socket, whatever carries it: whole binary messages, both ways.

use std::{
    future::Future,
    task::{Context, Poll},
};

use bowline_protocol::Reason;
use bytes::Bytes;

/// The socket is of no more use; nothing else can be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What a socket brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// One binary message.
    Message(Bytes),
    /// Nothing for us, but proof of life (a WebSocket ping or pong).
    Alive,
    /// The peer closed or vanished.
    Gone,
    /// The peer broke the rules of the socket; nothing more can be received from it.
    Broken(Reason),
}

/// One socket of binary messages: a WebSocket, or a lane of a relay's data socket.
///
/// Polled, not awaited, so that the driver takes everything that is waiting and flushes once.
pub trait MessageSocket: Send + Unpin + 'static {
    /// The next thing received.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received>;

    /// Whether one more message may be fed without growing the write buffer over its bound.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Takes one message to be written. Only after [`MessageSocket::poll_ready`] said yes.
    ///
    /// # Errors
    /// [`Gone`].
    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone>;

    /// Writes out everything fed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Bytes taken so far by whatever carries this socket, those in a buffer of its own not counted.
    fn taken(&self) -> u64;

    /// Says why, and ends the socket such that the peer can read it. The caller bounds the time.
    fn close(&mut self, reason: Reason) -> impl Future<Output = ()> + Send;
}
