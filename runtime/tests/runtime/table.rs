//! The one table of the test daemon, `test.rows`, and the session's follow of it.

use std::collections::BTreeMap;

use bowline_protocol::{
    RpcReason, SessionEvent,
    error::RpcError,
    live::{After, OpenLive, PageLive, Row, Scope, TableChanged, TablePage},
};
use serde_json::Value;

pub(crate) const NAME: &str = "test.rows";

/// Rows by key. Only one scope: all of them.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<String, u32>,
    /// The session follows since this event.
    pub(crate) followed_since: Option<u64>,
}

fn row((key, value): (&String, &u32)) -> Row {
    Row {
        key: key.clone(),
        value: serde_json::from_value(Value::from(*value)).unwrap(),
        omitted_bytes: None,
        unreadable: false,
    }
}

impl Table {
    pub(crate) fn open(&mut self, params: &Value, seq: u64) -> Result<Value, RpcError> {
        let asked: OpenLive = serde_json::from_value(params.clone()).unwrap();
        if asked.name != NAME {
            return Err(RpcError::new(RpcReason::NotFound, "no such table"));
        }
        let since = *self.followed_since.get_or_insert(seq);
        if asked.seq.is_some_and(|held| since <= held) {
            return Ok(page(Vec::new(), false, seq, true));
        }
        Ok(self.rows_after("", asked.limit, seq))
    }

    pub(crate) fn page(&self, params: &Value, seq: u64) -> Result<Value, RpcError> {
        let asked: PageLive = serde_json::from_value(params.clone()).unwrap();
        if let Some(keys) = asked.keys {
            let found = keys.iter().filter_map(|key| self.rows.get_key_value(key));
            return Ok(page(found.map(row).collect(), false, seq, false));
        }
        let after = match asked.after {
            Some(After::Key(key)) => key,
            Some(After::Index(_)) => panic!("an index of a table"),
            None => String::new(),
        };
        Ok(self.rows_after(&after, asked.limit, seq))
    }

    fn rows_after(&self, after: &str, limit: Option<u32>, seq: u64) -> Value {
        let mut rest = self.rows.range(after.to_owned()..);
        let mut rows: Vec<_> = rest.by_ref().map(row).collect();
        rows.retain(|row| row.key.as_str() > after);
        let most = limit.unwrap_or(100) as usize;
        let more = rows.len() > most;
        rows.truncate(most);
        page(rows, more, seq, false)
    }

    pub(crate) fn apply(&mut self, event: &TableChanged) {
        for row in &event.upserts {
            let value = row.value.get().parse().unwrap();
            self.rows.insert(row.key.clone(), value);
        }
        for key in &event.removed {
            self.rows.remove(key);
        }
    }
}

fn page(rows: Vec<Row>, more: bool, seq: u64, resumed: bool) -> Value {
    let page = TablePage {
        scope: Scope::all(),
        rows,
        more,
        seq,
        resumed,
        follow: None,
    };
    serde_json::to_value(page).unwrap()
}

/// The event of new values and removed keys.
pub(crate) fn changed(upserts: &[(&str, u32)], removed: &[&str]) -> SessionEvent {
    let upserts = upserts.iter();
    SessionEvent::TableChanged(Box::new(TableChanged {
        name: NAME.to_owned(),
        scope: Scope::all(),
        upserts: upserts
            .map(|(key, value)| row((&(*key).to_owned(), value)))
            .collect(),
        removed: removed.iter().map(|key| (*key).to_owned()).collect(),
        stale: false,
        keys: None,
        intent_id: None,
    }))
}
