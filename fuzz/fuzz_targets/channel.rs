//! `Channel::open` after a real handshake: a paired but hostile peer that seals arbitrary bytes,
//! and a third party that modifies messages.
//!
//! Input: records of a kind, a length and that many bytes. Kind 0 seals the bytes unchanged (flag
//! first), kind 1 delivers them unsealed, kind 2 delivers the sealed message first with one byte
//! changed, then intact. The handshake runs once: refused messages must leave the channel
//! unchanged.

#![no_main]

use std::cell::RefCell;

use bowline_protocol::{
    DaemonIdentity, Reason, Refusal, ServerId, TransportKey, Welcome,
    identity::PresharedKey,
    seal::{Channel, NOISE_PATTERN, Responder, SealError},
};
use libfuzzer_sys::fuzz_target;
use snow::TransportState;

/// Small, so that inputs reach the limit.
const MAX: usize = 600;

/// A peer, the channel under test, and the expected content according to `docs/protocol.md`.
struct Talk {
    peer: TransportState,
    channel: Channel,
    partial: Vec<u8>,
}

thread_local! {
    static TALK: RefCell<Talk> = RefCell::new(Talk::new());
}

fuzz_target!(|data: &[u8]| {
    TALK.with_borrow_mut(|talk| {
        let mut rest = data;
        while let [kind, length, body @ ..] = rest {
            let (body, later) = body.split_at(usize::from(*length).min(body.len()));
            rest = later;
            match kind % 3 {
                0 => talk.say(body),
                1 => talk.forge(body),
                _ => {
                    let message = seal(&mut talk.peer, body);
                    let mut changed = message.clone();
                    let at = usize::from(*length) % changed.len();
                    changed[at] ^= 1;
                    talk.forge(&changed);
                    talk.deliver(&message, body);
                }
            }
        }
        // Completes a message that the input left unfinished.
        talk.say(&[0]);
        assert!(talk.partial.is_empty());
    });
});

impl Talk {
    fn new() -> Self {
        let (peer, channel) = handshake();
        Self {
            peer,
            channel,
            partial: Vec::new(),
        }
    }

    fn say(&mut self, plain: &[u8]) {
        let message = seal(&mut self.peer, plain);
        self.deliver(&message, plain);
    }

    fn forge(&mut self, message: &[u8]) {
        let opened = self.channel.open(message, &mut Vec::new()).is_ok();
        assert!(!opened, "a forged message was accepted");
    }

    fn deliver(&mut self, message: &[u8], plain: &[u8]) {
        let partial = &mut self.partial;
        let expected = match plain {
            [0 | 1, chunk @ ..] if partial.len() + chunk.len() > MAX => Err("too large"),
            [0, chunk @ ..] => {
                partial.extend_from_slice(chunk);
                Ok(vec![std::mem::take(partial)])
            }
            [1, chunk @ ..] => {
                partial.extend_from_slice(chunk);
                Ok(Vec::new())
            }
            [2, texts @ ..] if partial.is_empty() => several(texts),
            _ => Err("malformed"),
        };
        let mut buffer = Vec::new();
        let opened = self.channel.open(message, &mut buffer);
        let opened = opened
            .map(|text| text.map(<[u8]>::to_vec))
            .map_err(|error| match error {
                SealError::TooLarge { limit: MAX } => "too large",
                SealError::Malformed(_) => "malformed",
                _ => "something else",
            });
        let got = opened.map(|first| {
            let mut texts: Vec<_> = first.into_iter().collect();
            while let Some(text) = self.channel.next(&mut buffer) {
                texts.push(text.to_vec());
            }
            texts
        });
        assert_eq!(got, expected);
    }
}

/// The texts of a message with flag 2. The first fault decides.
fn several(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut texts = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > rest.len() {
            return Err("malformed");
        }
        if length > MAX {
            return Err("too large");
        }
        let (text, later) = rest.split_at(length);
        texts.push(text.to_vec());
        bytes = later;
    }
    match bytes {
        [] if !texts.is_empty() => Ok(texts),
        _ => Err("malformed"),
    }
}

/// Both ends of a channel; the peer uses snow directly, so that it can seal anything.
fn handshake() -> (TransportState, Channel) {
    let key = TransportKey::from_private([0x22; 32]);
    let server = ServerId::of_public_key(b"fuzz");
    let prologue = [b"bowline/1\n", server.as_str().as_bytes()].concat();
    let mut initiator = snow::Builder::new(NOISE_PATTERN.parse().unwrap())
        .local_private_key(&[0x33; 32])
        .unwrap()
        .remote_public_key(key.public().as_bytes())
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .psk(2, &[0x44; 32])
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut message = vec![0; 1_024];
    let length = initiator.write_message(b"{}", &mut message).unwrap();
    let mut responder = Responder::new(&key, &server).unwrap();
    responder.read_hello(&message[..length]).unwrap();
    let welcome = Welcome::Refused(Refusal::new(Reason::RateLimited, ""));
    let identity = DaemonIdentity::from_seed([0x55; 32]).unwrap();
    let psk = PresharedKey::from_bytes([0x44; 32]);
    let written = responder.write_welcome(&identity, &psk, &welcome, MAX);
    let (message, channel) = written.unwrap();
    initiator
        .read_message(&message, &mut vec![0; 8_192])
        .unwrap();
    (initiator.into_transport_mode().unwrap(), channel)
}

fn seal(peer: &mut TransportState, plain: &[u8]) -> Vec<u8> {
    let mut message = vec![0; plain.len() + 16];
    let length = peer.write_message(plain, &mut message).unwrap();
    message.truncate(length);
    message
}
