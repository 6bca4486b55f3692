//! A WebSocket as a transport.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_protocol::Reason;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, error::CapacityError, protocol::CloseFrame},
};

use super::{BoxFuture, Closed, Transport, connector::reason_of};

/// One WebSocket.
pub(super) struct WebSocketTransport<S> {
    socket: WebSocketStream<S>,
}

impl<S> WebSocketTransport<S> {
    pub(super) const fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket }
    }
}

fn closed(error: &Error) -> Closed {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Reason::MessageTooLarge.into(),
        _ => Reason::ConnectionLost.into(),
    }
}

impl<S> Transport for WebSocketTransport<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(bytes)),
                // The library answers pings itself; both count as received bytes only with what follows.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    return Poll::Ready(Err(reason_of(frame.as_ref()).into()));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(Reason::BadRequest.into()));
                }
                Some(Err(error)) => return Poll::Ready(Err(closed(&error))),
                None => return Poll::Ready(Err(Reason::ConnectionLost.into())),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.socket)
            .poll_ready(cx)
            .map_err(|error| closed(&error))
    }

    fn queue(&mut self, message: Vec<u8>) -> Result<(), Closed> {
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message.into()))
            .map_err(|error| closed(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.socket)
            .poll_flush(cx)
            .map_err(|error| closed(&error))
    }

    fn close(mut self: Box<Self>, reason: Reason) -> BoxFuture<()> {
        Box::pin(async move {
            // 1000 is the WebSocket's own code for an end without a fault.
            let code = reason.close_code().unwrap_or(1000);
            let frame = CloseFrame {
                code: code.into(),
                reason: reason.as_str().into(),
            };
            let _ = self.socket.close(Some(frame)).await;
        })
    }
}
