//! JSON-RPC 2.0: parses texts into borrowed messages and writes texts into caller-owned buffers.
//!
//! Parameters and results stay unparsed ([`serde_json::value::RawValue`]) until a handler needs
//! them, so a message is scanned once and never copied.

mod carried;
mod parse;
mod raw;
mod usual;
mod write;

pub use carried::{CARRIED_OVERHEAD, split_carried, write_carried};
pub use parse::{Incoming, Notification, Request, Response, Text, parse};
pub use raw::{raw, text};
pub use write::{
    append_batch_item, begin_batch, end_batch, write_done, write_error, write_notification,
    write_request, write_request_text, write_response,
};

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

/// A request id: the JSON text of a string, a number or `null`, echoed byte for byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id<'a>(Cow<'a, str>);

impl Id<'_> {
    /// `null`: the id of answers to unreadable requests.
    pub const NULL: Id<'static> = Id(Cow::Borrowed("null"));

    /// The id of a number.
    pub fn number(number: u64) -> Id<'static> {
        Id(Cow::Owned(number.to_string()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The number, if the id is a plain non-negative integer, as the ids of this library's clients
    /// are.
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// An id that owns its text.
    pub fn into_owned(self) -> Id<'static> {
        Id(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

impl<'a> Id<'a> {
    /// The id of a raw value; `None` unless it is a string, a number or `null`.
    fn from_raw(raw: &'a RawValue) -> Option<Self> {
        match raw.get().as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Some(Self(Cow::Borrowed(raw.get()))),
            _ => None,
        }
    }
}
