//! Transport messages after the handshake: one flag byte and its content, sealed.
//!
//! ```text
//! 0  the last or only chunk of a text
//! 1  a chunk of a text; more follow
//! 2  several whole texts, each after its length (u16, big-endian)
//! ```

use snow::TransportState;

use super::SealError;
use crate::limits::{MAX_CHUNK, NOISE_TAG};

/// Flag of the last chunk of a text.
const LAST: u8 = 0;
/// Flag of a chunk that more chunks follow.
const MORE: u8 = 1;
/// Flag of several texts.
const SEVERAL: u8 = 2;
/// Bytes of the length before each of several texts.
const PREFIX: usize = 2;

/// An established channel. Counters in both directions ensure that each message is accepted once
/// and in order.
pub struct Channel {
    transport: TransportState,
    max_message: usize,
    /// Chunks of an incomplete text.
    partial: Vec<u8>,
    /// Received texts that [`Channel::next`] has not returned, after their lengths.
    received: Vec<u8>,
    /// Bytes of `received` that were returned.
    returned: usize,
    /// Texts to seal together: the flag, then each text after its length.
    gathered: Vec<u8>,
    /// Number of texts in `gathered`.
    texts: usize,
}

impl Channel {
    pub(super) const fn new(transport: TransportState, max_message: usize) -> Self {
        Self {
            transport,
            max_message,
            partial: Vec::new(),
            received: Vec::new(),
            returned: 0,
            gathered: Vec::new(),
            texts: 0,
        }
    }

    /// Sets the largest text that [`Channel::open`] accepts, in bytes.
    pub const fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes;
    }

    /// Takes one text to be sealed together with those before it, and emits the Noise messages that
    /// are full. The rest waits for [`Channel::finish`]. Returns the bytes that the text adds on
    /// the wire.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the channel is exhausted.
    pub fn gather(
        &mut self,
        text: &[u8],
        mut emit: impl FnMut(Vec<u8>),
    ) -> Result<usize, SealError> {
        if text.is_empty() || self.gathered.len() + PREFIX + text.len() > MAX_CHUNK {
            self.finish(&mut emit)?;
        }
        match u16::try_from(text.len()) {
            Ok(length) if length > 0 && 1 + PREFIX + text.len() <= MAX_CHUNK => {
                let overhead = match self.texts {
                    0 => 1 + NOISE_TAG,
                    // The first text gets a length as well.
                    1 => 2 * PREFIX,
                    _ => PREFIX,
                };
                if self.texts == 0 {
                    self.gathered.push(SEVERAL);
                }
                self.gathered.extend_from_slice(&length.to_be_bytes());
                self.gathered.extend_from_slice(text);
                self.texts += 1;
                Ok(text.len() + overhead)
            }
            _ => self.chunks(text, emit),
        }
    }

    /// Seals the gathered texts as one Noise message, if there are any, and frees their memory.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the channel is exhausted.
    pub fn finish(&mut self, mut emit: impl FnMut(Vec<u8>)) -> Result<(), SealError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let plain = match std::mem::take(&mut self.texts) {
            0 => return Ok(()),
            // A single text goes out without its length: the flag takes the place of the length's
            // last byte.
            1 => {
                if let Some(flag) = gathered.get_mut(PREFIX) {
                    *flag = LAST;
                }
                gathered.get(PREFIX..).unwrap_or_default()
            }
            _ => gathered.as_slice(),
        };
        emit(self.seal(plain)?);
        Ok(())
    }

    /// Seals a text by itself, in several Noise messages if it is too large for one. Returns the
    /// bytes on the wire.
    fn chunks(&mut self, text: &[u8], mut emit: impl FnMut(Vec<u8>)) -> Result<usize, SealError> {
        let mut wire = 0;
        let mut plain = Vec::with_capacity(1 + MAX_CHUNK.min(text.len()));
        let mut rest = text;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(MAX_CHUNK));
            plain.clear();
            plain.push(if after.is_empty() { LAST } else { MORE });
            plain.extend_from_slice(chunk);
            let message = self.seal(&plain)?;
            wire += message.len();
            emit(message);
            if after.is_empty() {
                return Ok(wire);
            }
            rest = after;
        }
    }

    fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut message = vec![0; plain.len() + NOISE_TAG];
        let length = self.transport.write_message(plain, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// Opens one Noise message. Returns its text, or the first of several: call [`Channel::next`]
    /// until it returns `None` before the next message. `buffer` is working space and holds the
    /// text. `None` when more chunks follow.
    ///
    /// # Errors
    /// [`SealError::Crypto`] for anything forged, repeated or out of order;
    /// [`SealError::TooLarge`]; [`SealError::Malformed`] for an unknown flag, an empty message or
    /// texts of other lengths than stated. Each ends the connection.
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
        let too_large = SealError::TooLarge {
            limit: self.max_message,
        };
        match *flag {
            LAST | MORE if self.partial.len() + chunk.len() > self.max_message => Err(too_large),
            LAST if self.partial.is_empty() => Ok(buffer.get(1..)),
            LAST => {
                self.partial.extend_from_slice(chunk);
                *buffer = std::mem::take(&mut self.partial);
                Ok(Some(buffer))
            }
            MORE => {
                self.partial.extend_from_slice(chunk);
                Ok(None)
            }
            SEVERAL if self.partial.is_empty() => {
                check_lengths(chunk, self.max_message)?;
                self.received.clear();
                self.received.extend_from_slice(chunk);
                self.returned = 0;
                Ok(self.next(buffer))
            }
            _ => Err(SealError::Malformed("an unknown flag")),
        }
    }

    /// Whether [`Channel::next`] returns a text.
    pub const fn has_next(&self) -> bool {
        !self.received.is_empty()
    }

    /// The next text of the message opened last, if it holds more.
    pub fn next<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        let (text, rest) = split_text(self.received.get(self.returned..)?)?;
        buffer.clear();
        buffer.extend_from_slice(text);
        self.returned += PREFIX + text.len();
        if rest.is_empty() {
            self.received = Vec::new();
        }
        Some(buffer)
    }
}

/// The first of several texts, and what follows it.
fn split_text(several: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = several.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Checks that the texts fill their message, that there is one, and that none is over the limit.
fn check_lengths(mut several: &[u8], limit: usize) -> Result<(), SealError> {
    let malformed = SealError::Malformed("texts of other lengths than stated");
    if several.is_empty() {
        return Err(malformed);
    }
    while !several.is_empty() {
        let (text, rest) = split_text(several).ok_or_else(|| malformed.clone())?;
        if text.is_empty() {
            return Err(malformed);
        }
        if text.len() > limit {
            return Err(SealError::TooLarge { limit });
        }
        several = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClientSessionKey, DaemonIdentity, DeviceKey, Hello, Purpose, Reason, Refusal, ServerId,
        TransportKey, Welcome,
        handshake::ClientInfo,
        identity::PresharedKey,
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
            key: None,
            pairing: None,
            resume: None,
        }
    }

    const PSK: PresharedKey = PresharedKey::from_bytes([9; 32]);

    fn identity() -> DaemonIdentity {
        DaemonIdentity::from_seed([5; 32]).unwrap()
    }

    fn server() -> (TransportKey, ServerId) {
        (
            TransportKey::from_private([6; 32]),
            identity().server_id().clone(),
        )
    }

    fn channels(max: usize) -> (Channel, Channel) {
        let (key, server) = server();
        let device = DeviceKey::from_private([7; 32]);
        let mut initiator = Initiator::new(&device, &key.public(), &server, PSK).unwrap();
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
        let written = responder.write_welcome(&identity(), &PSK, &welcome, max);
        let (second, daemon) = written.unwrap();
        let (got, client) = initiator.read_welcome(&second, max).unwrap();
        assert_eq!(got, welcome);
        (client, daemon)
    }

    fn seal(channel: &mut Channel, text: &[u8]) -> Vec<Vec<u8>> {
        seal_all(channel, &[text])
    }

    fn seal_all(channel: &mut Channel, texts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let mut wire = 0;
        for text in texts {
            wire += channel
                .gather(text, |message| messages.push(message))
                .unwrap();
        }
        channel.finish(|message| messages.push(message)).unwrap();
        assert_eq!(wire, messages.iter().map(Vec::len).sum::<usize>());
        messages
    }

    fn open_all(channel: &mut Channel, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut texts, mut buffer) = (Vec::new(), Vec::new());
        for message in messages {
            let mut text = channel
                .open(message, &mut buffer)
                .unwrap()
                .map(<[u8]>::to_vec);
            while let Some(one) = text.take() {
                texts.push(one);
                text = channel.next(&mut buffer).map(<[u8]>::to_vec);
            }
        }
        texts
    }

    /// Seals a plaintext as it is, as a faulty peer might.
    fn seal_plain(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
        channel.seal(plain).unwrap()
    }

    #[test]
    fn texts_that_wait_go_out_under_one_seal_in_order() {
        let (mut client, mut daemon) = channels(1 << 20);
        let texts: Vec<Vec<u8>> = (1..200).map(|n| vec![n; usize::from(n)]).collect();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let messages = seal_all(&mut client, &texts);
        assert_eq!(messages.len(), 1);
        assert_eq!(open_all(&mut daemon, &messages), texts);
        assert_eq!(
            client.gathered.capacity(),
            0,
            "an idle channel holds nothing"
        );
        assert_eq!(daemon.received.capacity(), 0);
    }

    #[test]
    fn texts_over_one_message_are_divided_between_messages() {
        let (mut client, mut daemon) = channels(1 << 20);
        let large = vec![7; 3 * MAX_CHUNK];
        let most = vec![1; MAX_CHUNK - 1 - PREFIX];
        let texts: Vec<&[u8]> = vec![b"a", &most, b"b", b"c", &large, b"d", &most[1..]];
        let messages = seal_all(&mut client, &texts);
        assert_eq!(messages.len(), 8, "a; most; b and c; three chunks; d; most");
        assert_eq!(open_all(&mut daemon, &messages), texts);
    }

    #[test]
    fn a_single_text_is_sent_without_its_length() {
        let (mut client, _) = channels(1 << 20);
        assert_eq!(seal(&mut client, b"{}")[0].len(), 1 + 2 + NOISE_TAG);
    }

    #[test]
    fn several_texts_must_fill_their_message_exactly() {
        for (plain, what) in [
            (&[SEVERAL][..], "none"),
            (&[SEVERAL, 0], "half a length"),
            (&[SEVERAL, 0, 1], "no text"),
            (&[SEVERAL, 0, 0], "an empty text"),
            (&[SEVERAL, 0, 1, b'a', 0], "half a length after a text"),
            (&[SEVERAL, 0, 2, b'a'], "a text cut short"),
            (&[3, 0, 1, b'a'], "an unknown flag"),
        ] {
            let (mut client, mut daemon) = channels(1 << 20);
            let mut buffer = Vec::new();
            let message = seal_plain(&mut client, plain);
            let opened = daemon.open(&message, &mut buffer);
            assert!(matches!(opened, Err(SealError::Malformed(_))), "{what}");
        }
        let (mut client, mut daemon) = channels(1 << 20);
        let first = seal_plain(&mut client, &[MORE, b'a']);
        let second = seal_plain(&mut client, &[SEVERAL, 0, 1, b'a']);
        let mut buffer = Vec::new();
        assert_eq!(daemon.open(&first, &mut buffer), Ok(None));
        let opened = daemon.open(&second, &mut buffer);
        assert!(
            matches!(opened, Err(SealError::Malformed(_))),
            "inside a text"
        );
    }

    #[test]
    fn one_of_several_texts_over_the_limit_is_an_error() {
        let (mut client, mut daemon) = channels(10);
        let ten = vec![1; 10];
        let messages = seal_all(&mut client, &[&ten, &ten]);
        assert_eq!(open_all(&mut daemon, &messages).len(), 2);
        let messages = seal_all(&mut client, &[&ten, &[1; 11]]);
        let mut buffer = Vec::new();
        let opened = daemon.open(&messages[0], &mut buffer);
        assert_eq!(opened, Err(SealError::TooLarge { limit: 10 }));
    }

    #[test]
    fn tr_1_a_daemon_with_another_identity_is_refused_before_its_welcome_is_read() {
        let (key, server) = server();
        let device = DeviceKey::from_private([7; 32]);
        let mut initiator = Initiator::new(&device, &key.public(), &server, PSK).unwrap();
        let first = initiator.write_hello(&hello()).unwrap();
        // The thief's daemon has its own transport key and identity, and claims to be the other.
        let mut responder = Responder::new(&key, &server).unwrap();
        responder.read_hello(&first).unwrap();
        let welcome = Welcome::Refused(Refusal::new(Reason::DeviceRevoked, "forged"));
        let thief = DaemonIdentity::from_seed([6; 32]).unwrap();
        let (second, _) = responder
            .write_welcome(&thief, &PSK, &welcome, 1 << 20)
            .unwrap();
        let read = initiator.read_welcome(&second, 1 << 20);
        assert_eq!(read.err(), Some(SealError::Identity));
    }

    #[test]
    fn tr_3_without_the_shared_key_only_a_refusal_is_believed() {
        let (key, server) = server();
        let device = DeviceKey::from_private([7; 32]);
        let answer = |psk: PresharedKey, with: &PresharedKey, welcome: &Welcome| {
            let mut initiator = Initiator::new(&device, &key.public(), &server, psk).unwrap();
            let first = initiator.write_hello(&hello()).unwrap();
            let mut responder = Responder::new(&key, &server).unwrap();
            responder.read_hello(&first).unwrap();
            let (second, _) = responder
                .write_welcome(&identity(), with, welcome, 1 << 20)
                .unwrap();
            initiator.read_welcome(&second, 1 << 20).map(|(got, _)| got)
        };
        let refused = Welcome::Refused(Refusal::new(Reason::DeviceUnknown, "who?"));
        let accepted = Welcome::parse(
            &serde_json::to_vec(&serde_json::json!({
                "ok": true, "identity": {"key": key.public(), "signature": "A".repeat(86)},
                "serverId": server, "serverName": "", "version": "", "heartbeatMs": 1,
                "limits": {"maxMessageBytes": 1, "maxInFlight": 1}, "capabilities": []
            }))
            .unwrap(),
        );
        let (_, accepted) = accepted.unwrap();
        let none = PresharedKey::NONE;
        assert_eq!(answer(PSK, &PSK, &accepted), Ok(accepted.clone()));
        assert_eq!(answer(PSK, &none, &refused), Ok(refused.clone()));
        assert_eq!(answer(PSK, &none, &accepted), Err(SealError::Crypto));
        assert_eq!(answer(none.clone(), &none, &refused), Ok(refused.clone()));
        assert_eq!(
            answer(none.clone(), &none, &accepted),
            Err(SealError::Crypto)
        );
        let other = PresharedKey::from_bytes([1; 32]);
        assert_eq!(answer(PSK, &other, &refused), Err(SealError::Crypto));
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
        let mut initiator = Initiator::new(&device, &key.public(), &server, PSK).unwrap();
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
