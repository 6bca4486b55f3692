//! The bare peer: a tokio-tungstenite echo, server and client, without Bowline code.
//!
//! It is optimised, so that the comparison is demanding: one task, one flush for all pending
//! messages, no Nagle. Messages have the size of a sealed `system.ping`. There are two variants,
//! because the library clears its read buffer before every read and the default buffer has 128 KiB.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config, client_async_with_config,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

use super::{
    Outcome,
    peer::{PeerProcess, listen},
    stats::timed,
};

/// Bytes of one message: the average size of a sealed `system.ping` and its answer.
pub(super) const MESSAGE: usize = 83;

/// Runs the echo server.
///
/// # Errors
/// The server cannot listen.
pub(super) async fn serve(buffers: Buffers) -> Outcome<()> {
    let listener = listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let config = buffers.config(2 << 10);
        tokio::spawn(async move {
            if let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await {
                poll_fn(|cx| echo(cx, &mut socket)).await;
            }
        });
    }
}

/// Echoes all pending messages, then flushes; ready when the peer has closed.
fn echo(cx: &mut Context<'_>, socket: &mut WebSocketStream<TcpStream>) -> Poll<()> {
    loop {
        match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                if Pin::new(&mut *socket).start_send(message).is_err() {
                    return Poll::Ready(());
                }
            }
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            Poll::Pending => {
                return match Pin::new(&mut *socket).poll_flush(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(()),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            }
        }
    }
}

/// Buffer sizes of an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Buffers {
    /// The library's defaults.
    Default,
    /// The same sizes as the daemon and the client.
    Small,
}

impl Buffers {
    fn config(self, read_buffer: usize) -> WebSocketConfig {
        let config = WebSocketConfig::default();
        match self {
            Self::Default => config,
            Self::Small => config
                .read_buffer_size(read_buffer)
                .write_buffer_size(16 << 10),
        }
    }
}

/// An echo as a separate process.
pub(super) struct EchoProcess {
    pub(super) process: PeerProcess<SocketAddr>,
    buffers: Buffers,
}

impl EchoProcess {
    /// Starts an echo and waits until it listens.
    ///
    /// # Errors
    /// The process does not start or listen.
    pub(super) fn start(buffers: Buffers) -> Outcome<Self> {
        let role = match buffers {
            Buffers::Default => "--echo-server=default",
            Buffers::Small => "--echo-server=small",
        };
        let process = PeerProcess::start(role)?;
        Ok(Self { process, buffers })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// The process has ended.
    pub(super) async fn connect(&self) -> Outcome<Echo> {
        Echo::connect(self.process.address, self.buffers).await
    }
}

/// Connects an echo to a forwarder, which pairs it with the next socket that connects. It runs in
/// this process until that socket closes.
///
/// # Errors
/// The forwarder does not accept.
pub(super) async fn behind(forwarder: SocketAddr, buffers: Buffers) -> Outcome<()> {
    let mut socket = Echo::connect(forwarder, buffers).await?.socket;
    tokio::spawn(async move { poll_fn(|cx| echo(cx, &mut socket)).await });
    Ok(())
}

/// A client of the echo.
pub(super) struct Echo {
    socket: WebSocketStream<TcpStream>,
    message: Bytes,
}

impl Echo {
    /// Connects: TCP and WebSocket.
    ///
    /// # Errors
    /// The echo does not accept.
    pub(super) async fn connect(address: SocketAddr, buffers: Buffers) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/");
        let config = buffers.config(16 << 10);
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        Ok(Self {
            socket,
            message: Bytes::from_static(&[7; MESSAGE]),
        })
    }

    /// Sequential round trips. Returns the time of each in microseconds.
    ///
    /// # Errors
    /// The echo closes the connection.
    pub(super) async fn round_trips(&mut self, count: usize) -> Outcome<Vec<f64>> {
        Ok(timed!(count, self.exchange(1, 1).await?))
    }

    /// Exchanges `count` messages with at most `window` unanswered.
    ///
    /// # Errors
    /// The echo closes the connection.
    pub(super) async fn exchange(&mut self, count: usize, window: usize) -> Outcome<()> {
        let (mut sent, mut received) = (0, 0);
        poll_fn(|cx| {
            loop {
                while sent < count && sent - received < window {
                    let message = Message::Binary(self.message.clone());
                    Pin::new(&mut self.socket).start_send(message)?;
                    sent += 1;
                }
                let mut progress = false;
                while let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) {
                    message.ok_or(Error::ConnectionClosed)??;
                    progress = true;
                    received += 1;
                    if received == count {
                        return Poll::Ready(Ok::<_, Error>(()));
                    }
                }
                if !progress || sent == count {
                    if let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx) {
                        flushed?;
                    }
                    if !progress {
                        return Poll::Pending;
                    }
                }
            }
        })
        .await?;
        Ok(())
    }
}
