//! Reads pages of a table for clients.

use std::{collections::BTreeSet, fmt::Display};

use bowline_protocol::{
    error::RpcError,
    limits,
    live::{Json, Row, Scope},
};
use serde_json::value::RawValue;

use crate::{
    ledger::Reader,
    rpc::{Bounded, page_rows},
    store::{
        data::{self, Found},
        fault,
    },
};

/// Most keys of one request.
const MAX_KEYS: usize = 1_000;
/// Bytes reserved in a message for what is around a row's value, besides its key and the scope.
const AROUND_VALUE: usize = 64;
/// Most bytes of JSON for a byte of text.
pub(super) const ESCAPED: usize = 6;

/// How clients see the rows of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) table: &'static str,
    /// The value of a row as JSON of its current type: a field that an old row lacks is in it.
    pub(crate) json: fn(&'static str, &[u8]) -> Result<Json, RpcError>,
}

/// The rows that a client wants.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Those with greater keys, or all.
    After(Option<String>),
    /// Those with these keys.
    Keys(Vec<String>),
}

/// A page as JSON, and whether more follows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Box<RawValue>>,
    pub(crate) more: bool,
}

impl Rows {
    /// A page of a scope.
    ///
    /// # Errors
    /// −32602 for keys outside of the scope, or too many; when the store fails.
    pub(crate) fn page(
        &self,
        reader: &Reader<'_>,
        scope: &Scope,
        wanted: Wanted,
        limit: Option<u32>,
    ) -> Result<Page, RpcError> {
        let around = ESCAPED * scope.as_str().len();
        let page_bytes = reader.page_bytes().saturating_sub(around);
        let mut filling = Filling {
            rows: self,
            page: Bounded::new(page_rows(limit), page_bytes),
            room: reader.content_bytes().saturating_sub(around),
            more: false,
            unreadable: Unreadable::default(),
        };
        match (wanted, scope.as_prefix()) {
            (Wanted::After(after), Some(prefix)) => {
                let after = after.unwrap_or_default();
                let (conn, most) = (reader.conn(), limits::LIVE_ROW_BYTES);
                data::range(conn, self.table, prefix, &after, most, |key, value| {
                    key.starts_with(prefix) && filling.add(key, value)
                })
                .map_err(fault)?;
            }
            (Wanted::After(after), None) => {
                let key = scope.as_str();
                if after.is_none_or(|after| *after < *key) {
                    filling.look_up(reader, key)?;
                }
            }
            (Wanted::Keys(keys), _) => {
                for key in checked(scope, keys)? {
                    if !filling.look_up(reader, &key)? {
                        break;
                    }
                }
            }
        }
        filling.finish()
    }
}

/// A value, or its size in place of one that is too large for clients, or for a message with that
/// many bytes for it and the numbers beside it. Fields that an old value lacks may make it so.
pub(super) fn fitting(json: Json, room: usize) -> (Json, Option<u64>) {
    let largest = limits::LIVE_ROW_BYTES.min(room.saturating_sub(AROUND_VALUE));
    let bytes = json.get().len();
    if bytes <= largest {
        (json, None)
    } else {
        (null(), Some(bytes as u64))
    }
}

/// Stored values of a page that are no values of their type: the service changed it. They must not
/// keep clients from the others.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    first: Option<(String, RpcError)>,
    count: usize,
}

impl Unreadable {
    /// Notes one, and returns what is sent in place of its value.
    pub(super) fn note(
        &mut self,
        what: impl Display,
        error: RpcError,
        bytes: usize,
    ) -> (Json, Option<u64>) {
        self.count += 1;
        self.first.get_or_insert_with(|| (what.to_string(), error));
        (null(), Some(bytes as u64))
    }

    /// Says so in the log, once for a page.
    pub(super) fn report(self, name: &str) {
        if let Some((first, error)) = self.first {
            let (count, error) = (self.count, error.message);
            tracing::error!(
                name,
                first,
                count,
                error,
                "stored values that the service cannot read; clients get `unreadable` in place of them"
            );
        }
    }
}

fn null() -> Json {
    Json::from(RawValue::NULL.to_owned())
}

/// The wanted keys in order.
fn checked(scope: &Scope, keys: Vec<String>) -> Result<BTreeSet<String>, RpcError> {
    if keys.len() > MAX_KEYS {
        let text = format!("at most {MAX_KEYS} `keys` in one request");
        return Err(RpcError::invalid_params(text));
    }
    if keys.iter().any(|key| !scope.covers(key)) {
        let text = format!("`keys` outside of the scope `{scope}`");
        return Err(RpcError::invalid_params(text));
    }
    // No page has a row without a key.
    Ok(keys.into_iter().filter(|key| !key.is_empty()).collect())
}

/// A page that is being filled.
struct Filling<'a> {
    rows: &'a Rows,
    page: Bounded,
    /// Bytes that a message has for one row.
    room: usize,
    more: bool,
    unreadable: Unreadable,
}

impl Filling<'_> {
    /// Adds a row; returns whether there may be room for another.
    fn add(&mut self, key: &str, value: Found<'_>) -> bool {
        let row = self.row(key, value);
        self.more = !self.page.add(&row);
        !self.more
    }

    fn row(&mut self, key: &str, value: Found<'_>) -> Row {
        let room = self.room.saturating_sub(ESCAPED * key.len());
        let mut unreadable = false;
        let (value, omitted_bytes) = match value {
            Found::Large(bytes) => (null(), Some(bytes)),
            Found::Value(value) => match (self.rows.json)(self.rows.table, value) {
                Ok(json) => fitting(json, room),
                Err(error) => {
                    unreadable = true;
                    self.unreadable.note(key, error, value.len())
                }
            },
        };
        Row {
            key: key.to_owned(),
            value,
            omitted_bytes,
            unreadable,
        }
    }

    /// Adds the row of a key, if there is one; returns as [`Filling::add`].
    fn look_up(&mut self, reader: &Reader<'_>, key: &str) -> Result<bool, RpcError> {
        let (conn, table) = (reader.conn(), self.rows.table);
        let add = |value: Found<'_>| self.add(key, value);
        let added = data::look_up(conn, table, key, limits::LIVE_ROW_BYTES, add);
        Ok(added.map_err(fault)?.unwrap_or(true))
    }

    fn finish(self) -> Result<Page, RpcError> {
        self.unreadable.report(self.rows.table);
        Ok(Page {
            rows: self.page.finish()?,
            more: self.more,
        })
    }
}
