//! The quick path for messages whose members are in the usual order and without spaces, as most
//! writers, and this library, write them. It spares the table of members, which is most of the time
//! that a small message takes.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Id, Incoming, Notification, Request, Response};

/// Reads a request, notification or result in the usual form; `None` for everything else, also for
/// what is wrong: the general path then says how.
pub(super) fn read(text: &str) -> Option<Incoming<'_>> {
    let rest = text.strip_prefix(r#"{"jsonrpc":"2.0",""#)?;
    if let Some(rest) = rest.strip_prefix(r#"method":""#) {
        let (method, params) = call(rest)?;
        return Some(Incoming::Notification(Notification { method, params }));
    }
    let (id, rest) = number(rest.strip_prefix(r#"id":"#)?)?;
    if let Some(rest) = rest.strip_prefix(r#","method":""#) {
        let (method, params) = call(rest)?;
        return Some(Incoming::Request(Request { id, method, params }));
    }
    let (seq, rest) = match rest.strip_prefix(r#","seq":"#) {
        None => (None, rest),
        Some(rest) => {
            let (seq, rest) = number(rest)?;
            (Some(seq.as_u64()?), rest)
        }
    };
    let outcome = Ok(last(rest.strip_prefix(r#","result":"#)?)?);
    Some(Incoming::Response(Response { id, seq, outcome }))
}

/// Digits, and what follows them.
fn number(text: &str) -> Option<(Id<'_>, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let is_json = digits == "0" || !digits.is_empty() && !digits.starts_with('0');
    is_json.then_some((Id(Cow::Borrowed(digits)), rest))
}

/// A method's name after its quote, with the parameters to the end of the message.
fn call(text: &str) -> Option<(Cow<'_, str>, Option<&RawValue>)> {
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    let (method, rest) = text.split_at_checked(end)?;
    let params = last(rest.strip_prefix(r#"","params":"#)?)?;
    let is_usual = method.bytes().all(|byte| byte >= b' ') && params.get().starts_with(['{', '[']);
    is_usual.then_some((Cow::Borrowed(method), Some(params)))
}

/// The last member's value, with the brace that ends the message. Another member after it is not
/// JSON.
fn last(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text.strip_suffix('}')?).ok()
}
