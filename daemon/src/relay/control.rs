//! One control socket, from its dialling to its end (RL-2, RL-5).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_machines::Generation;
use bowline_net::{Count, Opened};
use bowline_protocol::{
    Claim, Reason,
    relay::{
        Binding, CONTROL_PATH, CloseText, DaemonMessage, KnownDevices, Nonce, Registration,
        RelayMessage, RelayOrigin, limits::MAX_CONTROL_MESSAGE,
    },
};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, WebSocketConfig},
};

use super::{
    RelayContext,
    dial::{Failure, Socket},
};
use crate::identity::Identity;

/// Largest message of a relay: `sync` with every session that it may have. A larger one ends the
/// socket.
const MAX_NEWS: usize = 1 << 20;
/// Read buffer in bytes; small, because control sockets are quiet.
const READ_BUFFER: usize = 4 * 1024;
/// Advice if the relay refuses the daemon's token or requires one.
const WRONG_TOKEN: &str = "the relay refused this daemon's token, or requires one: write the relay's `daemon_token` into the \
                           file named by `relay_token_file` (--relay-token-file, BOWLINE_RELAY_TOKEN_FILE), or into its URL \
                           in `relay` (--relay, BOWLINE_RELAY), as in wss://TOKEN@relay.example.org (a `/` in it as %2F)";
/// How long a close frame may take; then the socket is dropped.
const CLOSING: Duration = Duration::from_secs(1);

/// An event of a control socket.
#[derive(Debug)]
pub(super) enum ControlEvent {
    /// Bytes that only prove the relay's liveness.
    Alive,
    /// A message of the relay.
    Said(RelayMessage),
    /// The socket has ended, or could not be opened.
    Ended(Failure),
}

type Dialling = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send>>;

enum Stage {
    Dialling(Dialling),
    Open(Box<Socket>),
    Over,
}

/// One control socket.
pub(super) struct ControlSocket {
    generation: Generation,
    stage: Stage,
    nonce: Option<Nonce>,
    /// Bytes of the socket.
    count: Count,
    /// Nothing waits to be written.
    is_clear: bool,
    /// What a registration over this socket is bound to.
    binding: Binding,
}

impl ControlSocket {
    pub(super) fn dial(generation: Generation, context: Arc<RelayContext>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * MAX_CONTROL_MESSAGE)
            .max_message_size(Some(MAX_NEWS))
            .max_frame_size(Some(MAX_NEWS));
        let binding = Binding {
            origin: context.relay.origin().clone(),
            exporter: None,
        };
        let dialling = async move {
            let RelayContext { dialler, relay, .. } = &*context;
            dialler.dial(relay, CONTROL_PATH, None, config).await
        };
        Self {
            generation,
            stage: Stage::Dialling(Box::pin(dialling)),
            nonce: None,
            count: Count::default(),
            is_clear: true,
            binding,
        }
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The next event. None comes after [`ControlEvent::Ended`].
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ControlEvent> {
        let mut events = match &mut self.stage {
            Stage::Dialling(dialling) => match ready!(dialling.as_mut().poll(cx)) {
                Ok(opened) => {
                    self.binding.exporter = opened.exporter;
                    self.count = opened.count;
                    self.stage = Stage::Open(Box::new(opened.socket));
                    return Poll::Ready(ControlEvent::Alive);
                }
                Err(failure) => ControlEvent::Ended(failure),
            },
            Stage::Open(socket) => {
                // A write that fails is noticed by the next read, or as silence.
                self.is_clear = Pin::new(&mut **socket).poll_flush(cx).is_ready();
                ready!(poll_message(socket, cx))
            }
            Stage::Over => return Poll::Pending,
        };
        match &mut events {
            ControlEvent::Ended(failure) => {
                if failure.reason == Reason::RelayOriginUnknown {
                    failure.message = foreign_origin(&self.binding.origin);
                }
                self.stage = Stage::Over;
            }
            ControlEvent::Said(RelayMessage::Challenge { nonce }) => self.nonce = Some(*nonce),
            ControlEvent::Said(_) | ControlEvent::Alive => {}
        }
        Poll::Ready(events)
    }

    /// All bytes that the socket has taken, and whether nothing waits to be written.
    pub(super) fn written(&self) -> (u64, bool) {
        (self.count.sent(), self.is_clear)
    }

    /// Answers the challenge.
    pub(super) fn answer(&mut self, identity: &Identity, token: Option<&str>) {
        if let Some(nonce) = self.nonce.take() {
            let token = token.map(str::to_owned);
            let binding = self.binding.clone();
            let registration = Registration::answer(&identity.identity, &nonce, binding, token);
            let message = DaemonMessage::Register(Box::new(registration));
            // None of these messages can fail to be JSON.
            let json = serde_json::to_string(&message).unwrap_or_default();
            self.feed(Message::text(json));
        }
    }

    /// Sends the list of known devices.
    pub(super) fn tell_devices(&mut self, devices: KnownDevices) {
        // None of these messages can fail to be JSON.
        let json = serde_json::to_string(&DaemonMessage::Devices(devices)).unwrap_or_default();
        self.feed(Message::text(json));
    }

    /// Sends a ping.
    pub(super) fn ping(&mut self) {
        self.feed(Message::Ping(Bytes::new()));
    }

    /// Ends the socket, with a bounded wait in a task of its own.
    pub(super) fn close(self, reason: Reason) {
        if let Stage::Open(socket) = self.stage {
            tokio::spawn(say_goodbye(socket, reason));
        }
    }

    /// Queues a message; the next poll writes it, and the caller has to poll.
    fn feed(&mut self, message: Message) {
        if let Stage::Open(socket) = &mut self.stage {
            // Full only if the relay reads nothing, and then silence ends the socket.
            let _ = Pin::new(&mut **socket).start_send(message);
        }
    }
}

/// Sends a close frame with the reason; bounded by [`CLOSING`].
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

fn poll_message(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<ControlEvent> {
    let message = ready!(Pin::new(socket).poll_next(cx));
    Poll::Ready(match message {
        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
            Ok(message) => ControlEvent::Said(message),
            Err(error) => ended(
                Reason::BadRequest,
                format!("the relay says what is no message: {error}"),
            ),
        },
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => ControlEvent::Alive,
        Some(Ok(Message::Close(frame))) => ControlEvent::Ended(closed(frame.as_ref())),
        Some(Ok(Message::Binary(_) | Message::Frame(_))) => ended(
            Reason::BadRequest,
            "the relay says what is no text".to_owned(),
        ),
        Some(Err(error)) => ended(Reason::ConnectionLost, error.to_string()),
        None => ended(Reason::ConnectionLost, "the relay hung up".to_owned()),
    })
}

/// Advice if the relay does not know that it is reached at this origin (TR-9).
fn foreign_origin(origin: &RelayOrigin) -> String {
    format!(
        "the relay does not know that it is reached at {origin}; its owner adds that to its setting \
         `origin` (--origin {origin}, BOWLINE_ORIGIN), see docs/relay.md"
    )
}

fn ended(reason: Reason, message: String) -> ControlEvent {
    ControlEvent::Ended(Failure {
        reason,
        retry_after: None,
        message,
        status: None,
    })
}

/// The failure that a close frame stands for.
pub(super) fn closed(frame: Option<&CloseFrame>) -> Failure {
    // An unsealed reason is only a claim. Registration never gives up, so the claim decides no more
    // than the pause and the text.
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
