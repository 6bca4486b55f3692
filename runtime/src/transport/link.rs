//! A link: a transport with the Noise channel of one handshake, carrying whole JSON-RPC messages.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::{
    Closing, DeviceKey, Hello, PublicKey, Purpose, Reason, Welcome,
    error::RpcError,
    handshake::Accepted,
    identity::{KeyId, PresharedKey},
    limits::MAX_MESSAGE_BYTES,
    methods::{Empty, name},
    rpc::{self, Incoming, Text},
    seal::{Channel, Initiator, SealError},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Address, Closed, Connector, Target, Transport};
use crate::{error::Failure, settings::MAX_WRITE_BUFFER};

/// Bytes that each buffer of a channel keeps between messages. An app has a channel or two.
const KEEP: usize = 16 * 1024;

/// The expected daemon key and this device's own key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// This device's key.
    pub device_key: DeviceKey,
    /// The daemon's pinned transport key.
    pub transport_key: PublicKey,
    /// The key shared with the daemon: the device's, or the offer's while pairing (TR-3).
    pub psk: PresharedKey,
}

impl Credentials {
    /// Id of the key shared with the daemon, if there is one.
    pub fn key_id(&self) -> Option<KeyId> {
        (self.psk != PresharedKey::NONE).then(|| self.psk.id())
    }
}

/// A sealed connection to a daemon that has proved its identity.
pub struct Link {
    transport: Box<dyn Transport>,
    channel: Channel,
    max_message: usize,
    /// The transport's received byte count at the last check.
    received: u64,
    round_trip: Duration,
}

/// Opens a connection and performs the handshake. The caller bounds the wait.
///
/// # Errors
/// [`Failure`] with the closed reason: unreachable, refused, or answered by another daemon.
pub async fn open(
    connector: &dyn Connector,
    target: &Target,
    credentials: &Credentials,
    hello: &Hello,
) -> Result<(Link, Accepted), Failure> {
    let sealing = |error: SealError| {
        let reason = error.reason();
        let message = not_this_daemon(reason, &target.address);
        Failure::new(reason, message.unwrap_or_else(|| error.to_string()))
    };
    let mut initiator = Initiator::new(
        &credentials.device_key,
        &credentials.transport_key,
        &target.server_id,
        credentials.psk.clone(),
    )
    .map_err(sealing)?;
    let first = initiator.write_hello(hello).map_err(sealing)?;
    let transport = connector.connect(target).await;
    let mut transport = transport.map_err(Failure::in_clear)?;
    let ended = |closed: Closed| Failure {
        message: not_this_daemon(closed.reason(), &target.address)
            .unwrap_or_else(|| format!("{} ended the handshake: {closed}", target.address)),
        ..closed.into()
    };
    let said = Instant::now();
    transport.queue(&first).map_err(ended)?;
    poll_fn(|cx| transport.poll_flush(cx))
        .await
        .map_err(ended)?;
    let second = poll_fn(|cx| transport.poll_recv(cx)).await.map_err(ended)?;
    let round_trip = said.elapsed();
    let (welcome, mut channel) = initiator
        .read_welcome(&second, MAX_MESSAGE_BYTES as usize)
        .map_err(sealing)?;
    match welcome {
        Welcome::Refused(refusal) => Err(Failure {
            reason: refusal.reason,
            message: refusal.message,
            retry_after: refusal.retry_after_ms.map(Duration::from_millis),
            unproved: None,
        }),
        Welcome::Accepted(accepted) if accepted.server_id != target.server_id => Err(Failure::new(
            Reason::ServerIdentityMismatch,
            format!(
                "{} is {}, not {}",
                target.address, accepted.server_id, target.server_id
            ),
        )),
        Welcome::Accepted(accepted)
            if (hello.purpose == Purpose::Session) != accepted.session.is_some() =>
        {
            Err(sealing(SealError::Malformed("welcome")))
        }
        Welcome::Accepted(accepted) => {
            let max_message = accepted.limits.max_message_bytes as usize;
            channel.set_max_message(max_message);
            channel.keep_buffers(KEEP);
            // A message must also fit into this side's buffer as a whole.
            let max_message = max_message.min(MAX_WRITE_BUFFER / 2);
            Ok((
                Link {
                    received: transport.received(),
                    transport,
                    channel,
                    max_message,
                    round_trip,
                },
                accepted,
            ))
        }
    }
}

/// What an answer with another key means, for people (TR-1); `None` for other reasons. On a
/// connection that is not established yet neither side can open what is for another key.
fn not_this_daemon(reason: Reason, address: &Address) -> Option<String> {
    match reason {
        Reason::CryptoFailed => Some(format!(
            "what answers at {address} does not have the key of this daemon, so another one is there, or this one was set up anew"
        )),
        Reason::ServerIdentityMismatch => Some(format!(
            "what answers at {address} did not prove that it is this daemon, so no request was sent to it"
        )),
        _ => None,
    }
}

impl Link {
    /// Receives one message into `buffer`; pending if there is none yet. The daemon's sealed close
    /// message is returned as the end; it is the only proved end.
    pub fn poll_recv<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<Result<&'b [u8], Closed>> {
        if self.channel.has_next() {
            let text = self.channel.next(buffer).unwrap_or_default();
            return Poll::Ready(unless_closing(text));
        }
        let length = loop {
            let message = ready!(self.transport.poll_recv(cx))?;
            match self.channel.open(&message, buffer) {
                Ok(Some(text)) => break text.len(),
                Ok(None) => {}
                // Only decrypted data proves an error of the daemon; undecryptable data leads to a
                // retry.
                Err(error) => return Poll::Ready(Err(Closed::sealed(error.reason(), None))),
            }
        };
        // The message is the end of the buffer: a flag byte may precede it.
        let start = buffer.len() - length;
        let text = buffer
            .get(start..)
            .ok_or_else(|| Closed::from(Reason::CryptoFailed))?;
        Poll::Ready(unless_closing(text))
    }

    /// Whether anything arrived since the last check, including part of a message.
    pub fn take_progress(&mut self) -> bool {
        let received = self.transport.received();
        std::mem::replace(&mut self.received, received) != received
    }

    /// Ready when another message may be queued.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.transport.poll_ready(cx)
    }

    /// Queues one message. Those queued until the next flush are sealed together.
    ///
    /// # Errors
    /// [`Closed`] if the transport has ended.
    pub fn queue(&mut self, text: &[u8]) -> Result<(), Closed> {
        let Self {
            transport, channel, ..
        } = self;
        let mut queued = Ok(());
        channel
            .gather(text, |message| {
                if queued.is_ok() {
                    queued = transport.queue(message);
                }
            })
            .map_err(|error| Closed::from(error.reason()))?;
        queued
    }

    fn seal(&mut self) -> Result<(), Closed> {
        let Self {
            transport, channel, ..
        } = self;
        let mut queued = Ok(());
        channel
            .finish(|message| queued = transport.queue(message))
            .map_err(|error| Closed::from(error.reason()))?;
        queued
    }

    /// Sends queued messages.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.seal()?;
        self.transport.poll_flush(cx)
    }

    /// Sends one request with empty parameters, as the first of the session, and waits for its
    /// answer; events may precede it. The caller bounds the wait.
    ///
    /// # Errors
    /// The connection ended.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
    ) -> Result<Result<Box<RawValue>, RpcError>, Failure> {
        let lost = |_| Failure::from(Reason::ConnectionLost);
        let mut buffer = Vec::new();
        rpc::write_notification(&mut buffer, name::SESSION_READY, &Empty {}).map_err(lost)?;
        self.queue(&buffer)?;
        buffer.clear();
        rpc::write_request(&mut buffer, 1, method, &Empty {}).map_err(lost)?;
        self.queue(&buffer)?;
        poll_fn(|cx| self.poll_flush(cx)).await?;
        poll_fn(|cx| {
            loop {
                let text = ready!(self.poll_recv(cx, &mut buffer))?;
                if let Ok(Text::Single(Incoming::Response(response))) = rpc::parse(text)
                    && response.id.as_u64() == Some(1)
                {
                    return Poll::Ready(Ok(response.outcome.map(ToOwned::to_owned)));
                }
            }
        })
        .await
    }

    /// Time from the hello to the welcome: one round trip and the daemon's processing.
    pub const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Size of the largest message that can be sent, in bytes: limited by the daemon and by this
    /// side's buffer.
    pub const fn max_message(&self) -> usize {
        self.max_message
    }

    /// Ends the connection, with a bounded wait.
    pub async fn close(mut self, reason: Reason) {
        // Messages that nobody flushed; the transport may have ended.
        let _ = self.seal();
        let _ = tokio::time::timeout(
            crate::settings::CLOSE_DEADLINE,
            self.transport.close(reason),
        )
        .await;
    }
}

/// A text, or the end if it is the daemon's close message.
fn unless_closing(text: &[u8]) -> Result<&[u8], Closed> {
    match Closing::of_text(text) {
        None => Ok(text),
        Some(Closing {
            reason,
            retry_after,
        }) => Err(Closed::sealed(reason, retry_after)),
    }
}
