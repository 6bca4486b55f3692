//! A WebSocket as a transport.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_net::Count;
use bowline_protocol::{Claim, Reason, relay::CloseText};
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, error::CapacityError, protocol::CloseFrame},
};

use super::{BoxFuture, Closed, Transport};

/// Bytes of the largest message whose memory the next one uses again.
const KEEP: usize = 16 * 1024;

/// One WebSocket.
pub(super) struct WebSocketTransport<S> {
    socket: WebSocketStream<S>,
    /// Memory of outgoing messages.
    outgoing: BytesMut,
    /// Byte counter of the underlying connection.
    count: Count,
}

impl<S> WebSocketTransport<S> {
    pub(super) fn new(socket: WebSocketStream<S>, count: Count) -> Self {
        Self {
            socket,
            outgoing: BytesMut::new(),
            count,
        }
    }
}

fn closed(error: &Error) -> Closed {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Reason::MessageTooLarge.into(),
        _ => Reason::ConnectionLost.into(),
    }
}

/// The content of a close frame, which anyone on the path can write.
fn said(frame: Option<&CloseFrame>) -> Closed {
    let claim = Claim::of_close_code(frame.map(|frame| u16::from(frame.code)));
    Closed::claimed(
        claim,
        frame.and_then(|frame| CloseText::retry_after(&frame.reason)),
    )
}

impl<S> Transport for WebSocketTransport<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(bytes)),
                // The library answers pings; their bytes are counted.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    return Poll::Ready(Err(said(frame.as_ref())));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(Reason::BadRequest.into()));
                }
                Some(Err(error)) => return Poll::Ready(Err(closed(&error))),
                None => return Poll::Ready(Err(Reason::ConnectionLost.into())),
            }
        }
    }

    fn received(&self) -> u64 {
        self.count.get()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.socket)
            .poll_ready(cx)
            .map_err(|error| closed(&error))
    }

    fn queue(&mut self, message: &[u8]) -> Result<(), Closed> {
        let message = if message.len() > KEEP {
            Bytes::copy_from_slice(message)
        } else {
            self.outgoing.extend_from_slice(message);
            self.outgoing.split().freeze()
        };
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message))
            .map_err(|error| closed(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.socket)
            .poll_flush(cx)
            .map_err(|error| closed(&error))
    }

    fn close(mut self: Box<Self>, reason: Reason) -> BoxFuture<()> {
        Box::pin(async move {
            // 1000 is WebSocket's code for a normal closure.
            let code = reason.close_code().unwrap_or(1000);
            let frame = CloseFrame {
                code: code.into(),
                reason: reason.as_str().into(),
            };
            let _ = self.socket.close(Some(frame)).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use bowline_net::counted;

    use super::*;

    #[tokio::test]
    async fn ls_16_parts_of_a_message_and_pings_count_as_received() {
        let (near, mut far) = duplex(1024);
        let (near, count) = counted(near);
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut transport = WebSocketTransport::new(socket, count);
        // An empty ping, then a binary message of four bytes in three parts.
        let parts: [&[u8]; 4] = [&[0x89, 0], &[0x82, 4], &[1, 2], &[3]];
        let mut sent = 0;
        for part in parts {
            far.write_all(part).await.unwrap();
            sent += part.len() as u64;
            let pending = poll_fn(|cx| Poll::Ready(transport.poll_recv(cx).is_pending())).await;
            assert!(pending, "nothing is complete");
            assert_eq!(transport.received(), sent);
        }
        far.write_all(&[4]).await.unwrap();
        let message = poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        assert_eq!(&message[..], [1, 2, 3, 4]);
        assert_eq!(transport.received(), sent + 1);
    }
}
