//! `connection.closing`, the daemon's last notification on a connection: why it closes
//! (`docs/protocol.md` §4, §6).
//!
//! On a session's connection it is sealed and precedes the close frame, whose code gives the same
//! reason in clear to relays. A reason that ends retries is believed only if it was sealed (TR-2).

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Reason,
    methods::name,
    relay::limits::MAX_RETRY_AFTER,
    rpc::{self, Incoming, Text},
};

/// Longest text in bytes that can be the notification; longer ones are not parsed.
const MAX_TEXT: usize = 512;

/// Parameters of `connection.closing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Why the connection closes.
    pub reason: Reason,
    /// Least delay of the next attempt.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl From<Reason> for Closing {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

impl Closing {
    /// Appends the notification.
    pub fn write(&self, out: &mut Vec<u8>) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let raw = Raw {
            reason: Cow::Borrowed(self.reason.as_str()),
            retry_after_ms: self.retry_after.map(millis),
        };
        // A string and a number always serialise.
        let _ = rpc::write_notification(out, name::CONNECTION_CLOSING, &raw);
    }

    /// Reads the parameters. A reason unknown to this version is [`Reason::ConnectionLost`], which
    /// is retried.
    pub fn parse(params: &str) -> Self {
        let Ok(raw) = serde_json::from_str::<Raw<'_>>(params) else {
            return Reason::ConnectionLost.into();
        };
        let mut all = Reason::ALL.iter().copied();
        let known = all.find(|reason| reason.as_str() == raw.reason);
        let after = raw.retry_after_ms.map(Duration::from_millis);
        Self {
            reason: known.unwrap_or(Reason::ConnectionLost),
            retry_after: after.map(|after| after.min(MAX_RETRY_AFTER)),
        }
    }

    /// Parses a text if it is the notification; cheap for every other text.
    pub fn of_text(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_TEXT || !may_close(text) {
            return None;
        }
        match rpc::parse(text) {
            Ok(Text::Single(Incoming::Notification(notification)))
                if notification.method == name::CONNECTION_CLOSING =>
            {
                Some(Self::parse(
                    notification.params.map_or("{}", |params| params.get()),
                ))
            }
            _ => None,
        }
    }
}

/// Whether a text may be the notification. It is asked for every text, so the usual order of
/// members is told by its beginning, and only another one is searched.
fn may_close(text: &[u8]) -> bool {
    let word = name::CONNECTION_CLOSING.as_bytes();
    let Some(rest) = text.strip_prefix(br#"{"jsonrpc":"2.0",""#) else {
        return memchr::memmem::find(text, word).is_some();
    };
    match rest.strip_prefix(br#"method":""#) {
        Some(method) => method.starts_with(word),
        None => !rest.starts_with(br#"id":"#) && memchr::memmem::find(rest, word).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_back_as_written() {
        for reason in Reason::ALL.iter().copied() {
            for retry_after in [None, Some(Duration::from_millis(1_500))] {
                let closing = Closing {
                    reason,
                    retry_after,
                };
                let mut text = Vec::new();
                closing.write(&mut text);
                assert_eq!(Closing::of_text(&text), Some(closing));
            }
        }
    }

    #[test]
    fn members_in_any_order_and_with_spaces_are_read() {
        for text in [
            r#"{"jsonrpc":"2.0","params":{"reason":"shutting_down"},"method":"connection.closing"}"#,
            r#"{"jsonrpc":"2.0","method": "connection.closing","params":{"reason":"shutting_down"}}"#,
            r#"{"method":"connection.closing","jsonrpc":"2.0","params":{"reason":"shutting_down"}}"#,
        ] {
            let closing = Some(Closing::from(Reason::ShuttingDown));
            assert_eq!(Closing::of_text(text.as_bytes()), closing, "{text}");
        }
    }

    #[test]
    fn other_texts_are_ignored_and_unknown_reasons_are_retried() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":"connection.closing"}"#,
            r#"{"jsonrpc":"2.0","method":"session.event","params":{"x":"connection.closing"}}"#,
            "connection.closing",
        ] {
            assert_eq!(Closing::of_text(text.as_bytes()), None, "{text}");
        }
        let lost = Closing::from(Reason::ConnectionLost);
        for params in [r#"{"reason":"of_a_later_version"}"#, "{}", "[]"] {
            assert_eq!(Closing::parse(params), lost);
        }
        let long =
            Closing::parse(r#"{"reason":"rate_limited","retryAfterMs":18446744073709551615}"#);
        assert_eq!(long.retry_after, Some(MAX_RETRY_AFTER));
    }
}
