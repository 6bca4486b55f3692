//! Transport messages after the handshake: one flag byte, one chunk, sealed.

use snow::TransportState;

use super::SealError;
use crate::limits::{MAX_CHUNK, NOISE_TAG};

/// Set while more chunks of the same message follow.
const MORE: u8 = 1;

/// An established channel. Counters on both directions make every message readable once and in order.
pub struct Channel {
    transport: TransportState,
    max_message: usize,
    /// Chunks of a message whose end has not come yet.
    partial: Vec<u8>,
}

impl Channel {
    pub(super) const fn new(transport: TransportState, max_message: usize) -> Self {
        Self {
            transport,
            max_message,
            partial: Vec::new(),
        }
    }

    /// Sets the largest message that [`Channel::open`] puts together, in bytes.
    pub const fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes;
    }

    /// Seals one message and hands out its Noise messages in order. `scratch` is working space that may
    /// be shared by all channels of a thread.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the channel is exhausted.
    pub fn seal(
        &mut self,
        text: &[u8],
        scratch: &mut Vec<u8>,
        mut emit: impl FnMut(Vec<u8>),
    ) -> Result<(), SealError> {
        let mut rest = text;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(MAX_CHUNK));
            scratch.clear();
            scratch.push(if after.is_empty() { 0 } else { MORE });
            scratch.extend_from_slice(chunk);
            let mut message = vec![0; scratch.len() + NOISE_TAG];
            let length = self.transport.write_message(scratch, &mut message)?;
            message.truncate(length);
            emit(message);
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// Opens one Noise message. Returns the text when it was the last chunk of one; `buffer` is working
    /// space and holds the text.
    ///
    /// # Errors
    /// [`SealError::Crypto`] for anything forged, repeated or out of order; [`SealError::TooLarge`];
    /// [`SealError::Malformed`] for an unknown flag or an empty message. Each ends the connection.
    pub fn open<'b>(
        &mut self,
        message: &[u8],
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, SealError> {
        buffer.resize(message.len(), 0);
        let length = self.transport.read_message(message, buffer)?;
        buffer.truncate(length);
        let (flag, chunk) = buffer
            .split_first()
            .ok_or(SealError::Malformed("a message without a flag byte"))?;
        let more = match *flag {
            0 => false,
            MORE => true,
            _ => return Err(SealError::Malformed("an unknown flag")),
        };
        if self.partial.len() + chunk.len() > self.max_message {
            return Err(SealError::TooLarge {
                limit: self.max_message,
            });
        }
        if more {
            self.partial.extend_from_slice(chunk);
            return Ok(None);
        }
        if self.partial.is_empty() {
            return Ok(buffer.get(1..));
        }
        self.partial.extend_from_slice(chunk);
        *buffer = std::mem::take(&mut self.partial);
        Ok(Some(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClientSessionKey, DaemonIdentity, DeviceKey, Hello, Purpose, Reason, Refusal, ServerId,
        TransportKey, Welcome,
        handshake::ClientInfo,
        seal::{Initiator, Responder},
    };

    fn hello() -> Hello {
        Hello {
            protocol: crate::PROTOCOL_VERSION,
            purpose: Purpose::Session,
            client_session_key: ClientSessionKey::from_random([1; 16]),
            client: ClientInfo {
                name: "test".into(),
                version: "1".into(),
                platform: "linux".into(),
            },
            capabilities: Vec::new(),
            pairing_token: None,
            resume: None,
        }
    }

    fn server() -> (TransportKey, ServerId) {
        let identity = DaemonIdentity::from_seed([5; 32]).unwrap();
        (
            TransportKey::from_private([6; 32]),
            identity.server_id().clone(),
        )
    }

    fn channels(max: usize) -> (Channel, Channel) {
        let (key, server) = server();
        let device = DeviceKey::from_private([7; 32]);
        let mut initiator = Initiator::new(&device, &key.public(), &server).unwrap();
        let first = initiator.write_hello(&hello()).unwrap();
        let mut responder = Responder::new(&key, &server).unwrap();
        let (from, payload) = responder.read_hello(&first).unwrap();
        assert_eq!(
            from,
            device.public(),
            "BX-3: the device key is proved by message 1"
        );
        assert_eq!(Hello::parse(&payload).unwrap(), hello());
        let welcome = Welcome::Refused(Refusal::new(Reason::RateLimited, "later"));
        let (second, daemon) = responder.write_welcome(&welcome, max).unwrap();
        let (got, client) = initiator.read_welcome(&second, max).unwrap();
        assert_eq!(got, welcome);
        (client, daemon)
    }

    fn seal(channel: &mut Channel, text: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        channel
            .seal(text, &mut Vec::new(), |message| messages.push(message))
            .unwrap();
        messages
    }

    #[test]
    fn messages_of_every_size_arrive_as_sent() {
        let (mut client, mut daemon) = channels(1 << 20);
        let mut buffer = Vec::new();
        for size in [
            0,
            1,
            MAX_CHUNK - 1,
            MAX_CHUNK,
            MAX_CHUNK + 1,
            3 * MAX_CHUNK,
            1 << 20,
        ] {
            let text: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let messages = seal(&mut client, &text);
            assert_eq!(messages.len(), size.div_ceil(MAX_CHUNK).max(1));
            let (last, first) = messages.split_last().unwrap();
            for message in first {
                assert_eq!(daemon.open(message, &mut buffer).unwrap(), None);
            }
            assert_eq!(
                daemon.open(last, &mut buffer).unwrap(),
                Some(text.as_slice())
            );
        }
    }

    #[test]
    fn bx_3_a_repeated_swapped_or_changed_message_ends_the_channel() {
        let (mut client, mut daemon) = channels(1 << 20);
        let one = seal(&mut client, b"one").remove(0);
        let two = seal(&mut client, b"two").remove(0);
        let mut buffer = Vec::new();
        assert_eq!(
            daemon.open(&two, &mut buffer),
            Err(SealError::Crypto),
            "out of order"
        );
        assert_eq!(
            daemon.open(&one, &mut buffer).unwrap(),
            Some(b"one".as_slice())
        );
        assert_eq!(
            daemon.open(&one, &mut buffer),
            Err(SealError::Crypto),
            "repeated"
        );
        let mut changed = two.clone();
        changed[0] ^= 1;
        assert_eq!(
            daemon.open(&changed, &mut buffer),
            Err(SealError::Crypto),
            "changed"
        );
    }

    #[test]
    fn a_message_over_the_limit_is_an_error_before_it_is_held() {
        let (mut client, mut daemon) = channels(MAX_CHUNK + 10);
        let messages = seal(&mut client, &vec![0; MAX_CHUNK + 11]);
        let mut buffer = Vec::new();
        assert_eq!(daemon.open(&messages[0], &mut buffer).unwrap(), None);
        assert_eq!(
            daemon.open(&messages[1], &mut buffer),
            Err(SealError::TooLarge {
                limit: MAX_CHUNK + 10
            })
        );
    }

    #[test]
    fn another_daemon_cannot_read_the_hello() {
        let (key, server) = server();
        let device = DeviceKey::from_private([7; 32]);
        let mut initiator = Initiator::new(&device, &key.public(), &server).unwrap();
        let first = initiator.write_hello(&hello()).unwrap();
        let other = TransportKey::from_private([8; 32]);
        assert!(
            Responder::new(&other, &server)
                .unwrap()
                .read_hello(&first)
                .is_err()
        );
        let elsewhere = ServerId::of_public_key(&[1; 32]);
        assert!(
            Responder::new(&key, &elsewhere)
                .unwrap()
                .read_hello(&first)
                .is_err()
        );
    }
}
