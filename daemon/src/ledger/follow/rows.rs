//! Reads pages of a table for clients.

use std::collections::BTreeSet;

use bowline_protocol::{
    error::RpcError,
    limits,
    live::{Json, Row, Scope},
};
use serde_json::value::RawValue;

use crate::{
    ledger::Reader,
    rpc::{Bounded, page_rows},
    store::{data, fault},
};

/// Most keys of one request.
const MAX_KEYS: usize = 1_000;
/// Bytes reserved in a message for the key and the scope beside a row's value, escaped.
const AROUND_VALUE: usize = 8 * 1024;

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
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Box<RawValue>>,
    pub(crate) more: bool,
}

impl Rows {
    /// A page of a scope.
    ///
    /// # Errors
    /// −32602 for keys outside of the scope, or too many; −32603 for a row that is no value of the
    /// table's type; when the store fails.
    pub(crate) fn page(
        &self,
        reader: &Reader<'_>,
        scope: &Scope,
        wanted: Wanted,
        limit: Option<u32>,
    ) -> Result<Page, RpcError> {
        let mut filling = Filling {
            rows: self,
            page: Bounded::new(page_rows(limit), reader.page_bytes()),
            largest: limits::LIVE_ROW_BYTES
                .min(reader.content_bytes().saturating_sub(AROUND_VALUE)),
            more: false,
            failed: None,
        };
        match (wanted, scope.as_prefix()) {
            (Wanted::After(after), Some(prefix)) => {
                let after = after.unwrap_or_default();
                data::range(reader.conn(), self.table, prefix, &after, |key, value| {
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
    Ok(keys.into_iter().collect())
}

/// A page that is being filled.
struct Filling<'a> {
    rows: &'a Rows,
    page: Bounded,
    /// Most bytes of a value.
    largest: usize,
    more: bool,
    failed: Option<RpcError>,
}

impl Filling<'_> {
    /// Adds a row; returns whether there may be room for another.
    fn add(&mut self, key: &str, value: &[u8]) -> bool {
        match self.row(key, value) {
            Ok(row) => self.more = !self.page.add(&row),
            Err(error) => self.failed = Some(error),
        }
        !self.more && self.failed.is_none()
    }

    fn row(&self, key: &str, value: &[u8]) -> Result<Row, RpcError> {
        let (value, omitted_bytes) = if value.len() > self.largest {
            (
                Json::from(RawValue::NULL.to_owned()),
                Some(value.len() as u64),
            )
        } else {
            ((self.rows.json)(self.rows.table, value)?, None)
        };
        Ok(Row {
            key: key.to_owned(),
            value,
            omitted_bytes,
        })
    }

    /// Adds the row of a key, if there is one; returns as [`Filling::add`].
    fn look_up(&mut self, reader: &Reader<'_>, key: &str) -> Result<bool, RpcError> {
        let found = data::get(reader.conn(), self.rows.table, key).map_err(fault)?;
        Ok(found.is_none_or(|value| self.add(key, &value)))
    }

    fn finish(self) -> Result<Page, RpcError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Page {
                rows: self.page.finish()?,
                more: self.more,
            }),
        }
    }
}
