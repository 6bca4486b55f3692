//! Errors of one request: JSON-RPC codes and the closed list of `data.reason`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! rpc_reasons {
    ($( $(#[$doc:meta])* $variant:ident $name:literal $code:literal; )*) => {
        /// Why one request failed; the connection goes on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum RpcReason { $( $(#[$doc])* $variant, )* }

        impl RpcReason {
            /// Every reason, in the order of `docs/protocol.md`.
            pub const ALL: &'static [RpcReason] = &[ $( RpcReason::$variant, )* ];

            /// The name in `error.data.reason`.
            pub const fn as_str(self) -> &'static str {
                match self { $( RpcReason::$variant => $name, )* }
            }

            /// The JSON-RPC error code.
            pub const fn code(self) -> i32 {
                match self { $( RpcReason::$variant => $code, )* }
            }
        }
    };
}

rpc_reasons! {
    /// More requests pending than the limit; send it again later.
    Overloaded "overloaded" -32000;
    /// The thing named in the parameters does not exist.
    NotFound "not_found" -32001;
    /// The same `intentId` came before with other parameters.
    IntentConflict "intent_conflict" -32002;
    /// The result is over the message limit; ask for it alone and, where the method has a `limit`, with a smaller one.
    ResponseTooLarge "response_too_large" -32003;
    /// This daemon or provider cannot do that.
    Unsupported "unsupported" -32004;
    /// The request's deadline passed. Whether it had an effect is told by sending it again with its id.
    Timeout "timeout" -32005;
    /// The request was cancelled.
    Cancelled "cancelled" -32006;
    /// The agent's program could not be started or failed.
    ProviderFailed "provider_failed" -32007;
    /// The caller may not do that (a probe, or a remote client calling a local method).
    Forbidden "forbidden" -32008;
    /// The daemon's disk takes nothing: it is full, or may not be written to. Nothing has happened; the same request
    /// succeeds once somebody has freed space on the daemon's machine.
    StorageUnavailable "storage_unavailable" -32009;
}

impl fmt::Display for RpcReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codes JSON-RPC 2.0 itself defines.
pub mod code {
    /// The text is no JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// JSON, but no request of JSON-RPC 2.0.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i32 = -32602;
    /// A defect of this side.
    pub const INTERNAL_ERROR: i32 = -32603;
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// One of [`code`] or [`RpcReason::code`].
    pub code: i32,
    /// For people; says what to do where something can be done.
    pub message: String,
    /// Machine-readable detail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RpcErrorData>,
}

/// `error.data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcErrorData {
    /// The closed reason; absent data means one of JSON-RPC's own codes.
    pub reason: RpcReason,
}

impl RpcError {
    /// An error of our own list.
    pub fn new(reason: RpcReason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            message: message.into(),
            data: Some(RpcErrorData { reason }),
        }
    }

    /// The text is no JSON (−32700).
    pub fn parse(message: impl Into<String>) -> Self {
        Self {
            code: code::PARSE_ERROR,
            message: bounded(message.into()),
            data: None,
        }
    }

    /// JSON, but no request (−32600).
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self {
            code: code::INVALID_REQUEST,
            message: bounded(message.into()),
            data: None,
        }
    }

    /// No such method (−32601).
    pub fn method_not_found(method: &str) -> Self {
        let name: String = method.chars().take(64).collect();
        Self {
            code: code::METHOD_NOT_FOUND,
            message: format!("no method `{name}`"),
            data: None,
        }
    }

    /// The parameters do not fit the method (−32602).
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self {
            code: code::INVALID_PARAMS,
            message: bounded(message.into()),
            data: None,
        }
    }

    /// A defect of this side (−32603).
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            code: code::INTERNAL_ERROR,
            message: message.into(),
            data: None,
        }
    }

    /// The reason of our closed list, if it is one of ours.
    pub fn reason(&self) -> Option<RpcReason> {
        self.data.as_ref().map(|data| data.reason)
    }
}

/// Most bytes of a message that quotes what a peer sent.
const MAX_QUOTING: usize = 1_024;

/// Such a message, cut: the peer chose how long its quotation is, and the answer has to fit (lesson 1).
fn bounded(mut message: String) -> String {
    if message.len() > MAX_QUOTING {
        message.truncate(message.floor_char_boundary(MAX_QUOTING));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_1_an_error_quotes_a_bounded_part_of_what_was_sent() {
        let sent = format!("x{}", "é".repeat(1 << 20));
        for error in [
            RpcError::parse(&sent),
            RpcError::invalid_request(&sent),
            RpcError::invalid_params(&sent),
        ] {
            assert!(error.message.len() <= MAX_QUOTING + '…'.len_utf8());
            assert!(error.message.ends_with("é…"));
        }
        assert_eq!(RpcError::parse("short").message, "short");
    }

    #[test]
    fn an_error_says_its_reason_on_the_wire() {
        let error = RpcError::new(RpcReason::NotFound, "no agent `agt_x`");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"code":-32001,"message":"no agent `agt_x`","data":{"reason":"not_found"}}"#
        );
    }

    #[test]
    fn codes_are_unique_and_in_our_range() {
        for (n, reason) in RpcReason::ALL.iter().enumerate() {
            assert!((-32099..=-32000).contains(&reason.code()));
            assert!(
                RpcReason::ALL[n + 1..]
                    .iter()
                    .all(|other| other.code() != reason.code())
            );
        }
    }
}
