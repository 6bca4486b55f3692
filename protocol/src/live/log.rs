//! Logs of services: their items, pages and events.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Json, Scope};
use crate::IntentId;

/// Result of `live.open` and `live.page` of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "LogPage")
)]
#[serde(rename_all = "camelCase")]
pub struct LogPage<I = LogItem> {
    /// The log's key, as a scope.
    pub scope: Scope,
    /// In ascending order of index.
    pub items: Vec<I>,
    /// Whether items follow in the direction of the page: older ones for the newest page and for
    /// `before`, newer ones for `after`; or whether some of the wanted `indexes` are left.
    pub more: bool,
    /// Index of the oldest item that the daemon keeps; equals `next` if there is none.
    pub first: u64,
    /// Index of the next item that is added.
    pub next: u64,
    /// The page reflects the session up to this event; later events apply on top.
    pub seq: u64,
    /// Only for `live.open` with `seq`: the caller's items stand, and the page is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// As of a [`TablePage`](super::TablePage).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<u64>,
}

/// An item of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogItem {
    /// Its place in the log. No index is used twice.
    pub index: u64,
    /// Its value; `null` with `omittedBytes`.
    pub value: Json,
    /// Size of a value that is left out, because it does not fit into a message of the daemon or is
    /// `unreadable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_bytes: Option<u64>,
    /// As of a [`Row`](super::Row).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// The event `log.appended`: what one transaction added to a log, and the items that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogAppended {
    /// The log's name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The new items, in order; none if the event only tells that others were dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<LogItem>,
    /// As in [`LogPage`]: older items are dropped.
    pub first: u64,
    /// As in [`LogPage`].
    pub next: u64,
    /// The new items are too large for an event: the client fetches them, up to `next`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// The intent that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
}

impl Json {
    /// This object with text appended to the text of a member, as an item grows; a missing member
    /// is an empty text. The values of the others stay as they are.
    ///
    /// # Errors
    /// If this is no object, or the member no text.
    pub fn with_text(&self, field: &str, text: &str) -> Result<Self, serde_json::Error> {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(self.get())?;
        let more = serde_json::to_string(text)?;
        let whole = match members.get(field).map(|old| old.get()) {
            // The old text stays as it is written: it may be long.
            Some(old) => match (old.strip_suffix('"'), more.strip_prefix('"')) {
                (Some(old), Some(more)) if old.starts_with('"') => format!("{old}{more}"),
                _ => return Err(serde::de::Error::custom("the member is no text")),
            },
            None => more,
        };
        members.insert(field.to_owned(), RawValue::from_string(whole)?);
        to_raw_value(&members).map(Self::from)
    }
}

/// The event `log.grown`: the text of an item grew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogGrown {
    /// The log's name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The item.
    pub index: u64,
    /// The member of its value that grew. It is a text; a missing one is empty.
    pub field: String,
    /// What to append to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The text is too large for an event: the client fetches the item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// The intent that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
}

/// The event `log.replaced`: an item has another value, or many have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogReplaced {
    /// The log's name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The item. Without it, which is stale, any item that there was may have another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Its whole value as it is now, which may be `null`.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Json>,
    /// The value is too large to be told, and absent: the client fetches the item, or all it shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// The intent that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
}

/// Tells a value that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(json).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn ld_2_text_is_added_whatever_is_in_it_and_only_to_a_text() {
        let item = json(r#"{"a":1.50,"text":"é\u001b\"\\"}"#);
        let grown = item.with_text("text", "\\\"\0 ü").unwrap();
        let grown: serde_json::Value = serde_json::from_str(grown.get()).unwrap();
        assert_eq!(grown["text"], "é\u{1b}\"\\\\\"\0 ü");
        let begun = json("{}").with_text("text", "x").unwrap();
        assert_eq!(begun.get(), r#"{"text":"x"}"#);
        let empty = json(r#"{"text":""}"#).with_text("text", "").unwrap();
        assert_eq!(empty.get(), r#"{"text":""}"#);
        for wrong in [
            r#"{"text":1}"#,
            r#"{"text":null}"#,
            r#"{"text":["x"]}"#,
            "[]",
        ] {
            assert!(json(wrong).with_text("text", "x").is_err(), "{wrong}");
        }
    }
}
