//! Texts that carry bytes: a JSON-RPC message, and after it bytes that are not JSON (LD-8).
//!
//! ```text
//! 00  length of the message (u32, big-endian)  the message  the bytes
//! ```
//!
//! No JSON text begins with a zero byte, so the two kinds of texts are told apart by it.

use crate::error::RpcError;

/// The first byte of a text that carries bytes.
const MARK: u8 = 0;
/// Bytes before the message.
const HEAD: usize = 5;

/// The most bytes that a text with them takes besides its message and the bytes.
pub const CARRIED_OVERHEAD: usize = HEAD;

/// Splits a text into its message and the bytes that it carries, if it is one that does.
///
/// # Errors
/// −32700 if the message is longer than the text.
pub fn split_carried(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), RpcError> {
    if text.first() != Some(&MARK) {
        return Ok((text, None));
    }
    let wrong = || RpcError::parse("a text with bytes is shorter than its head says");
    let (head, rest) = text.split_first_chunk::<HEAD>().ok_or_else(wrong)?;
    let [_, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| wrong())?;
    let (message, bytes) = rest.split_at_checked(length).ok_or_else(wrong)?;
    Ok((message, Some(bytes)))
}

/// Appends a text that carries `bytes` with the message that `write` appends.
///
/// # Errors
/// Those of `write`; the buffer is then unchanged.
pub fn write_carried<E>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[MARK; HEAD]);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // Messages are bounded far below this.
    let length = u32::try_from(out.len() - start - HEAD).unwrap_or(u32::MAX);
    for (to, from) in out.iter_mut().skip(start + 1).zip(length.to_be_bytes()) {
        *to = from;
    }
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write_carried::<()>(&mut out, bytes, |out| {
            out.extend_from_slice(message);
            Ok(())
        })
        .unwrap();
        out.split_off(6)
    }

    #[test]
    fn ld_8_a_text_with_bytes_is_read_as_it_was_written() {
        let text = written(b"{\"a\":1}", b"\0\n\xff");
        assert_eq!(text, b"\0\0\0\0\x07{\"a\":1}\0\n\xff");
        let (message, bytes) = split_carried(&text).unwrap();
        assert_eq!(
            (message, bytes),
            (&b"{\"a\":1}"[..], Some(&b"\0\n\xff"[..]))
        );
        let empty = written(b"{}", b"");
        assert_eq!(split_carried(&empty).unwrap().1, Some(&b""[..]));
    }

    #[test]
    fn ld_8_json_carries_nothing_and_a_wrong_length_is_refused() {
        assert_eq!(split_carried(b" {}").unwrap(), (&b" {}"[..], None));
        assert_eq!(split_carried(b"").unwrap(), (&b""[..], None));
        for wrong in [
            &b"\0"[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03{}",
            b"\0\xff\xff\xff\xff{}",
        ] {
            assert!(split_carried(wrong).is_err(), "{wrong:?}");
        }
        let mut out = b"kept".to_vec();
        assert_eq!(write_carried(&mut out, b"x", |_| Err(7)), Err(7));
        assert_eq!(out, b"kept");
    }
}
