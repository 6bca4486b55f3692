//! Errors of one request: JSON-RPC codes and the closed list of `data.reason`, each with its retry
//! policy and its advice.
//!
//! This is the only place that decides whether an error is final: the daemon's memory of intents,
//! the client's outbox, its loads, its calls and the bindings all use it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::{
    DeviceId,
    reason::{Advice, Retry, reasons},
};

reasons! {
    /// Why one request failed; the connection continues.
    RpcReason,
    /// The JSON-RPC error code.
    code: i32;

    /// The connection has the maximum of pending requests; send the request again later.
    Overloaded "overloaded" -32000, Backoff, TryAgain;
    /// The object named in the parameters does not exist.
    NotFound "not_found" -32001, Never, AskUser;
    /// The same `intentId` was used before with other parameters.
    IntentConflict "intent_conflict" -32002, Never, Report;
    /// The result exceeds the message limit; request it outside of a batch and, where the method
    /// has a `limit`, with a smaller one.
    ResponseTooLarge "response_too_large" -32003, Never, TryAgain;
    /// This daemon or provider does not support the request.
    Unsupported "unsupported" -32004, Never, Update;
    /// The request's deadline passed. Sending it again with its id returns the outcome.
    Timeout "timeout" -32005, Backoff, TryAgain;
    /// The request was cancelled.
    Cancelled "cancelled" -32006, Never, Nothing;
    /// The agent's program failed or could not be started.
    ProviderFailed "provider_failed" -32007, AfterUserAction, AskUser;
    /// The caller has no permission (a probe, or a remote client calling a local method).
    Forbidden "forbidden" -32008, Never, AskUser;
    /// The daemon's disk accepts no writes: it is full or read-only. The request had no effect; it
    /// succeeds once there is space on the daemon's machine.
    StorageUnavailable "storage_unavailable" -32009, Backoff, TryAgain;
    /// The device's grant does not include the request: its role, a provider or a folder (TR-4).
    NotGranted "not_granted" -32010, AfterUserAction, AskUser;
    /// The caller has sent too much for the moment or for the day (TR-12). The request had no
    /// effect; it succeeds later, at the earliest after `retryAfterMs`.
    RateLimited "rate_limited" -32011, Backoff, TryAgain;
    /// What is stored for a device is at its bound (TR-12). The request succeeds once something is
    /// removed or the bound is raised.
    QuotaExceeded "quota_exceeded" -32012, AfterUserAction, AskUser;
}

impl RpcReason {
    /// Whether the same request always ends the same way; the error is then the outcome of an
    /// intent (BX-1).
    pub const fn is_final(self) -> bool {
        self.retry().is_final()
    }
}

/// The error codes of JSON-RPC 2.0.
pub mod code {
    /// The text is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// JSON, but not a JSON-RPC 2.0 request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters do not match the method.
    pub const INVALID_PARAMS: i32 = -32602;
    /// A defect of this side.
    pub const INTERNAL_ERROR: i32 = -32603;
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message} ({code})")]
pub struct RpcError {
    /// One of [`code`] or [`RpcReason::code`].
    pub code: i32,
    /// Message for people, with what to do about the error where there is something.
    pub message: String,
    /// Machine-readable detail. A reason that this version does not know is read as none: the error
    /// keeps its code and message, and is final.
    #[serde(
        default,
        deserialize_with = "known",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<RpcErrorData>,
}

/// `error.data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RpcErrorData {
    /// The closed reason; JSON-RPC's own codes have no data.
    pub reason: RpcReason,
    /// Milliseconds after which the same request can succeed at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The quota that is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Box<Quota>>,
}

/// A quota that is used up (TR-12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// The setting that bounds it, a key of the daemon's `[limits]`.
    pub name: String,
    /// Its value.
    pub limit: u64,
    /// Whose it is, for people: the name of a device, or of what else is bounded.
    pub whose: String,
    /// The device, if it is a device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
}

fn known<'de, D: Deserializer<'de>>(json: D) -> Result<Option<RpcErrorData>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Known(RpcErrorData),
        Unknown(IgnoredAny),
    }
    Ok(match Read::deserialize(json)? {
        Read::Known(data) => Some(data),
        Read::Unknown(_) => None,
    })
}

impl RpcError {
    /// An error with a reason of the closed list.
    pub fn new(reason: RpcReason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            message: message.into(),
            data: Some(RpcErrorData {
                reason,
                retry_after_ms: None,
                quota: None,
            }),
        }
    }

    /// An error with a reason that names the used-up quota (TR-12).
    pub fn of_quota(reason: RpcReason, quota: Quota, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            message: message.into(),
            data: Some(RpcErrorData {
                reason,
                retry_after_ms: None,
                quota: Some(Box::new(quota)),
            }),
        }
    }

    /// This error, saying when the request can succeed. Without a reason it is unchanged.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        if let Some(data) = &mut self.data {
            data.retry_after_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        }
        self
    }

    /// How long to wait before the same request is sent again, if the peer said so.
    pub fn retry_after(&self) -> Option<Duration> {
        let data = self.data.as_ref()?;
        data.retry_after_ms.map(Duration::from_millis)
    }

    /// The used-up quota, if there is one.
    pub fn quota(&self) -> Option<&Quota> {
        self.data.as_ref()?.quota.as_deref()
    }

    /// One of JSON-RPC's own errors. A message may quote the peer, so it is cut.
    fn standard(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: bounded(message.into()),
            data: None,
        }
    }

    /// The text is not JSON (−32700).
    pub fn parse(message: impl Into<String>) -> Self {
        Self::standard(code::PARSE_ERROR, message)
    }

    /// JSON, but not a request (−32600).
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::standard(code::INVALID_REQUEST, message)
    }

    /// No such method (−32601).
    pub fn method_not_found(method: &str) -> Self {
        let name: String = method.chars().take(64).collect();
        Self::standard(code::METHOD_NOT_FOUND, format!("no method `{name}`"))
    }

    /// The parameters do not match the method (−32602).
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::standard(code::INVALID_PARAMS, message)
    }

    /// A defect of this side (−32603).
    pub fn internal(message: impl Into<String>) -> Self {
        Self::standard(code::INTERNAL_ERROR, message)
    }

    /// The reason, if the error has one.
    pub fn reason(&self) -> Option<RpcReason> {
        self.data.as_ref().map(|data| data.reason)
    }

    /// Whether the same request may succeed when it is sent again. Of JSON-RPC's own errors only an
    /// internal error may.
    pub fn retry(&self) -> Retry {
        match (self.reason(), self.code) {
            (Some(reason), _) => reason.retry(),
            (None, code::INTERNAL_ERROR) => Retry::Backoff,
            (None, _) => Retry::Never,
        }
    }

    /// What the host app should do.
    pub fn advice(&self) -> Advice {
        match (self.reason(), self.code) {
            (Some(reason), _) => reason.advice(),
            (None, code::METHOD_NOT_FOUND) => Advice::Update,
            (None, code::INVALID_PARAMS) => Advice::AskUser,
            (None, _) => Advice::Report,
        }
    }

    /// Whether the same request always ends the same way; the error is then the outcome of an
    /// intent (BX-1).
    pub fn is_final(&self) -> bool {
        self.retry().is_final()
    }
}

/// Longest message, in bytes, that quotes a peer; a longer one is cut.
const MAX_QUOTING: usize = 1_024;

/// Cuts a message that quotes a peer: the peer controls its length, and the answer must fit (LS-1).
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
    fn ls_1_an_error_quotes_a_bounded_part_of_what_was_sent() {
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
    fn an_error_carries_its_reason_on_the_wire() {
        let error = RpcError::new(RpcReason::NotFound, "no agent `agt_x`");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"code":-32001,"message":"no agent `agt_x`","data":{"reason":"not_found"}}"#
        );
    }

    #[test]
    fn tr_12_a_refusal_says_whose_quota_is_used_up_and_when_it_has_room() {
        let quota = Quota {
            name: "intents_per_device".into(),
            limit: 7,
            whose: "Ann's phone".into(),
            device_id: None,
        };
        let error = RpcError::of_quota(RpcReason::RateLimited, quota.clone(), "why");
        let error = error.after(Duration::from_millis(1_500));
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(
            json,
            r#"{"code":-32011,"message":"why","data":{"reason":"rate_limited","retryAfterMs":1500,"quota":{"name":"intents_per_device","limit":7,"whose":"Ann's phone"}}}"#
        );
        let read: RpcError = serde_json::from_str(&json).unwrap();
        assert_eq!(read.quota(), Some(&quota));
        assert_eq!(read.retry_after(), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn an_error_with_a_reason_of_a_newer_daemon_is_one_without_a_reason() {
        for data in [r#"{"reason":"too_cold"}"#, r#"{"at":7}"#, "null"] {
            let text = format!(r#"{{"code":-32099,"message":"it is cold","data":{data}}}"#);
            let error: RpcError = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (error.code, error.message.as_str()),
                (-32_099, "it is cold")
            );
            assert_eq!(error.reason(), None);
            assert!(error.is_final());
            assert_eq!(error.advice(), Advice::Report);
        }
    }

    #[test]
    fn bx_1_only_transient_errors_are_not_final() {
        let transient: Vec<_> = RpcReason::ALL
            .iter()
            .filter(|reason| !reason.is_final())
            .map(|reason| reason.as_str())
            .collect();
        let waits = [
            "overloaded",
            "timeout",
            "storage_unavailable",
            "rate_limited",
        ];
        assert_eq!(transient, waits);
        for error in [
            RpcError::parse(""),
            RpcError::invalid_request(""),
            RpcError::method_not_found(""),
            RpcError::invalid_params(""),
        ] {
            assert!(error.is_final(), "{error}");
        }
        assert!(!RpcError::internal("").is_final());
    }

    #[test]
    fn an_error_and_its_reason_have_one_policy() {
        for reason in RpcReason::ALL {
            let error = RpcError::new(*reason, "");
            assert_eq!(error.retry(), reason.retry());
            assert_eq!(error.advice(), reason.advice());
            // A reason that needs the user or a new version is never retried automatically.
            if matches!(reason.advice(), Advice::AskUser | Advice::Update) {
                assert!(reason.is_final(), "{reason}");
            }
        }
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
