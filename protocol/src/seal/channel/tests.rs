//! What goes through a channel arrives once, whole and in order, or ends it.

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
            .gather(text, |message| messages.push(message.to_vec()))
            .unwrap();
    }
    channel
        .finish(|message| messages.push(message.to_vec()))
        .unwrap();
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
    channel.seal(plain).unwrap().to_vec()
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
