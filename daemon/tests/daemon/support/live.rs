//! A service with live tables, and what a client shows of one that follows the page of the wire
//! protocol alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_daemon::{
    ledger::{Reader, Table, Topic, Tx},
    service::{Methods, Request, Scope, Service, answer},
};
use bowline_protocol::{IntentId, Role, RpcReason, error::RpcError, methods::Empty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

/// Rows that everyone may follow.
pub(crate) const ROWS: Table<Value> = Table::new("board.rows");
/// Rows of the device that asks, for operators.
const OWN: Table<Value> = Table::new("board.own");
/// Rows whose type has got a large field since they were stored.
const GROWN: Table<Grown> = Table::new("board.grown");

#[derive(Serialize, Deserialize, JsonSchema)]
struct Grown {
    #[serde(default = "Grown::default_text")]
    text: String,
    /// A type without members of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marks: Option<Marks>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Marks(BTreeMap<String, u32>);

impl Grown {
    fn default_text() -> String {
        "x".repeat(300_000)
    }
}

/// What was said, by key.
pub(crate) const SAID: Topic<Value> = Topic::new("board.said");
/// What was said to operators.
const SECRETS: Topic<Value> = Topic::new("board.secrets");

/// `board.put {rows: {key: value}}` changes rows of `board.rows`, or removes those of `null`;
/// `board.later` does so after work that waits. `board.say {key, body}` is an event of
/// `board.said`.
pub(crate) struct Board;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Of {
    under: Option<String>,
    row: Option<String>,
}

impl Of {
    fn scope(self) -> Result<Scope, RpcError> {
        match (self.under, self.row) {
            (Some(parent), _) => Scope::under(&parent),
            (_, Some(key)) => Scope::row(&key),
            (None, None) => Ok(Scope::all()),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Say {
    key: String,
    body: Value,
    /// Rows that change before and after it.
    #[serde(default)]
    around: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Later {
    intent_id: IntentId,
    rows: BTreeMap<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
struct Put {
    rows: BTreeMap<String, Value>,
}

impl Service for Board {
    fn methods(methods: &mut Methods<Self>) {
        methods.table(&ROWS, Of::scope);
        methods.topic(&SAID, Of::scope);
        methods.topic(&SECRETS, Of::scope).role(Role::Operator);
        methods.table(&GROWN, |Empty {}| Ok(Scope::all()));
        methods.table_for(&OWN, Self::own).role(Role::Operator);
        methods.intent("board.put", Self::put);
        methods.intent("board.say", Self::say);
        methods.method("board.later", Self::later);
    }
}

impl Board {
    fn own(&self, reader: &Reader<'_>, of: Of) -> Result<Scope, RpcError> {
        assert_ne!(of.under.as_deref(), Some("panic"), "a scope that panics");
        if of.under.is_some() {
            let text = "only rows of one's own";
            return Err(RpcError::new(RpcReason::Forbidden, text));
        }
        assert!(reader.grant().role >= Role::Operator);
        let device = reader.session().and_then(|session| session.device_id());
        Scope::under(device.map_or("local", |device| device.as_str()))
    }

    fn put(&self, tx: &mut Tx<'_>, put: Put) -> Result<Empty, RpcError> {
        put_rows(tx, put.rows)?;
        Ok(Empty {})
    }

    fn say(&self, tx: &mut Tx<'_>, say: Say) -> Result<Empty, RpcError> {
        let mut around = say.around.into_iter();
        put_rows(tx, around.next().unwrap_or_default())?;
        SAID.emit(tx, &say.key, &say.body)?;
        put_rows(tx, around.next().unwrap_or_default())?;
        Ok(Empty {})
    }

    async fn later(
        self: Arc<Self>,
        request: Request,
        put: Later,
    ) -> Result<Box<RawValue>, RpcError> {
        tokio::task::yield_now().await;
        let work = move |tx: &mut Tx<'_>| answer(&self.put(tx, Put { rows: put.rows })?);
        request.intent(put.intent_id, work).await
    }
}

/// Changes rows, or removes those of `null`.
pub(crate) fn put_rows(
    tx: &mut Tx<'_>,
    rows: impl IntoIterator<Item = (String, Value)>,
) -> Result<(), RpcError> {
    for (key, value) in rows {
        if value.is_null() {
            ROWS.remove(tx, &key)?;
        } else {
            ROWS.put(tx, &key, &value)?;
        }
    }
    Ok(())
}

/// The rows of a scope as a client shows them.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    scope: String,
    rows: BTreeMap<String, Value>,
    /// What is known of rows besides their values: the event or page that said it last.
    at: BTreeMap<String, u64>,
    /// The `seq` of each page, with the keys that it speaks for: above the first, up to the second.
    pages: Vec<(u64, String, Option<String>)>,
    /// Keys to fetch after stale changes.
    pub(crate) stale: BTreeSet<String>,
}

impl Shown {
    /// What `live.open` has answered.
    pub(crate) fn opened(answer: &Value) -> Self {
        let mut shown = Self {
            scope: answer["scope"].as_str().unwrap().to_owned(),
            ..Self::default()
        };
        shown.page("", answer);
        shown
    }

    fn covers(&self, key: &str) -> bool {
        match self.scope.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == self.scope,
        }
    }

    /// Adds a page that was asked for with `after`; gives what to ask the next one with.
    pub(crate) fn page(&mut self, after: &str, answer: &Value) -> Option<String> {
        let seq = answer["seq"].as_u64().unwrap();
        let rows = answer["rows"].as_array().unwrap();
        let keys: Vec<&str> = rows
            .iter()
            .map(|row| row["key"].as_str().unwrap())
            .collect();
        assert!(keys.is_sorted() && keys.iter().all(|key| self.covers(key) && *key > after));
        let more = answer["more"].as_bool().unwrap();
        let end = more.then(|| (*keys.last().unwrap()).to_owned());
        for row in rows {
            self.set(seq, row["key"].as_str().unwrap(), row["value"].clone());
        }
        self.pages.push((seq, after.to_owned(), end.clone()));
        end
    }

    fn set(&mut self, seq: u64, key: &str, value: Value) {
        let known = self.at.entry(key.to_owned()).or_default();
        // A page tells of the same event what the event does, so the order does not matter.
        if *known <= seq {
            *known = seq;
            if value.is_null() {
                self.rows.remove(key);
            } else {
                self.rows.insert(key.to_owned(), value);
            }
        }
    }

    /// The rows fetched by key; those that the answer lacks are gone.
    pub(crate) fn fetched(&mut self, keys: &BTreeSet<String>, answer: &Value) {
        assert_eq!(answer["more"], false);
        let seq = answer["seq"].as_u64().unwrap();
        let rows = answer["rows"].as_array().unwrap();
        let row = |key: &str| rows.iter().find(|row| row["key"] == key);
        for key in keys {
            let value = row(key).map_or(Value::Null, |row| row["value"].clone());
            self.set(seq, key, value);
        }
    }

    /// Applies an event, whenever it came.
    pub(crate) fn event(&mut self, seq: u64, event: &Value) {
        if event["type"] != "table.changed" || event["name"] != "board.rows" {
            return;
        }
        if event["stale"] == true {
            let keys = event["keys"].as_array().expect("the keys fit");
            let keys = keys.iter().map(|key| key.as_str().unwrap().to_owned());
            let own: Vec<_> = keys.filter(|key| self.covers(key)).collect();
            self.stale.extend(own);
        }
        let empty = Vec::new();
        let scope = event["scope"].as_str().unwrap();
        let prefix = scope.strip_suffix('*').unwrap_or(scope);
        for row in event["upserts"].as_array().unwrap_or(&empty) {
            let key = row["key"].as_str().unwrap();
            assert!(key.starts_with(prefix));
            self.change(seq, key, row["value"].clone());
        }
        for key in event["removed"].as_array().unwrap_or(&empty) {
            self.change(seq, key.as_str().unwrap(), Value::Null);
        }
    }

    fn change(&mut self, seq: u64, key: &str, value: Value) {
        if !self.covers(key) {
            return;
        }
        // A page that came before the event and speaks for the key has it, unless the event is
        // later.
        let speaks = |(_, after, end): &&(u64, String, Option<String>)| {
            key > after.as_str() && end.as_deref().is_none_or(|end| key <= end)
        };
        let told = self.pages.iter().filter(speaks).map(|page| page.0).max();
        if told.is_none_or(|told| seq > told) {
            self.set(seq, key, value);
        }
    }

    pub(crate) fn rows(&self) -> Value {
        json!(self.rows)
    }
}
