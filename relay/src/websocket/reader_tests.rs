//! The reader against tungstenite as the reference: it reads all that tungstenite writes, however
//! it is split.

use proptest::{collection::vec, prelude::*};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame, Role, WebSocket,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use super::*;

const MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Binary(Vec<u8>),
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn seen(incoming: Incoming<'_>) -> Seen {
    match incoming {
        Incoming::Message(Opcode::Text, payload) => Seen::Text(payload.to_vec()),
        Incoming::Message(_, payload) => Seen::Binary(payload.to_vec()),
        Incoming::Ping(payload) => Seen::Ping(payload.to_vec()),
        Incoming::Pong => Seen::Pong,
        Incoming::Close(code) => Seen::Close(code),
    }
}

/// Reads bytes in pieces of the given sizes, repeated.
fn read(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Seen>, Violation> {
    let mut reader = Reader::new(MAX);
    let (mut all, mut rest) = (Vec::new(), bytes);
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut input, later) = rest.split_at((*piece).min(rest.len()));
        rest = later;
        while let Some(incoming) = reader.next(&mut input)? {
            all.push(seen(incoming));
        }
        assert!(input.is_empty(), "everything is used or kept");
        assert!(reader.held() <= 2 * (MAX + 14), "bounded");
    }
    reader.rest();
    assert_eq!(reader.held(), 0, "nothing is left behind");
    Ok(all)
}

/// Bytes that a tungstenite client writes.
fn written(frames: Vec<Message>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in frames {
        let mut client =
            WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Client, None);
        client.send(message).unwrap();
        out.extend_from_slice(client.get_ref().get_ref());
    }
    out
}

fn fragment(opcode: Data, fin: bool, payload: &[u8]) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(opcode), fin))
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    // Every length encoding, at both sides of its limits.
    prop_oneof![
        vec(any::<u8>(), 0..10),
        vec(any::<u8>(), 120..131),
        vec(any::<u8>(), 990..=MAX)
    ]
}

/// Messages with the frames a client sends for them.
fn conversation() -> impl Strategy<Value = Vec<(Vec<Message>, Vec<Seen>)>> {
    let binary = payload().prop_map(|p| (vec![Message::binary(p.clone())], vec![Seen::Binary(p)]));
    let text = "[a-zäöü]{0,40}".prop_map(|text| {
        let seen = Seen::Text(text.clone().into_bytes());
        (vec![Message::text(text)], vec![seen])
    });
    let ping = vec(any::<u8>(), 0..=125).prop_map(|p| {
        let message = Message::Ping(p.clone().into());
        (vec![message], vec![Seen::Ping(p)])
    });
    let pong = Just((vec![Message::Pong(vec![1].into())], vec![Seen::Pong]));
    // A message in pieces, with a ping in between.
    let pieces = vec(vec(any::<u8>(), 0..100), 2..6).prop_map(|pieces| {
        let last = pieces.len() - 1;
        let mut frames = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let opcode = if n == 0 { Data::Binary } else { Data::Continue };
            frames.push(fragment(opcode, n == last, piece));
            if n == 0 {
                frames.push(Message::Ping(vec![7].into()));
            }
        }
        (
            frames,
            vec![Seen::Ping(vec![7]), Seen::Binary(pieces.concat())],
        )
    });
    vec(
        prop_oneof![3 => binary, 1 => text, 1 => ping, 1 => pong, 1 => pieces],
        0..8,
    )
}

proptest! {
    #[test]
    fn whatever_a_client_writes_is_read_however_it_is_cut_up(
        conversation in conversation(),
        pieces in vec(1..3_000_usize, 1..10),
    ) {
        let (frames, expected): (Vec<_>, Vec<_>) = conversation.into_iter().unzip();
        let bytes = written(frames.concat());
        prop_assert_eq!(read(&bytes, &pieces).unwrap(), expected.concat());
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_cutting_them_up_makes_no_difference(
        bytes in vec(any::<u8>(), 0..200),
        pieces in vec(1..50_usize, 1..5),
    ) {
        let mut reader = Reader::new(MAX);
        let mut input = &bytes[..];
        let mut whole = Vec::new();
        let end = loop {
            match reader.next(&mut input) {
                Ok(Some(incoming)) => whole.push(seen(incoming)),
                Ok(None) => break None,
                Err(violation) => break Some(violation),
            }
        };
        let mut reader = Reader::new(MAX);
        let (mut cut, mut cut_end) = (Vec::new(), None);
        let mut rest = &bytes[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() || cut_end.is_some() {
                break;
            }
            let (mut input, later) = rest.split_at((*piece).min(rest.len()));
            rest = later;
            loop {
                match reader.next(&mut input) {
                    Ok(Some(incoming)) => cut.push(seen(incoming)),
                    Ok(None) => break,
                    Err(violation) => {
                        cut_end = Some(violation);
                        break;
                    }
                }
            }
        }
        prop_assert_eq!(cut, whole);
        prop_assert_eq!(cut_end, end);
    }

    #[test]
    fn what_we_write_a_client_reads(payload in payload(), head in vec(any::<u8>(), 0..6), mask: [u8; 4]) {
        let masked: Vec<_> = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        let mut out = Vec::new();
        super::super::write_binary(&mut out, &head, Masked::new(&masked, mask));
        super::super::write_close(&mut out, 4404, "daemon_offline");
        let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(out), Role::Client, None);
        let expected = [head, payload].concat();
        prop_assert_eq!(client.read().unwrap(), Message::binary(expected));
        let close = CloseFrame { code: CloseCode::from(4404), reason: "daemon_offline".into() };
        prop_assert_eq!(client.read().unwrap(), Message::Close(Some(close)));
    }

    #[test]
    fn a_split_payload_is_unmasked_as_if_it_were_whole(
        payload in vec(any::<u8>(), 5..9_000), mask: [u8; 4],
    ) {
        let masked: Vec<_> = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        let (head, rest) = Masked::new(&masked, mask).split_first::<5>().unwrap();
        prop_assert_eq!([&head[..], &rest.to_vec()].concat(), payload);
    }
}

#[test]
fn what_no_client_may_send_is_refused_before_it_is_waited_for() {
    let refused = |bytes: &[u8]| read(bytes, &[1]).unwrap_err();
    assert_eq!(refused(&[0x82, 0x01, 0]), Violation::Unmasked);
    assert_eq!(refused(&[0xC2, 0x80]), Violation::ReservedBits);
    assert_eq!(refused(&[0x83, 0x80]), Violation::Opcode);
    assert_eq!(refused(&[0x8B, 0x80]), Violation::Opcode);
    assert_eq!(
        refused(&[0x09, 0x80]),
        Violation::Control,
        "a ping in pieces"
    );
    assert_eq!(refused(&[0x89, 0xFE]), Violation::Control, "a long ping");
    assert_eq!(refused(&[0x80, 0x80, 0, 0, 0, 0]), Violation::Fragments);
    let begun = [0x02, 0x80, 0, 0, 0, 0];
    let again = [&begun[..], &[0x82, 0x80, 0, 0, 0, 0]].concat();
    assert_eq!(refused(&again), Violation::Fragments);
    assert_eq!(refused(&[0x88, 0x81, 0, 0, 0, 0, 1]), Violation::Control);
    let close = |code: u16| {
        let [a, b] = code.to_be_bytes();
        [0x88, 0x82, 0, 0, 0, 0, a, b]
    };
    for code in [0, 999, 1005, 1006, 1015, 2_999, 5_000] {
        assert_eq!(refused(&close(code)), Violation::Control, "{code}");
    }
    assert_eq!(read(&close(4404), &[8]), Ok(vec![Seen::Close(Some(4404))]));
    assert_eq!(
        read(&[0x88, 0x80, 0, 0, 0, 0], &[8]),
        Ok(vec![Seen::Close(None)])
    );
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_header() {
    let header = |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat();
    for len in [MAX as u64 + 1, 1 << 40, u64::MAX] {
        assert_eq!(read(&header(len), &[1]), Err(Violation::TooLarge));
    }
    // In fragments it is refused at the one that goes over.
    let piece = vec![0; MAX / 2 + 1];
    let frames = vec![
        fragment(Data::Binary, false, &piece),
        fragment(Data::Continue, true, &piece),
    ];
    assert_eq!(read(&written(frames), &[64]), Err(Violation::TooLarge));
}
