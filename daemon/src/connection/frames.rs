//! WebSocket frames (RFC 6455) as a server sees them: pure bytes in, typed frames out, and back.
//!
//! Only what a session socket allows is told apart: whole or fragmented binary messages and control frames. The
//! bound of a message is that of Noise, so nothing larger is ever waited for.

use bowline_protocol::{Reason, limits::MAX_NOISE_MESSAGE};
use bytes::{Buf, BytesMut};

/// Longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// Longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first, or only, part of a binary message.
    Binary,
    /// A further part.
    Continuation,
    /// The peer closes.
    Close,
    /// To be answered with a pong of the same payload.
    Ping,
    /// Proof of life.
    Pong,
}

/// One frame, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Whether it ends its message.
    pub(super) last: bool,
    pub(super) payload: BytesMut,
}

/// Takes the next whole frame off `input`; `None` when there is none yet.
///
/// # Errors
/// The reason to close with: `bad_request` for what a client may not send, `crypto_failed` for a frame longer than
/// any Noise message (`docs/protocol.md` §7). Nothing more can be read then.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Frame>, Reason> {
    let (&first, &second) = match (input.first(), input.get(1)) {
        (Some(first), Some(second)) => (first, second),
        _ => return Ok(None),
    };
    let last = first & 0x80 != 0;
    let kind = match first & 0x7f {
        0x0 => Kind::Continuation,
        0x2 => Kind::Binary,
        0x8 => Kind::Close,
        0x9 => Kind::Ping,
        0xa => Kind::Pong,
        // Text, unknown opcodes, reserved bits.
        _ => return Err(Reason::BadRequest),
    };
    let masked = second & 0x80 != 0;
    if !masked {
        return Err(Reason::BadRequest);
    }
    let mut header = [0; MAX_HEADER];
    let known = input.len().min(MAX_HEADER);
    if let (Some(to), Some(from)) = (header.get_mut(..known), input.get(..known)) {
        to.copy_from_slice(from);
    }
    let [_, _, a, b, c, d, e, f, g, h, rest @ ..] = header;
    let (length, mask, size) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f], 8),
        127 => (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            rest,
            MAX_HEADER,
        ),
        short => (u64::from(short), [a, b, c, d], 6),
    };
    if known < size {
        return Ok(None);
    }
    let length = match usize::try_from(length) {
        Ok(length) if length <= MAX_NOISE_MESSAGE => length,
        _ => return Err(Reason::CryptoFailed),
    };
    let control = matches!(kind, Kind::Close | Kind::Ping | Kind::Pong);
    if control && (length > MAX_CONTROL || !last) {
        return Err(Reason::BadRequest);
    }
    if input.len() < size + length {
        return Ok(None);
    }
    input.advance(size);
    let mut payload = input.split_to(length);
    unmask(&mut payload, mask);
    Ok(Some(Frame {
        kind,
        last,
        payload,
    }))
}

/// Sixteen bytes at a time, which compilers turn into one instruction.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        for (byte, mask) in block.iter_mut().zip(wide) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in rest.iter_mut().zip(wide) {
        *byte ^= mask;
    }
}

fn put(output: &mut BytesMut, opcode: u8, payload: &[u8]) {
    output.reserve(payload.len() + 10);
    let first = 0x80 | opcode;
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length <= 125 => output.extend_from_slice(&[first, length]),
        (_, Ok(length)) => {
            output.extend_from_slice(&[first, 126]);
            output.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            output.extend_from_slice(&[first, 127]);
            output.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(payload);
}

/// Appends a whole binary message.
pub(super) fn put_binary(output: &mut BytesMut, payload: &[u8]) {
    put(output, 0x2, payload);
}

/// Appends the answer to a ping.
pub(super) fn put_pong(output: &mut BytesMut, payload: &[u8]) {
    put(output, 0xa, payload);
}

/// Appends a close with a reason, or the plain answer to the peer's close.
pub(super) fn put_close(output: &mut BytesMut, reason: Option<Reason>) {
    let mut payload = Vec::new();
    if let Some(reason) = reason {
        // What has no code of its own is a normal end.
        let code = reason.close_code().unwrap_or(1000);
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_str().as_bytes());
    }
    put(output, 0x8, &payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame, with the mask and the shortest length that the specification asks for.
    fn client(first: u8, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out, 0, payload);
        out[0] = first;
        out[1] |= 0x80;
        let header = out.len() - payload.len();
        let mask = [1, 2, 3, 4];
        let mut framed = BytesMut::from(&out[..header]);
        framed.extend_from_slice(&mask);
        framed.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        framed
    }

    proptest! {
        #[test]
        fn frames_read_as_they_were_written_however_they_were_cut(
            payload in prop::collection::vec(any::<u8>(), 0..70_000),
            cut in 0_usize..70_000,
        ) {
            prop_assume!(payload.len() <= MAX_NOISE_MESSAGE);
            let framed = client(0x82, &payload);
            let cut = cut.min(framed.len() - 1);
            let mut input = BytesMut::from(&framed[..cut]);
            prop_assert_eq!(take(&mut input), Ok(None), "not whole yet");
            input.extend_from_slice(&framed[cut..]);
            input.extend_from_slice(b"\x82");
            let frame = take(&mut input).unwrap().unwrap();
            prop_assert_eq!(frame, Frame { kind: Kind::Binary, last: true, payload: BytesMut::from(&payload[..]) });
            prop_assert_eq!(&input[..], b"\x82", "the next frame stays");
        }

        /// Whatever arrives is a frame, the wish for more, or a typed end.
        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut input) {}
        }
    }

    #[test]
    fn what_a_client_may_not_send_is_refused_at_its_header() {
        for (header, reason) in [
            (&[0x81, 0x80][..], Reason::BadRequest),         // text
            (&[0xc2, 0x80], Reason::BadRequest),             // a reserved bit
            (&[0x83, 0x80], Reason::BadRequest),             // an unknown opcode
            (&[0x82, 0x00], Reason::BadRequest),             // not masked
            (&[0x09, 0x80, 0, 0, 0, 0], Reason::BadRequest), // a fragmented ping
            (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], Reason::BadRequest), // a long ping
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                Reason::CryptoFailed,
            ),
            (
                &[
                    0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
                ],
                Reason::CryptoFailed,
            ),
        ] {
            assert_eq!(
                take(&mut BytesMut::from(header)),
                Err(reason),
                "{header:02x?}"
            );
        }
    }

    #[test]
    fn a_close_says_code_and_reason() {
        let mut out = BytesMut::new();
        put_close(&mut out, Some(Reason::CryptoFailed));
        assert_eq!(&out[..], b"\x88\x0f\x11\x58crypto_failed");
    }
}
