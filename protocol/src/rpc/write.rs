//! Writes messages as bytes, appended to a buffer that the caller reuses.

use serde::Serialize;

use super::Id;
use crate::error::RpcError;

/// Appends a request with a numeric id.
///
/// # Errors
/// When `params` does not serialise; the buffer is then unchanged.
pub fn write_request<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    id: u64,
    method: &str,
    params: &P,
) -> Result<(), serde_json::Error> {
    let start = out.len();
    begin_request(out, id);
    finish_call(out, start, method, params)
}

/// Appends a request with a numeric id; `params` is JSON text.
///
/// # Errors
/// When `method` does not serialise, which no text does; the buffer is then unchanged.
pub fn write_request_text(
    out: &mut Vec<u8>,
    id: u64,
    method: &str,
    params: &str,
) -> Result<(), serde_json::Error> {
    let start = out.len();
    begin_request(out, id);
    finish(out, start, method, |out| {
        out.extend_from_slice(params.as_bytes());
        Ok(())
    })
}

fn begin_request(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    number(out, id);
    out.extend_from_slice(br#","method":"#);
}

/// Appends a notification.
///
/// # Errors
/// When `params` does not serialise; the buffer is then unchanged.
pub fn write_notification<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    method: &str,
    params: &P,
) -> Result<(), serde_json::Error> {
    let start = out.len();
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
    finish_call(out, start, method, params)
}

fn finish_call<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    start: usize,
    method: &str,
    params: &P,
) -> Result<(), serde_json::Error> {
    finish(out, start, method, |out| serde_json::to_writer(out, params))
}

fn finish(
    out: &mut Vec<u8>,
    start: usize,
    method: &str,
    params: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    let written = serde_json::to_writer(&mut *out, method).and_then(|()| {
        out.extend_from_slice(br#","params":"#);
        params(out)
    });
    match written {
        Ok(()) => out.push(b'}'),
        Err(_) => out.truncate(start),
    }
    written
}

/// Appends a response; `result` is JSON text.
pub fn write_response(out: &mut Vec<u8>, id: &Id<'_>, result: &str) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_json().as_bytes());
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
}

/// Appends the response to an intent that was done; `result` is JSON text. Once the client has
/// applied event `seq` of its session, it has every event of what the intent did (LD-2).
pub fn write_done(out: &mut Vec<u8>, id: &Id<'_>, seq: u64, result: &str) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_json().as_bytes());
    out.extend_from_slice(br#","seq":"#);
    number(out, seq);
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
}

/// Appends an error response.
pub fn write_error(out: &mut Vec<u8>, id: &Id<'_>, error: &RpcError) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_json().as_bytes());
    out.extend_from_slice(br#","error":"#);
    // A number and strings always serialise.
    let _ = serde_json::to_writer(&mut *out, error);
    out.push(b'}');
}

/// Begins a batch of responses.
pub fn begin_batch(out: &mut Vec<u8>) {
    out.push(b'[');
}

/// Appends one JSON message to a batch begun with [`begin_batch`].
pub fn append_batch_item(out: &mut Vec<u8>, message: &[u8]) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
    out.extend_from_slice(message);
}

/// Ends a batch.
pub fn end_batch(out: &mut Vec<u8>) {
    out.push(b']');
}

/// Appends decimal digits without the formatting machinery, since every request needs it.
fn number(out: &mut Vec<u8>, mut value: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + u8::try_from(value % 10).unwrap_or(0));
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_the_specification_writes_them() {
        let mut out = Vec::new();
        write_request(&mut out, 1_024, "system.ping", &crate::methods::Empty {}).unwrap();
        assert_eq!(
            out,
            br#"{"jsonrpc":"2.0","id":1024,"method":"system.ping","params":{}}"#
        );
        let written = out.clone();
        out.clear();
        write_request_text(&mut out, 1_024, "system.ping", "{}").unwrap();
        assert_eq!(out, written);
        out.clear();
        write_notification(&mut out, "session.ack", &crate::methods::Ack { seq: 3 }).unwrap();
        assert_eq!(
            out,
            br#"{"jsonrpc":"2.0","method":"session.ack","params":{"seq":3}}"#
        );
        out.clear();
        begin_batch(&mut out);
        let mut item = Vec::new();
        write_response(&mut item, &Id::number(0), "true");
        append_batch_item(&mut out, &item);
        item.clear();
        write_error(&mut item, &Id::NULL, &RpcError::parse("x"));
        append_batch_item(&mut out, &item);
        end_batch(&mut out);
        assert_eq!(
            out,
            br#"[{"jsonrpc":"2.0","id":0,"result":true},{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}]"#
        );
    }
}
