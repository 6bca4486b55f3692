//! WebSocket for a server of opaque messages (RFC 6455): no extensions, no text validation, and no
//! memory for quiet sockets.
//!
//! The framing is written for the relay, because forwarding is all it does: a message passes from
//! one socket's bytes to the other's without memory of its own, is unmasked on the way, and many
//! messages share one system call (`docs/adr/0014-relay-framing.md`). The tests compare it with
//! tungstenite.

pub(crate) mod frame;
pub(crate) mod reader;

use bowline_protocol::{Claim, Reason, relay::CloseText};
use frame::{MAX_CONTROL_PAYLOAD, Masked, Opcode};

/// Close code of a socket whose peer gave none, and of a session that ended normally.
pub(crate) const NORMAL: u16 = 1000;

/// Appends one whole server message.
pub(crate) fn write_message(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    frame::write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a binary message whose payload is `head` and a client's payload.
pub(crate) fn write_binary(out: &mut Vec<u8>, head: &[u8], payload: Masked<'_>) {
    frame::write_header(out, Opcode::Binary, head.len() + payload.len());
    out.extend_from_slice(head);
    payload.append_to(out);
}

/// Appends the response to a ping.
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

/// Appends a close frame with the reason, if the reason has a code.
pub(crate) fn write_reason(out: &mut Vec<u8>, text: CloseText) {
    if let Some(code) = text.reason.close_code() {
        write_close(out, code, &text.to_string());
    }
}

/// The close text for a code that a daemon sent.
pub(crate) fn text_of_code(code: u16) -> &'static str {
    match Claim::of_close_code(Some(code)).claimed() {
        Reason::ConnectionLost => "",
        reason => reason.as_str(),
    }
}

/// Whether a close frame may have this code: some mean "none", and some are reserved (RFC 6455
/// §7.4).
pub(crate) const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
