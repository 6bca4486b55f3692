//! The server's end of a WebSocket as a [`MessageSocket`].
//!
//! Written here, on the pure codec of [`super::frames`], because thousands of quiet connections must hold no
//! buffers: what is read goes through one buffer of the thread, and what is written leaves nothing behind.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::{Reason, limits::MAX_NOISE_MESSAGE};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    Gone, MessageSocket, Received,
    frames::{self, Frame, Kind},
};

/// Bytes asked for in one read.
const CHUNK: usize = 16 * 1024;
/// Answers gather here until it is full or the turn ends: then one write to the socket. One more message fits
/// beside it, so the bound of the buffer is this and a Noise message.
const WRITE_BUFFER: usize = 16 * 1024;
/// What a quiet connection may keep of a buffer.
const KEEP: usize = 256;
/// What a peer still sends after our close frame is read and dropped up to here, in bytes: closing a socket with
/// unread data would reset it, and the peer would never see the reason.
const MAX_DRAIN: usize = 1 << 20;
/// How long a peer has to end its side after our close frame; it needs no more than one round trip.
const DRAIN: Duration = Duration::from_secs(1);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// The server's end of a WebSocket, after the HTTP upgrade.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    /// Bytes read that are no whole frame yet.
    input: BytesMut,
    /// Frames not written yet.
    output: BytesMut,
    /// The parts so far of a fragmented message.
    partial: Option<BytesMut>,
}

impl<S> WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Takes over a stream after the HTTP upgrade; `read` is what was read beyond it.
    pub fn accepted(stream: S, read: &[u8]) -> Self {
        Self {
            stream,
            input: BytesMut::from(read),
            output: BytesMut::new(),
            partial: None,
        }
    }

    /// Reads once; the number of bytes, zero at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, input, .. } = self;
        READ.with_borrow_mut(|chunk| {
            let mut read = ReadBuf::new(chunk);
            ready!(Pin::new(stream).poll_read(cx, &mut read))?;
            input.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output)) {
                Ok(written) if written > 0 => self.output.advance(written),
                _ => return Poll::Ready(Err(Gone)),
            }
        }
        if self.output.capacity() > KEEP {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// What a frame means; `None` for part of a message.
    fn take(&mut self, frame: Frame, cx: &mut Context<'_>) -> Option<Received> {
        let Frame {
            kind,
            last,
            payload,
        } = frame;
        match (kind, &mut self.partial) {
            (Kind::Ping, _) => {
                // Pongs are for peers that read; one that does not gets no heap of them.
                if self.output.len() < WRITE_BUFFER {
                    frames::put_pong(&mut self.output, &payload);
                    let _ = self.poll_write_out(cx);
                }
                Some(Received::Alive)
            }
            (Kind::Pong, _) => Some(Received::Alive),
            (Kind::Close, _) => {
                frames::put_close(&mut self.output, None);
                let _ = self.poll_write_out(cx);
                Some(Received::Gone)
            }
            (Kind::Binary, None) if last => Some(Received::Message(payload.freeze())),
            (Kind::Binary, partial @ None) => {
                *partial = Some(payload);
                None
            }
            (Kind::Continuation, Some(partial)) => {
                if partial.len() + payload.len() > MAX_NOISE_MESSAGE {
                    return Some(Received::Broken(Reason::CryptoFailed));
                }
                partial.extend_from_slice(&payload);
                let whole = if last { self.partial.take() } else { None };
                whole.map(|whole| Received::Message(whole.freeze()))
            }
            (Kind::Binary, Some(_)) | (Kind::Continuation, None) => {
                Some(Received::Broken(Reason::BadRequest))
            }
        }
    }
}

impl<S> MessageSocket for WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            match frames::take(&mut self.input) {
                Ok(Some(frame)) => {
                    if self.input.is_empty() {
                        // The message owns the memory now; the socket keeps none of it.
                        self.input = BytesMut::new();
                    }
                    if let Some(received) = self.take(frame, cx) {
                        return Poll::Ready(received);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(reason) => return Poll::Ready(Received::Broken(reason)),
            }
            match ready!(self.poll_read(cx)) {
                Ok(read) if read > 0 => {}
                _ => return Poll::Ready(Received::Gone),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.output.len() < WRITE_BUFFER {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(cx)
    }

    fn feed(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        frames::put_binary(&mut self.output, &message);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Gone)
    }

    async fn close(&mut self, reason: Reason) {
        frames::put_close(&mut self.output, Some(reason));
        let _ = self.stream.write_all_buf(&mut self.output).await;
        let _ = self.stream.shutdown().await;
        let drain = async {
            let (mut scratch, mut drained) = ([0; 1024], 0);
            while drained < MAX_DRAIN {
                match self.stream.read(&mut scratch).await {
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

    use bytes::Bytes;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{
            Message,
            protocol::{
                Role,
                frame::{
                    Frame as RawFrame,
                    coding::{Data, OpCode},
                },
            },
        },
    };

    use super::*;

    async fn pair() -> (WebSocketStream<DuplexStream>, WebSocket<DuplexStream>) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, WebSocket::accepted(server, b""))
    }

    async fn received(socket: &mut WebSocket<DuplexStream>) -> Received {
        poll_fn(|cx| socket.poll_recv(cx)).await
    }

    fn part(opcode: Data, last: bool, payload: &'static [u8]) -> Message {
        let payload = Bytes::from_static(payload);
        Message::Frame(RawFrame::message(payload, OpCode::Data(opcode), last))
    }

    #[tokio::test]
    async fn binary_messages_pass_and_everything_else_is_named() {
        let (mut client, mut server) = pair().await;
        let message = Bytes::from_static(b"x");
        client.send(Message::Binary(message.clone())).await.unwrap();
        client.send(Message::Ping(message.clone())).await.unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Message(message.clone())
        );
        assert_eq!(received(&mut server).await, Received::Alive);
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Pong(message)
        );
        client.send(Message::Text("x".into())).await.unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Broken(Reason::BadRequest)
        );
    }

    #[tokio::test]
    async fn messages_of_every_size_go_both_ways_and_leave_no_buffer_behind() {
        let (mut client, mut server) = pair().await;
        for size in [0, 1, 125, 126, 4_096, MAX_NOISE_MESSAGE] {
            let message = Bytes::from(vec![7; size]);
            client.send(Message::Binary(message.clone())).await.unwrap();
            assert_eq!(
                received(&mut server).await,
                Received::Message(message.clone())
            );
            poll_fn(|cx| server.poll_ready(cx)).await.unwrap();
            server.feed(message.to_vec()).unwrap();
            poll_fn(|cx| server.poll_flush(cx)).await.unwrap();
            assert_eq!(
                client.next().await.unwrap().unwrap(),
                Message::Binary(message)
            );
            assert_eq!(server.input.capacity(), 0);
            assert!(server.output.capacity() <= KEEP);
        }
    }

    #[tokio::test]
    async fn fragments_are_put_together_within_the_bound() {
        let (mut client, mut server) = pair().await;
        client
            .send(part(Data::Binary, false, b"one "))
            .await
            .unwrap();
        client.send(Message::Ping(Bytes::new())).await.unwrap();
        client
            .send(part(Data::Continue, false, b"two "))
            .await
            .unwrap();
        client
            .send(part(Data::Continue, true, b"three"))
            .await
            .unwrap();
        assert_eq!(received(&mut server).await, Received::Alive);
        let whole = Bytes::from_static(b"one two three");
        assert_eq!(received(&mut server).await, Received::Message(whole));
        client
            .send(part(Data::Continue, true, b"of nothing"))
            .await
            .unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Broken(Reason::BadRequest)
        );

        let (mut client, mut server) = pair().await;
        client
            .send(part(Data::Binary, false, &[0; 40_000]))
            .await
            .unwrap();
        client
            .send(part(Data::Continue, true, &[0; 40_000]))
            .await
            .unwrap();
        assert_eq!(
            received(&mut server).await,
            Received::Broken(Reason::CryptoFailed)
        );
    }

    #[tokio::test]
    async fn a_frame_longer_than_any_noise_message_is_refused_before_it_is_read() {
        let (mut client, mut server) = pair().await;
        let long = Message::Binary(vec![0; MAX_NOISE_MESSAGE + 1].into());
        client.send(long).await.unwrap();
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
    async fn a_close_is_answered() {
        let (mut client, mut server) = pair().await;
        client.close(None).await.unwrap();
        assert_eq!(received(&mut server).await, Received::Gone);
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(None));
    }

    #[tokio::test]
    async fn the_write_buffer_is_bounded_and_says_so() {
        let (client, server) = tokio::io::duplex(64);
        let mut server = WebSocket::accepted(server, b"");
        let mut fed = 0;
        while poll_fn(|cx| Poll::Ready(server.poll_ready(cx).is_ready())).await {
            server.feed(vec![0; 1024]).unwrap();
            fed += 1;
            assert!(fed * 1024 <= 2 * WRITE_BUFFER, "it must stop");
        }
        drop(client);
    }
}
