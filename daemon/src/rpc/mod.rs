//! JSON-RPC types shared by every layer of the daemon: answers, pages of rows, and counts of
//! requests by outcome.
//!
//! It is below the ledger, which uses it, and depends on no session, store or method.

mod made;
mod page;
mod stats;

use std::{future::Future, pin::Pin};

use bowline_protocol::{
    Role, RpcReason,
    error::RpcError,
    rpc::{raw, text},
};
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::{
    made::Made,
    page::{Bounded, PAGE_BYTES, bad_cursor, content_bytes, page_rows},
    stats::{MethodStats, Outcome, RequestStats},
};
pub(crate) use page::{ListParams, Listed, page_bytes};

/// The JSON of a result, or an error.
pub type Answer = Result<Box<RawValue>, RpcError>;
/// A result as it is sent.
#[derive(Clone, Debug)]
pub struct Done {
    /// The result, as JSON.
    pub result: Box<str>,
    /// After an intent: the number of the last event of the requesting session once the intent was
    /// done. Every event about its effects has that number or a smaller one (LD-2).
    pub seq: Option<u64>,
    /// Bytes that the response carries (LD-8).
    pub bytes: Option<Vec<u8>>,
}

impl Done {
    /// The result as a raw value.
    ///
    /// # Errors
    /// −32603 if the result is not JSON, which is a defect.
    pub fn into_answer(self) -> Answer {
        RawValue::from_string(self.result.into())
            .map_err(|error| RpcError::internal(error.to_string()))
    }
}

impl From<Box<RawValue>> for Done {
    fn from(result: Box<RawValue>) -> Self {
        Self {
            result: result.into(),
            seq: None,
            bytes: None,
        }
    }
}

/// What a request is answered with.
pub type Reply = Result<Done, RpcError>;
/// A reply that is not ready yet.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The JSON of a value.
///
/// # Errors
/// −32603 if the value does not serialise, which is a defect of its type.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    raw(value).map_err(|error| RpcError::internal(error.to_string()))
}

/// The reply with a value as its result.
///
/// # Errors
/// As [`answer`].
pub(crate) fn reply<T: Serialize + ?Sized>(value: &T) -> Reply {
    let result = text(value).map_err(|error| RpcError::internal(error.to_string()))?;
    Ok(Done {
        result,
        seq: None,
        bytes: None,
    })
}

/// The refusal of a request whose device has too low a role (TR-4).
pub(crate) fn not_granted(what: &str, least: Role, role: Role) -> RpcError {
    RpcError::new(
        RpcReason::NotGranted,
        format!(
            "`{what}` needs the role `{least}`, and this device has `{role}`; the daemon's owner changes that \
             with `devices set`"
        ),
    )
}

/// The refusal of a probe's request other than a ping (INV-8).
pub(crate) fn no_session() -> RpcError {
    RpcError::new(
        RpcReason::Forbidden,
        "this method needs a session, and a probe has none",
    )
}
