//! A link: a transport with the Noise channel of one handshake, speaking whole JSON-RPC texts.

use std::task::{Context, Poll, ready};

use bowline_protocol::{
    Closing, DeviceKey, Hello, PublicKey, Purpose, Reason, Welcome,
    handshake::Accepted,
    limits::MAX_MESSAGE_BYTES,
    seal::{Channel, Initiator, SealError},
};

use super::{Closed, Connector, Target, Transport};
use crate::{error::Failure, settings::MAX_WRITE_BUFFER};

/// Whom to expect behind a target, and as whom to come.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// This device.
    pub device_key: DeviceKey,
    /// The daemon's pinned transport key.
    pub transport_key: PublicKey,
}

/// A sealed connection to a daemon that has proved its identity.
pub struct Link {
    transport: Box<dyn Transport>,
    channel: Channel,
    /// Working space for sealing, reused.
    scratch: Vec<u8>,
    max_message: usize,
    /// What the transport had received when it was last looked at.
    received: u64,
}

/// Opens a connection and shakes hands. The caller bounds the wait.
///
/// # Errors
/// [`Failure`] with the closed reason: not reachable, refused, or another daemon answered.
pub async fn open(
    connector: &dyn Connector,
    target: &Target,
    credentials: &Credentials,
    hello: &Hello,
) -> Result<(Link, Accepted), Failure> {
    let sealing = |error: SealError| Failure::new(error.reason(), error.to_string());
    let mut initiator = Initiator::new(
        &credentials.device_key,
        &credentials.transport_key,
        &target.server_id,
    )
    .map_err(sealing)?;
    let first = initiator.write_hello(hello).map_err(sealing)?;
    let transport = connector.connect(target).await;
    let mut transport = transport.map_err(Failure::in_clear)?;
    let ended = |closed: Closed| Failure {
        message: format!("{} ended the handshake: {closed}", target.address),
        ..closed.into()
    };
    transport.queue(first).map_err(ended)?;
    std::future::poll_fn(|cx| transport.poll_flush(cx))
        .await
        .map_err(ended)?;
    let second = std::future::poll_fn(|cx| transport.poll_recv(cx))
        .await
        .map_err(ended)?;
    let (welcome, mut channel) = initiator
        .read_welcome(&second, MAX_MESSAGE_BYTES as usize)
        .map_err(sealing)?;
    match welcome {
        Welcome::Refused(refusal) => Err(Failure {
            reason: refusal.reason,
            message: refusal.message,
            retry_after_ms: refusal.retry_after_ms,
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
            if hello.purpose == Purpose::Session && accepted.session.is_none() =>
        {
            Err(sealing(SealError::Malformed("welcome")))
        }
        Welcome::Accepted(accepted) => {
            let max_message = accepted.limits.max_message_bytes as usize;
            channel.set_max_message(max_message);
            // What is sent must also fit into this side's buffer, whole.
            let max_message = max_message.min(MAX_WRITE_BUFFER / 2);
            Ok((
                Link {
                    received: transport.received(),
                    transport,
                    channel,
                    scratch: Vec::new(),
                    max_message,
                },
                accepted,
            ))
        }
    }
}

impl Link {
    /// Receives one text into `buffer`; pending when none is there yet. The daemon's goodbye is no text but the end, and the only
    /// end that is proved.
    pub fn poll_recv<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<Result<&'b [u8], Closed>> {
        let length = loop {
            let message = ready!(self.transport.poll_recv(cx))?;
            match self.channel.open(&message, buffer) {
                Ok(Some(text)) => break text.len(),
                Ok(None) => {}
                // Whatever decrypted is the daemon's own; that nothing did is retried.
                Err(error) => return Poll::Ready(Err(Closed::sealed(error.reason(), None))),
            }
        };
        // The text is the end of the buffer: a flag byte may stand before it.
        let start = buffer.len() - length;
        let text = buffer
            .get(start..)
            .ok_or_else(|| Closed::from(Reason::CryptoFailed))?;
        Poll::Ready(match Closing::of_text(text) {
            None => Ok(text),
            Some(Closing {
                reason,
                retry_after,
            }) => Err(Closed::sealed(reason, retry_after)),
        })
    }

    /// Whether anything at all arrived since the last look, be it a part of a text.
    pub fn take_progress(&mut self) -> bool {
        let received = self.transport.received();
        std::mem::replace(&mut self.received, received) != received
    }

    /// Whether another text may be queued.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.transport.poll_ready(cx)
    }

    /// Seals and queues one text.
    ///
    /// # Errors
    /// [`Closed`] when the transport is over.
    pub fn queue(&mut self, text: &[u8]) -> Result<(), Closed> {
        let Self {
            transport,
            channel,
            scratch,
            ..
        } = self;
        let mut queued = Ok(());
        channel
            .seal(text, scratch, |message| {
                if queued.is_ok() {
                    queued = transport.queue(message);
                }
            })
            .map_err(|error| Closed::from(error.reason()))?;
        queued
    }

    /// Sends what is queued.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.transport.poll_flush(cx)
    }

    /// Largest text that can be sent, in bytes: what the daemon takes and this side's buffer holds.
    pub const fn max_message(&self) -> usize {
        self.max_message
    }

    /// Ends the connection, with a bounded wait.
    pub async fn close(self, reason: Reason) {
        let _ = tokio::time::timeout(
            crate::settings::CLOSE_DEADLINE,
            self.transport.close(reason),
        )
        .await;
    }
}
