//! WebSocket as a server of opaque messages needs it (RFC 6455): no extensions, no text to check, nothing kept for quiet
//! sockets.
//!
//! Framing of our own, because forwarding is all that a relay does: a message goes from one socket's bytes to the
//! other's without memory of its own, with the mask taken off on the way, and many messages in one system call
//! (`docs/adr/0014-relay-framing.md`). The tests hold it to what tungstenite reads and writes.

pub(crate) mod frame;
pub(crate) mod reader;

use bowline_protocol::{Claim, Reason, relay::CloseText};
use frame::{MAX_CONTROL_PAYLOAD, Masked, Opcode};

/// Appends one whole message of a server.
pub(crate) fn write_message(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    frame::write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a binary message whose payload is `head` and what a client sent.
pub(crate) fn write_binary(out: &mut Vec<u8>, head: &[u8], payload: Masked<'_>) {
    frame::write_header(out, Opcode::Binary, head.len() + payload.len());
    out.extend_from_slice(head);
    payload.append_to(out);
}

/// Appends the answer to a ping.
pub(crate) fn write_pong(out: &mut Vec<u8>, payload: Masked<'_>) {
    frame::write_header(out, Opcode::Pong, payload.len());
    payload.append_to(out);
}

/// Appends a close frame.
pub(crate) fn write_close(out: &mut Vec<u8>, code: u16, text: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(text.bytes().take(MAX_CONTROL_PAYLOAD - 2));
    write_message(out, Opcode::Close, &payload);
}

/// Appends a close frame that says why, if the reason has a code.
pub(crate) fn write_reason(out: &mut Vec<u8>, text: CloseText) {
    if let Some(code) = text.reason.close_code() {
        write_close(out, code, &text.to_string());
    }
}

/// The text beside a code that a daemon gave.
pub(crate) fn text_of_code(code: u16) -> &'static str {
    match Claim::of_close_code(Some(code)).claimed() {
        Reason::ConnectionLost => "",
        reason => reason.as_str(),
    }
}

/// Whether a close frame may carry this code: some stand for «none», some are kept for later (RFC 6455 §7.4).
pub(crate) const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
