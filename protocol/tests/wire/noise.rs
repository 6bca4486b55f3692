//! The sealed channel against an independent Noise implementation: `snow` driven directly, with its
//! pure-Rust ciphers where the crate uses `ring`, and with fixed ephemeral keys so that the bytes
//! are golden (BX-3).

use bowline_protocol::{
    Hello, Reason, Welcome,
    handshake::IdentityProof,
    identity::PresharedKey,
    limits::{MAX_CHUNK, MAX_NOISE_MESSAGE},
    seal::{Channel, Initiator, NOISE_PATTERN, Responder, SealError},
};
use proptest::{collection::vec, prelude::*};
use snow::{Builder, HandshakeState, TransportState, resolvers::DefaultResolver};

use crate::{fixture::Golden, handshake, samples};

const MAX: usize = 1 << 20;
const DEVICE: [u8; 32] = [0x33; 32];
const DAEMON: [u8; 32] = [0x22; 32];
const PSK: [u8; 32] = [0x44; 32];

/// The pattern's name in the protocol's documentation.
const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

fn prologue() -> Vec<u8> {
    [b"bowline/1\n", samples::server().as_str().as_bytes()].concat()
}

/// One hand-written side under [`PSK`]: the initiator if the daemon's key is given.
fn foreign(private: &[u8; 32], daemon: Option<&[u8]>, ephemeral: Option<&[u8]>) -> HandshakeState {
    foreign_under(&PSK, private, daemon, ephemeral)
}

pub(crate) fn foreign_under(
    psk: &[u8; 32],
    private: &[u8; 32],
    daemon: Option<&[u8]>,
    ephemeral: Option<&[u8]>,
) -> HandshakeState {
    let prologue = prologue();
    let params = PATTERN.parse().unwrap();
    let mut builder = Builder::with_resolver(params, Box::new(DefaultResolver))
        .local_private_key(private)
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .psk(2, psk)
        .unwrap();
    if let Some(ephemeral) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    match daemon {
        Some(key) => builder
            .remote_public_key(key)
            .unwrap()
            .build_initiator()
            .unwrap(),
        None => builder.build_responder().unwrap(),
    }
}

pub(crate) fn write(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; MAX_NOISE_MESSAGE];
    let length = state.write_message(payload, &mut message).unwrap();
    message.truncate(length);
    message
}

pub(crate) fn read(state: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; MAX_NOISE_MESSAGE];
    let length = state.read_message(message, &mut payload).unwrap();
    payload.truncate(length);
    payload
}

pub(crate) fn seal_by_hand(state: &mut TransportState, flag: u8, chunk: &[u8]) -> Vec<u8> {
    let mut message = vec![0; MAX_NOISE_MESSAGE];
    let plain = [&[flag], chunk].concat();
    let length = state.write_message(&plain, &mut message).unwrap();
    message.truncate(length);
    message
}

fn open_by_hand(state: &mut TransportState, message: &[u8]) -> (u8, Vec<u8>) {
    let mut plain = vec![0; MAX_NOISE_MESSAGE];
    let length = state.read_message(message, &mut plain).unwrap();
    (plain[0], plain[1..length].to_vec())
}

fn seal(channel: &mut Channel, text: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    channel
        .gather(text, |message| messages.push(message.to_vec()))
        .unwrap();
    channel
        .finish(|message| messages.push(message.to_vec()))
        .unwrap();
    messages
}

fn open(channel: &mut Channel, message: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
    let mut buffer = Vec::new();
    Ok(channel.open(message, &mut buffer)?.map(<[u8]>::to_vec))
}

/// A conversation with fixed ephemeral keys: the bytes that every implementation must produce and
/// accept.
#[test]
fn golden_noise_transcript() {
    let mut golden = Golden::new("noise.json");
    golden.value("pattern", &PATTERN.to_owned());
    golden.value("prologue", &String::from_utf8(prologue()).unwrap());
    golden.hex("initiator static private", &DEVICE);
    golden.hex("initiator ephemeral private", &[0x66; 32]);
    golden.hex("responder static private", &DAEMON);
    golden.hex("responder ephemeral private", &[0x77; 32]);
    golden.hex("pre-shared key", &PSK);
    let daemon = samples::transport_key().public();
    let mut client = foreign(&DEVICE, Some(daemon.as_bytes()), Some(&[0x66; 32]));
    let mut server = foreign(&DAEMON, None, Some(&[0x77; 32]));

    let hello = handshake::hello().to_json();
    let first = write(&mut client, &hello);
    golden.value("payload 1", &String::from_utf8(hello.clone()).unwrap());
    golden.hex("message 1", &first);
    assert_eq!(read(&mut server, &first), hello);
    let mut ours = Responder::new(&samples::transport_key(), &samples::server()).unwrap();
    let (device, payload) = ours.read_hello(&first).unwrap();
    assert_eq!(device, samples::device_key().public());
    assert_eq!(Hello::parse(&payload), Ok(handshake::hello()));

    let proof = IdentityProof::sign(&samples::identity(), &daemon, &first);
    let welcome = handshake::welcome().to_json(&proof);
    let second = write(&mut server, &welcome);
    golden.value("payload 2", &String::from_utf8(welcome.clone()).unwrap());
    golden.hex("message 2", &second);
    assert_eq!(read(&mut client, &second), welcome);

    let mut client = client.into_transport_mode().unwrap();
    let mut server = server.into_transport_mode().unwrap();
    let ready = br#"{"jsonrpc":"2.0","method":"session.ready","params":{}}"#;
    golden.hex("client 0, flag 0", &seal_by_hand(&mut client, 0, ready));
    golden.hex(
        "client 1, flag 1",
        &seal_by_hand(&mut client, 1, b"{\"in two"),
    );
    golden.hex(
        "client 2, flag 0",
        &seal_by_hand(&mut client, 0, b" chunks\":1}"),
    );
    golden.hex("server 0, flag 0", &seal_by_hand(&mut server, 0, b"{}"));
    golden.hex(
        "server 1, flag 2",
        &seal_by_hand(&mut server, 2, b"\0\x02{}\0\x02[]"),
    );
    golden.check();
}

#[test]
fn the_pattern_is_that_of_the_documentation() {
    assert_eq!(NOISE_PATTERN, PATTERN);
}

fn psk() -> PresharedKey {
    PresharedKey::from_bytes(PSK)
}

fn initiator() -> Initiator {
    let key = samples::transport_key().public();
    Initiator::new(&samples::device_key(), &key, &samples::server(), psk()).unwrap()
}

fn our_daemon_and_a_foreign_client() -> (Channel, TransportState) {
    let daemon = samples::transport_key().public();
    let mut client = foreign(&DEVICE, Some(daemon.as_bytes()), None);
    let hello = handshake::hello().to_json();
    let mut responder = Responder::new(&samples::transport_key(), &samples::server()).unwrap();
    let first = write(&mut client, &hello);
    let (device, payload) = responder.read_hello(&first).unwrap();
    assert_eq!(device, samples::device_key().public());
    assert_eq!(payload, hello);
    let welcome = handshake::welcome();
    let written = responder.write_welcome(&samples::identity(), &psk(), &welcome, MAX);
    let (second, channel) = written.unwrap();
    let (proof, read) = Welcome::parse(&read(&mut client, &second)).unwrap();
    assert_eq!(read, welcome);
    assert!(proof.is_of(&samples::server(), &daemon, &first), "TR-1");
    (channel, client.into_transport_mode().unwrap())
}

fn our_client_and_a_foreign_daemon() -> (Channel, TransportState) {
    let mut daemon = foreign(&DAEMON, None, None);
    let key = samples::transport_key().public();
    let mut initiator = initiator();
    let first = initiator.write_hello(&handshake::hello()).unwrap();
    let hello = read(&mut daemon, &first);
    assert_eq!(Hello::parse(&hello), Ok(handshake::hello()));
    let device = samples::device_key().public();
    assert_eq!(daemon.get_remote_static().unwrap(), device.as_bytes());
    let proof = IdentityProof::sign(&samples::identity(), &key, &first);
    let second = write(&mut daemon, &handshake::welcome().to_json(&proof));
    let (welcome, channel) = initiator.read_welcome(&second, MAX).unwrap();
    assert_eq!(welcome, handshake::welcome());
    (channel, daemon.into_transport_mode().unwrap())
}

#[test]
fn bx_3_a_foreign_peer_and_ours_understand_each_other_on_either_side() {
    for (mut ours, mut foreign) in [
        our_daemon_and_a_foreign_client(),
        our_client_and_a_foreign_daemon(),
    ] {
        for text in [b"".as_slice(), b"{}", &vec![b'x'; MAX_CHUNK + 1]] {
            let mut read = Vec::new();
            let messages = seal(&mut ours, text);
            for (at, message) in messages.iter().enumerate() {
                let (flag, chunk) = open_by_hand(&mut foreign, message);
                assert_eq!(flag, u8::from(at + 1 < messages.len()));
                read.extend(chunk);
            }
            assert_eq!(read, text);
        }
        // A peer may split a message anywhere, including into empty chunks.
        for (flag, chunk, whole) in [
            (0, b"whole".as_slice(), Some(b"whole".as_slice())),
            (1, b"", None),
            (1, b"in ", None),
            (1, b"", None),
            (0, b"parts", Some(b"in parts")),
            (1, b"ends ", None),
            (0, b"", Some(b"ends ")),
            (0, b"", Some(b"")),
        ] {
            let message = seal_by_hand(&mut foreign, flag, chunk);
            assert_eq!(open(&mut ours, &message).unwrap().as_deref(), whole);
        }
        let unknown = seal_by_hand(&mut foreign, 3, b"{}");
        let error = open(&mut ours, &unknown).unwrap_err();
        assert_eq!(error.reason(), Reason::BadRequest);
    }
}

#[test]
fn a_message_without_a_flag_is_malformed() {
    let (mut ours, mut foreign) = our_daemon_and_a_foreign_client();
    let mut message = vec![0; 64];
    let length = foreign.write_message(&[], &mut message).unwrap();
    assert!(matches!(
        open(&mut ours, &message[..length]),
        Err(SealError::Malformed(_))
    ));
}

#[test]
fn chunks_without_end_stop_at_the_limit() {
    let (mut ours, mut foreign) = our_daemon_and_a_foreign_client();
    let mut held = 0;
    let error = loop {
        let message = seal_by_hand(&mut foreign, 1, &[b'x'; 60_000]);
        match open(&mut ours, &message) {
            Ok(None) => held += 60_000,
            Ok(Some(_)) => panic!("it has no end"),
            Err(error) => break error,
        }
        assert!(held <= MAX, "more is held than a message may have");
    };
    assert_eq!(error, SealError::TooLarge { limit: MAX });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bx_3_random_bytes_at_every_stage_are_errors(bytes in vec(any::<u8>(), 0..200)) {
        let mut responder = Responder::new(&samples::transport_key(), &samples::server()).unwrap();
        prop_assert!(responder.read_hello(&bytes).is_err());
        let mut initiator = initiator();
        initiator.write_hello(&handshake::hello()).unwrap();
        prop_assert!(initiator.read_welcome(&bytes, MAX).is_err());
        let (mut ours, _) = our_daemon_and_a_foreign_client();
        prop_assert_eq!(open(&mut ours, &bytes), Err(SealError::Crypto));
    }

    #[test]
    fn bx_3_a_hello_changed_in_one_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut initiator = initiator();
        let mut first = initiator.write_hello(&handshake::hello()).unwrap();
        let at = at.index(first.len());
        // X25519 ignores the top bit of a public key, but the handshake's hash covers it.
        first[at] ^= 1 << bit;
        let mut responder = Responder::new(&samples::transport_key(), &samples::server()).unwrap();
        prop_assert_eq!(responder.read_hello(&first).unwrap_err(), SealError::Crypto);
    }

    #[test]
    fn messages_arrive_whole_and_in_order(texts in vec(vec(any::<u8>(), 0..300), 1..20)) {
        let (mut ours, mut foreign) = our_client_and_a_foreign_daemon();
        for text in &texts {
            let sealed = seal(&mut ours, text);
            prop_assert_eq!(sealed.len(), 1);
            prop_assert_eq!(open_by_hand(&mut foreign, &sealed[0]), (0, text.clone()));
            let back = seal_by_hand(&mut foreign, 0, text);
            let opened = open(&mut ours, &back).unwrap();
            prop_assert_eq!(opened.as_ref(), Some(text));
        }
    }
}
