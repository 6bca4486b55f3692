//! The bare peer: a tokio-tungstenite echo, server and client, with nothing of ours in between.
//!
//! It is made well, so that the comparison is hard: one task, everything that waits is taken before one flush, no
//! Nagle. Its messages have the size of a sealed `system.ping`. It comes in two kinds, since the library clears its
//! read buffer for every read, and by default that has 128 KiB.

use std::{
    future::poll_fn,
    io::Write,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config, client_async_with_config,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

use super::{Outcome, stats};

/// Bytes of one message: what `system.ping` and its answer have on average, sealed.
pub(super) const MESSAGE: usize = 83;

/// The echo's whole life.
///
/// # Errors
/// When it cannot listen.
pub(super) fn serve(buffers: Buffers) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        bowline_program::say!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
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
    })
}

/// Echoes everything that waits, then flushes; ready when the peer has gone.
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

/// What an echo's buffers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Buffers {
    /// As the library has them.
    Default,
    /// As small as the daemon's and the client's.
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

/// A client of the echo.
pub(super) struct Echo {
    socket: WebSocketStream<TcpStream>,
    message: Bytes,
}

impl Echo {
    /// Connects: TCP and WebSocket.
    ///
    /// # Errors
    /// When the echo is not there.
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

    /// Round trips, one at a time; each in microseconds.
    ///
    /// # Errors
    /// When the echo goes away.
    pub(super) async fn round_trips(&mut self, count: usize) -> Outcome<Vec<f64>> {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.exchange(1, 1).await?;
            samples.push(stats::micros_since(start));
        }
        Ok(samples)
    }

    /// So many messages with at most `window` unanswered.
    ///
    /// # Errors
    /// When the echo goes away.
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
