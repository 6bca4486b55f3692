//! Live data: tables, logs and topics of services that a session follows (`docs/protocol.md` §4,
//! LD-2).

mod log;

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::log::{LogAppended, LogGrown, LogItem, LogPage, LogReplaced};
use crate::{IntentId, error::RpcError, limits};

/// Marks the scope of all keys that begin with the text before it.
const ANY: char = '*';

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LiveKind {
    /// Rows by key.
    Table,
    /// Items by index.
    Log,
    /// Events by key, of which nothing is kept.
    Topic,
}

/// JSON as it came, so that numbers and spelling are those of the daemon. Equal only to the same
/// text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for Json {
    fn from(json: Box<RawValue>) -> Self {
        Self(json)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Json {}

/// The keys that a follow covers: those that begin with a text (`castle/*`), or one
/// (`castle/walls`). On the wire, the asterisk at the end is the difference; `*` is the whole
/// table. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Arc<str>);

crate::schema::text_schema!(Scope);

impl Scope {
    /// Every key.
    pub fn all() -> Self {
        Self("*".into())
    }

    /// The keys that begin with `prefix`; all of them for an empty one.
    ///
    /// # Errors
    /// −32602 over [`limits::MAX_KEY`] bytes.
    pub fn prefix(prefix: &str) -> Result<Self, RpcError> {
        Self::read(&format!("{prefix}{ANY}"))
    }

    /// The keys `parent/…`: [`Scope::prefix`] of `parent` and a slash.
    ///
    /// # Errors
    /// −32602 for an empty parent, and as [`Scope::prefix`].
    pub fn under(parent: &str) -> Result<Self, RpcError> {
        if parent.is_empty() {
            return Err(RpcError::invalid_params("a scope has an empty name"));
        }
        Self::read(&format!("{parent}/{ANY}"))
    }

    /// One key.
    ///
    /// # Errors
    /// −32602 for an empty key, one that ends with an asterisk, or one over [`limits::MAX_KEY`]
    /// bytes.
    pub fn row(key: &str) -> Result<Self, RpcError> {
        if key.ends_with(ANY) {
            return Err(RpcError::invalid_params(
                "a key that ends with an asterisk cannot be followed alone",
            ));
        }
        Self::read(key)
    }

    fn read(text: &str) -> Result<Self, RpcError> {
        let key = text.strip_suffix(ANY).unwrap_or(text);
        if text.is_empty() || key.len() > limits::MAX_KEY {
            return Err(RpcError::invalid_params(format!(
                "a scope is a key or the beginning of keys, of at most {} bytes",
                limits::MAX_KEY
            )));
        }
        Ok(Self(text.into()))
    }

    /// The text of the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text that the covered keys begin with; `None` for the scope of one key.
    pub fn as_prefix(&self) -> Option<&str> {
        self.0.strip_suffix(ANY)
    }

    /// Whether a key is in it.
    pub fn covers(&self, key: &str) -> bool {
        match self.as_prefix() {
            Some(prefix) => key.starts_with(prefix),
            None => key == self.as_str(),
        }
    }

    /// Whether some key can be in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.as_prefix(), other.as_prefix()) {
            (Some(one), Some(two)) => one.starts_with(two) || two.starts_with(one),
            (None, _) => other.covers(self.as_str()),
            (_, None) => self.covers(other.as_str()),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = RpcError;

    fn try_from(text: String) -> Result<Self, RpcError> {
        Self::read(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.as_str().to_owned()
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a page begins: after the row of a key, or after the item of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum After {
    /// Of a table.
    Key(String),
    /// Of a log.
    Index(u64),
}

/// Parameters of `live.open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenLive {
    /// What is followed.
    pub kind: LiveKind,
    /// Its name in the daemon, such as `voxel.layers`.
    pub name: String,
    /// Parameters that the service maps to a scope; `{}` when absent. At most
    /// [`limits::LIVE_PARAMS_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
    /// Only rows with greater keys, or items with greater indexes, are in the page; the follow
    /// covers the whole scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// Only items with smaller indexes are in the page. For logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Largest page wanted, in rows or items; the daemon may return fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The rows or items that the caller has are those as of this event of the epoch in force, or
    /// it has every event of the topic up to it. If the session has followed the scope since then,
    /// the answer is `resumed`, without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The follow that `seq` belongs to, as answered: only that one is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<u64>,
}

/// Parameters of `live.page`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageLive {
    /// What is read.
    pub kind: LiveKind,
    /// Its name.
    pub name: String,
    /// As in [`OpenLive`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
    /// Only rows with greater keys, or items with greater indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// Only items with smaller indexes. For logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only these rows; not with `after`. Rows that do not exist are not in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// Only these items of a log; not with `after` or `before`. Items that do not exist are not in
    /// the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<Vec<u64>>,
    /// Largest page wanted, in rows or items; the daemon may return fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Parameters of `live.close`. Without such a follow nothing happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloseLive {
    /// What is followed.
    pub kind: LiveKind,
    /// Its name.
    pub name: String,
    /// The scope that `live.open` answered with.
    pub scope: Scope,
    /// The follow that the newest answer to `live.open` had. If the scope was opened again since,
    /// nothing happens: this request was overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<u64>,
}

/// Result of `live.open` and `live.page` of a table. That of a topic is one without rows, that of a
/// log is a [`LogPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "TablePage")
)]
#[serde(rename_all = "camelCase")]
pub struct TablePage<R = Row> {
    /// The keys that the parameters stand for. Rows of events belong to the follow if it covers
    /// their keys.
    pub scope: Scope,
    /// In ascending order of the bytes of their keys.
    pub rows: Vec<R>,
    /// Whether rows with greater keys follow, or whether some of the wanted `keys` are left.
    pub more: bool,
    /// The page reflects the session up to this event; later events apply on top.
    pub seq: u64,
    /// Only for `live.open` with `seq`: the caller's rows stand, and the page is empty. Of a topic
    /// no event is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Only for `live.open`: a number of the follow, at most 2⁵³. Each answer has another, and all
    /// of them continue the follow until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<u64>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its key.
    pub key: String,
    /// Its value; `null` with `omittedBytes`.
    pub value: Json,
    /// Size of a value that is left out: it is larger than [`limits::LIVE_ROW_BYTES`], does not fit
    /// into a message of the daemon, or is `unreadable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_bytes: Option<u64>,
    /// Whether the value is left out because the service cannot read what is stored: a defect of
    /// the service, which changed the row's type.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// The event `table.changed`: one transaction's changes of a table, as far as one set of sessions
/// follows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TableChanged {
    /// The table.
    pub name: String,
    /// Covers every key of the event.
    pub scope: Scope,
    /// New and changed rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserts: Vec<Row>,
    /// Keys of removed rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// The change is too large for an event: `upserts` and `removed` are empty, and the client
    /// fetches the rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Keys of the rows that a `stale` change concerns; absent if any row of the scope can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// The intent that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
}

/// The event `topic.event`: an event of a service, for the sessions that follow a scope of the
/// topic with this key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TopicEvent {
    /// The topic.
    pub name: String,
    /// What it is about.
    pub key: String,
    /// As the service has it.
    pub body: Json,
    /// The intent that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_one_key_or_those_with_a_beginning() {
        let under = Scope::under("castle").unwrap();
        assert_eq!(under.as_str(), "castle/*");
        assert!(under.covers("castle/walls") && under.covers("castle/"));
        assert!(!under.covers("castle") && !under.covers("castles/x"));
        let row = Scope::row("castle/walls").unwrap();
        assert!(row.covers("castle/walls") && !row.covers("castle/walls2"));
        assert!(Scope::all().covers("") && Scope::all().covers("x"));
        assert_eq!(Scope::prefix("").unwrap(), Scope::all());
        // Only the last asterisk is a mark.
        assert_eq!(Scope::prefix("a*").unwrap().as_prefix(), Some("a*"));
    }

    #[test]
    fn scopes_overlap_if_a_key_can_be_in_both() {
        let scope = |text: &str| Scope::try_from(text.to_owned()).unwrap();
        for (one, two, overlap) in [
            ("*", "a/*", true),
            ("a/*", "a/b/*", true),
            ("a/*", "b/*", false),
            ("a/b", "a/*", true),
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
        ] {
            assert_eq!(scope(one).overlaps(&scope(two)), overlap, "{one} {two}");
            assert_eq!(scope(two).overlaps(&scope(one)), overlap, "{two} {one}");
        }
    }

    #[test]
    fn a_scope_is_bounded() {
        let long = "x".repeat(limits::MAX_KEY);
        assert!(Scope::row(&long).is_ok() && Scope::prefix(&long).is_ok());
        assert!(Scope::under(&long).is_err() && Scope::row(&format!("{long}x")).is_err());
        assert!(Scope::row("").is_err() && Scope::row("a*").is_err() && Scope::under("").is_err());
        assert!(serde_json::from_str::<Scope>("\"\"").is_err());
    }
}
