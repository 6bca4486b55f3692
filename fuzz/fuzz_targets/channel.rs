//! `Channel::open` behind a real handshake: a paired but hostile peer that seals what it likes, and a stranger who
//! changes what passes by.
//!
//! Input: records of a kind, a length and that many bytes. Kind 0 seals the bytes as they are (the flag first), kind 1
//! throws them in unsealed, kind 2 delivers them with one byte changed before it delivers them rightly. The handshake is
//! made once: what was refused must leave the channel as it was.

#![no_main]

use std::cell::RefCell;

use bowline_protocol::{
    Reason, Refusal, ServerId, TransportKey, Welcome,
    seal::{Channel, NOISE_PATTERN, Responder, SealError},
};
use libfuzzer_sys::fuzz_target;
use snow::TransportState;

/// Small, so that the bound is reached.
const MAX: usize = 600;

/// A peer, the channel it talks to, and what a plain reading of `docs/protocol.md` says the channel holds.
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
        // Whatever was left unfinished ends with this run.
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
        assert!(!opened, "a forgery was taken");
    }

    fn deliver(&mut self, message: &[u8], plain: &[u8]) {
        let partial = &mut self.partial;
        let expected = match plain {
            [0 | 1, chunk @ ..] if partial.len() + chunk.len() > MAX => Err("too large"),
            [0, chunk @ ..] => {
                partial.extend_from_slice(chunk);
                Ok(Some(std::mem::take(partial)))
            }
            [1, chunk @ ..] => {
                partial.extend_from_slice(chunk);
                Ok(None)
            }
            _ => Err("malformed"),
        };
        let mut buffer = Vec::new();
        let opened = self.channel.open(message, &mut buffer);
        let got = opened
            .map(|text| text.map(<[u8]>::to_vec))
            .map_err(|error| match error {
                SealError::TooLarge { limit: MAX } => "too large",
                SealError::Malformed(_) => "malformed",
                _ => "something else",
            });
        assert_eq!(got, expected);
    }
}

/// Both ends of a channel; the peer's made by hand, so that it can seal anything.
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
        .build_initiator()
        .unwrap();
    let mut message = vec![0; 1_024];
    let length = initiator.write_message(b"{}", &mut message).unwrap();
    let mut responder = Responder::new(&key, &server).unwrap();
    responder.read_hello(&message[..length]).unwrap();
    let welcome = Welcome::Refused(Refusal::new(Reason::RateLimited, ""));
    let (message, channel) = responder.write_welcome(&welcome, MAX).unwrap();
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
