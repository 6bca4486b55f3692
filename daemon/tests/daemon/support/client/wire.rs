//! The socket of a client, before and below the handshake.

use std::net::SocketAddr;

use bowline_protocol::{SESSION_PATH, SUBPROTOCOL};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support::within;

/// A WebSocket to a daemon, before the handshake.
pub(crate) struct Wire {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

/// How a socket ended: the close code, if there was one.
pub(crate) type Ended = Option<u16>;

impl Wire {
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        Self::dial_path(address, SESSION_PATH).await
    }

    pub(crate) async fn dial_path(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let dialed = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = within("the upgrade", dialed).await.unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&mut self, message: Vec<u8>) {
        self.send_frame(Message::Binary(message.into())).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::Text(text.into())).await;
    }

    async fn send_frame(&mut self, message: Message) {
        // A daemon that has just closed may not take it; the test looks at the close.
        let _ = self.socket.send(message).await;
    }

    /// The next binary message, or how the socket ended.
    pub(crate) async fn receive(&mut self) -> Result<Vec<u8>, Ended> {
        loop {
            match within("a message or the end", self.socket.next()).await {
                Some(Ok(Message::Binary(message))) => return Ok(message.into()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| u16::from(frame.code)));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// How the socket ends, whatever comes before.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.receive().await {
                return ended;
            }
        }
    }
}

/// Sends bytes to a listener as they are; gives what it says until it closes.
pub(crate) async fn raw_http(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut said = Vec::new();
    // A reset after the answer is an end as well.
    let _ = within("the end of the answer", stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}
