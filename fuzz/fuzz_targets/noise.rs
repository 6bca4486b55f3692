//! Noise message 1 as a daemon reads it from a stranger: never panics; one for another daemon, or
//! with any byte changed, does not decrypt; and an unchanged one yields its sender and its payload.
//!
//! Input: a kind, and bytes. Kind 0 are the bytes of the message itself, kind 1 the payload of a
//! message that is right, kind 2 the same with a byte changed, kind 3 one for another daemon.

#![no_main]

use bowline_protocol::{
    Hello, ServerId, TransportKey,
    seal::{NOISE_PATTERN, Responder, SealError},
};
use libfuzzer_sys::fuzz_target;

/// Private key of the peer.
const PEER: [u8; 32] = [0x33; 32];

fuzz_target!(|data: &[u8]| {
    let [kind, at, bytes @ ..] = data else {
        return;
    };
    let key = TransportKey::from_private([0x22; 32]);
    let server = ServerId::of_public_key(b"fuzz");
    let other = ServerId::of_public_key(b"other");
    let read = |message: &[u8]| Responder::new(&key, &server).unwrap().read_hello(message);
    match kind % 4 {
        0 => assert!(read(bytes).is_err(), "random bytes were accepted"),
        1 => match read(&message_1(&key, &server, bytes)) {
            Ok((device, payload)) => {
                assert_eq!(device, TransportKey::from_private(PEER).public());
                assert_eq!(payload, bytes);
                let _ = Hello::parse(&payload);
            }
            Err(error) => assert!(matches!(error, SealError::TooLarge { .. }), "{error}"),
        },
        2 => {
            let mut message = message_1(&key, &server, bytes);
            let at = usize::from(*at) % message.len();
            message[at] ^= 1;
            assert!(read(&message).is_err(), "byte {at} does not count");
        }
        _ => assert!(read(&message_1(&key, &other, bytes)).is_err()),
    }
});

/// Message 1 with any payload; snow is used directly, so that a peer can say anything.
fn message_1(key: &TransportKey, server: &ServerId, payload: &[u8]) -> Vec<u8> {
    let prologue = [b"bowline/1\n", server.as_str().as_bytes()].concat();
    let mut initiator = snow::Builder::new(NOISE_PATTERN.parse().unwrap())
        .local_private_key(&PEER)
        .unwrap()
        .remote_public_key(key.public().as_bytes())
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .psk(2, &[0x44; 32])
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut message = vec![0; payload.len() + 96];
    let length = initiator.write_message(payload, &mut message).unwrap();
    message.truncate(length);
    message
}
