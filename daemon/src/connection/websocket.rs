//! The WebSocket as a [`MessageSocket`], with buffers sized for thousands of quiet connections.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::{Reason, limits::MAX_NOISE_MESSAGE};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Gone, MessageSocket, Received};

/// Every connection keeps it for its whole life, so it is small; larger messages grow it
/// temporarily.
const READ_BUFFER: usize = 2 * 1024;
/// Responses are buffered until it is full or the round ends, then written to the socket at once.
const WRITE_BUFFER: usize = 16 * 1024;
/// Room for one more message beyond a full buffer.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + MAX_NOISE_MESSAGE + 64;
/// Limit of the bytes read and dropped after the close frame was sent. Closing a socket with unread
/// data would reset it, and the peer would never see the reason.
const MAX_DRAIN: usize = 1 << 20;

/// Time a peer has to close its side after the close frame; one round trip suffices.
const DRAIN: Duration = Duration::from_secs(1);

/// The server's end of a WebSocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    inner: WebSocketStream<Counted<S>>,
}

/// A byte stream that counts the written bytes.
#[derive(Debug)]
struct Counted<S> {
    stream: S,
    taken: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.taken += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Takes a stream after the HTTP upgrade; `read` are the bytes already read beyond it.
    pub async fn accepted(stream: S, read: &[u8]) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(MAX_NOISE_MESSAGE))
            .max_frame_size(Some(MAX_NOISE_MESSAGE));
        let stream = Counted { stream, taken: 0 };
        let inner =
            WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Server, Some(config));
        Self { inner: inner.await }
    }
}

/// Close reason for a peer that violated the WebSocket protocol; `None` if the socket has ended.
fn violation(error: &Error) -> Option<Reason> {
    match error {
        // A frame longer than any Noise message cannot contain one (`docs/protocol.md` §7).
        Error::Capacity(_) => Some(Reason::CryptoFailed),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        Error::Protocol(_) | Error::Utf8(_) => Some(Reason::BadRequest),
        _ => None,
    }
}

impl<S> MessageSocket for WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
            Some(Ok(Message::Binary(message))) => Received::Message(message),
            Some(Ok(Message::Text(_))) => Received::Broken(Reason::BadRequest),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Received::Alive,
            Some(Ok(Message::Close(_))) => {
                // Sends the answer that RFC 6455 §5.5.1 asks for. What the socket does not take at
                // once is left out: the peer has gone.
                let _ = Pin::new(&mut self.inner).poll_flush(cx);
                Received::Gone
            }
            Some(Ok(Message::Frame(_))) | None => Received::Gone,
            Some(Err(error)) => violation(&error).map_or(Received::Gone, Received::Broken),
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Pin::new(&mut self.inner).poll_ready(cx).map_err(|_| Gone)
    }

    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        let message = Message::Binary(Bytes::from(message));
        Pin::new(&mut self.inner)
            .start_send(message)
            .map_err(|_| Gone)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(|_| Gone)
    }

    fn taken(&self) -> u64 {
        self.inner.get_ref().taken
    }

    async fn close(&mut self, reason: Reason) {
        if reason.close_code().is_some() {
            let (code, text) = reason.in_clear();
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: text.into(),
            };
            let _ = self.inner.send(Message::Close(Some(frame))).await;
        }
        let stream = self.inner.get_mut();
        let _ = stream.shutdown().await;
        let drain = async {
            let (mut scratch, mut drained) = ([0; 1024], 0);
            while drained < MAX_DRAIN {
                match stream.read(&mut scratch).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => drained += read,
                }
            }
        };
        let _ = timeout(DRAIN, drain).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::StreamExt;
    use tokio::io::DuplexStream;

    use super::*;

    async fn pair() -> (WebSocketStream<DuplexStream>, WebSocket<DuplexStream>) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, WebSocket::accepted(server, b"").await)
    }

    async fn received(socket: &mut WebSocket<DuplexStream>) -> Received {
        poll_fn(|cx| socket.poll_recv(cx)).await
    }

    #[tokio::test]
    async fn binary_messages_pass_and_everything_else_is_named() {
        let (mut client, mut server) = pair().await;
        client
            .send(Message::Binary(Bytes::from_static(b"x")))
            .await
            .unwrap();
        client.send(Message::Ping(Bytes::new())).await.unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Message(Bytes::from_static(b"x"))
        );
        assert_eq!(received(&mut server).await, Received::Alive);
        client.send(Message::Text("x".into())).await.unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Broken(Reason::BadRequest)
        );
    }

    #[tokio::test]
    async fn a_close_frame_is_answered() {
        let (mut client, mut server) = pair().await;
        client.send(Message::Close(None)).await.unwrap();
        assert_eq!(received(&mut server).await, Received::Gone);
        drop(server);
        let answer = client.next().await.unwrap();
        assert!(matches!(answer, Ok(Message::Close(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_frame_longer_than_any_noise_message_is_refused_before_it_is_read() {
        let (mut client, mut server) = pair().await;
        client
            .send(Message::Binary(vec![0; MAX_NOISE_MESSAGE].into()))
            .await
            .unwrap();
        assert!(matches!(received(&mut server).await, Received::Message(_)));
        client
            .send(Message::Binary(vec![0; MAX_NOISE_MESSAGE + 1].into()))
            .await
            .unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Broken(Reason::CryptoFailed)
        );
        let close = tokio::spawn(async move { server.close(Reason::CryptoFailed).await });
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else {
            panic!("no close frame");
        };
        assert_eq!(
            (u16::from(frame.code), frame.reason.as_str()),
            (4440, "crypto_failed")
        );
        drop(client);
        close.await.unwrap();
    }

    #[tokio::test]
    async fn ls_19_what_the_stream_takes_is_counted_and_not_what_waits_for_it() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = WebSocket::accepted(server, b"").await;
        server.feed(vec![0; 1024]).unwrap();
        assert_eq!(server.taken(), 0, "it is only buffered");
        let flush = async |server: &mut WebSocket<DuplexStream>| {
            poll_fn(|cx| Poll::Ready(server.poll_flush(cx).is_ready())).await
        };
        assert!(!flush(&mut server).await);
        assert_eq!(server.taken(), 64);
        client.read_exact(&mut [0; 10]).await.unwrap();
        assert!(!flush(&mut server).await);
        assert_eq!(server.taken(), 74);
    }

    #[tokio::test]
    async fn the_write_buffer_is_bounded_and_says_so() {
        let (client, server) = tokio::io::duplex(64);
        let mut server = WebSocket::accepted(server, b"").await;
        let mut fed = 0;
        while poll_fn(|cx| Poll::Ready(server.poll_ready(cx).is_ready())).await {
            server.feed(vec![0; 1024]).unwrap();
            fed += 1;
            assert!(fed * 1024 <= 2 * WRITE_BUFFER, "it must stop");
        }
        drop(client);
    }
}
