//! One control socket, from its dialling to its end (RL-2, RL-5).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_machines::Generation;
use bowline_protocol::{
    Claim, Reason,
    relay::{
        CONTROL_PATH, CloseText, DaemonMessage, Nonce, Registration, RelayMessage,
        limits::MAX_CONTROL_MESSAGE,
    },
};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, WebSocketConfig},
};

use super::dial::{Dialler, Failure, Socket};
use crate::{config::RelayUrl, identity::Identity};

/// Largest message of a relay: `sync` with every session that it may have. A larger one ends the socket.
const MAX_NEWS: usize = 1 << 20;
/// Control sockets are quiet.
const READ_BUFFER: usize = 4 * 1024;
/// What the owner is told of a relay that asks for another token, or for one at all.
const WRONG_TOKEN: &str = "the relay refused the token; write its `daemon_token` into its URL, as in \
                           wss://TOKEN@relay.example.org (a `/` in it as %2F), in the settings' `relay` or BOWLINE_RELAY";
/// How long a close frame may take; then the socket is dropped.
const CLOSING: Duration = Duration::from_secs(1);

/// What a control socket brought.
#[derive(Debug)]
pub(super) enum News {
    /// Proof of life.
    Alive,
    /// The relay says something.
    Said(RelayMessage),
    /// There is no socket (any more).
    Ended(Failure),
}

type Dialling = Pin<Box<dyn Future<Output = Result<Socket, Failure>> + Send>>;

enum Stage {
    Dialling(Dialling),
    Open(Box<Socket>),
    Over,
}

/// One control socket.
pub(super) struct Control {
    generation: Generation,
    stage: Stage,
    nonce: Option<Nonce>,
}

impl Control {
    pub(super) fn dial(generation: Generation, dialler: &Dialler, relay: &RelayUrl) -> Self {
        let (dialler, relay) = (dialler.clone(), relay.clone());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * MAX_CONTROL_MESSAGE)
            .max_message_size(Some(MAX_NEWS))
            .max_frame_size(Some(MAX_NEWS));
        let dialling = async move { dialler.dial(&relay, CONTROL_PATH, None, config).await };
        Self {
            generation,
            stage: Stage::Dialling(Box::pin(dialling)),
            nonce: None,
        }
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The next news. Nothing comes after [`News::Ended`].
    pub(super) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        let news = match &mut self.stage {
            Stage::Dialling(dialling) => match ready!(dialling.as_mut().poll(cx)) {
                Ok(socket) => {
                    self.stage = Stage::Open(Box::new(socket));
                    return Poll::Ready(News::Alive);
                }
                Err(failure) => News::Ended(failure),
            },
            Stage::Open(socket) => {
                // A socket that cannot be written to shows that by its end or its silence.
                let _ = Pin::new(&mut **socket).poll_flush(cx);
                ready!(poll_message(socket, cx))
            }
            Stage::Over => return Poll::Pending,
        };
        match &news {
            News::Ended(_) => self.stage = Stage::Over,
            News::Said(RelayMessage::Challenge { nonce }) => self.nonce = Some(*nonce),
            News::Said(_) | News::Alive => {}
        }
        Poll::Ready(news)
    }

    /// Answers the challenge.
    pub(super) fn answer(&mut self, identity: &Identity, token: Option<&str>) {
        if let Some(nonce) = self.nonce.take() {
            let token = token.map(str::to_owned);
            let registration = Registration::answer(&identity.identity, &nonce, token);
            let message = DaemonMessage::Register(registration);
            // None of these messages can fail to be JSON.
            let json = serde_json::to_string(&message).unwrap_or_default();
            self.feed(Message::text(json));
        }
    }

    /// Asks whether the relay is there.
    pub(super) fn ping(&mut self) {
        self.feed(Message::Ping(Bytes::new()));
    }

    /// Ends the socket, with a bounded wait in a task of its own.
    pub(super) fn close(self, reason: Reason) {
        if let Stage::Open(socket) = self.stage {
            tokio::spawn(say_goodbye(socket, reason));
        }
    }

    /// Written with the next poll, which the caller owes.
    fn feed(&mut self, message: Message) {
        if let Stage::Open(socket) = &mut self.stage {
            // Full only when the relay takes nothing, and then its silence is the end.
            let _ = Pin::new(&mut **socket).start_send(message);
        }
    }
}

/// Says why and closes, in bounded time.
pub(super) async fn say_goodbye(mut socket: Box<Socket>, reason: Reason) {
    let frame = CloseFrame {
        // 1001: the end of a program, in the WebSocket's own words.
        code: reason.close_code().unwrap_or(1001).into(),
        reason: reason.as_str().into(),
    };
    let goodbye = async {
        let _ = socket.send(Message::Close(Some(frame))).await;
        let _ = socket.flush().await;
    };
    let _ = timeout(CLOSING, goodbye).await;
}

fn poll_message(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<News> {
    let message = ready!(Pin::new(socket).poll_next(cx));
    Poll::Ready(match message {
        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
            Ok(message) => News::Said(message),
            Err(error) => ended(
                Reason::BadRequest,
                format!("the relay says what is no message: {error}"),
            ),
        },
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => News::Alive,
        Some(Ok(Message::Close(frame))) => News::Ended(closed(frame.as_ref())),
        Some(Ok(Message::Binary(_) | Message::Frame(_))) => ended(
            Reason::BadRequest,
            "the relay says what is no text".to_owned(),
        ),
        Some(Err(error)) => ended(Reason::ConnectionLost, error.to_string()),
        None => ended(Reason::ConnectionLost, "the relay hung up".to_owned()),
    })
}

fn ended(reason: Reason, message: String) -> News {
    News::Ended(Failure {
        reason,
        retry_after: None,
        message,
        status: None,
    })
}

/// What a close frame says.
pub(super) fn closed(frame: Option<&CloseFrame>) -> Failure {
    // A link never gives up for good, so the claim may choose the pace, and what its owner is told.
    let reason = Claim::of_close_code(frame.map(|frame| u16::from(frame.code))).claimed();
    Failure {
        reason,
        retry_after: frame.and_then(|frame| CloseText::retry_after(&frame.reason)),
        message: match reason {
            Reason::RelayTokenInvalid => WRONG_TOKEN.to_owned(),
            reason => format!("the relay closed the socket: {reason}"),
        },
        status: None,
    }
}
