//! Reads pages of a log for clients.

use std::{collections::BTreeSet, ops::Range};

use bowline_protocol::{
    error::RpcError,
    live::{Json, LogItem, LogPage, Scope},
};
use serde_json::value::RawValue;

use super::rows::{ESCAPED, Unreadable, fitting};
use crate::{
    ledger::Reader,
    rpc::{Bounded, page_rows},
    store::{fault, logs},
};

/// Most indexes of one request.
const MAX_INDEXES: usize = 1_000;

/// How clients see the items of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items {
    pub(crate) log: &'static str,
    /// An item as JSON of its current type: a field that an old item lacks is in it.
    pub(crate) json: fn(&'static str, &[u8]) -> Result<Json, RpcError>,
}

/// The items that a client wants.
#[derive(Debug)]
pub(crate) enum Part {
    /// The last ones before an index, or of all.
    Before(Option<u64>),
    /// The first ones after an index, and before another one.
    After(u64, Option<u64>),
    /// Those with these indexes.
    Indexes(Vec<u64>),
}

impl Items {
    /// The bounds of a log, without items: the answer to a client whose items stand.
    ///
    /// # Errors
    /// As [`Items::page`].
    pub(crate) fn resumed(
        &self,
        reader: &Reader<'_>,
        scope: Scope,
    ) -> Result<LogPage<Box<RawValue>>, RpcError> {
        let bounds = self.bounds(reader, &scope)?;
        Ok(page(reader, scope, &bounds))
    }

    fn bounds(&self, reader: &Reader<'_>, scope: &Scope) -> Result<Range<u64>, RpcError> {
        if scope.as_prefix().is_some() {
            let log = self.log;
            let text = format!("the scope of `{log}` is `{scope}`, but a log has one key");
            return Err(RpcError::internal(text));
        }
        logs::bounds(reader.conn(), self.log, scope.as_str()).map_err(fault)
    }

    /// A page of the log whose key a scope names.
    ///
    /// # Errors
    /// −32602 for too many indexes; −32603 for a scope of many keys; when the store fails.
    pub(crate) fn page(
        &self,
        reader: &Reader<'_>,
        scope: Scope,
        part: Part,
        limit: Option<u32>,
    ) -> Result<LogPage<Box<RawValue>>, RpcError> {
        let bounds = self.bounds(reader, &scope)?;
        let mut answer = page(reader, scope, &bounds);
        let head = logs::head(reader.conn(), self.log, answer.scope.as_str()).map_err(fault)?;
        let indexes = match &part {
            Part::Indexes(indexes) => wanted(indexes)?,
            Part::Before(_) | Part::After(..) => BTreeSet::new(),
        };
        let Some(head) = head else {
            return Ok(answer);
        };
        let around = ESCAPED * answer.scope.as_str().len();
        let mut filling = Filling {
            items: self,
            page: Bounded::new(page_rows(limit), reader.page_bytes().saturating_sub(around)),
            room: reader.content_bytes().saturating_sub(around),
            more: false,
            unreadable: Unreadable::default(),
        };
        let (conn, n) = (reader.conn(), head.n);
        let add = |index, value: &[u8]| filling.add(index, value);
        let is_reversed = matches!(part, Part::Before(_));
        match part {
            Part::Before(before) => {
                let range = bounds.start..before.unwrap_or(bounds.end);
                logs::scan_back(conn, n, &range, add).map_err(fault)?;
            }
            Part::After(after, before) => {
                let range = after.saturating_add(1)..before.unwrap_or(bounds.end);
                logs::scan(conn, n, &range, add).map_err(fault)?;
            }
            Part::Indexes(_) => {
                for index in indexes {
                    let value = logs::get(conn, n, index).map_err(fault)?;
                    if value.is_some_and(|value| !filling.add(index, &value)) {
                        break;
                    }
                }
            }
        }
        answer.more = filling.more;
        answer.items = filling.finish()?;
        if is_reversed {
            answer.items.reverse();
        }
        Ok(answer)
    }
}

/// An empty page.
fn page(reader: &Reader<'_>, scope: Scope, bounds: &Range<u64>) -> LogPage<Box<RawValue>> {
    LogPage {
        scope,
        items: Vec::new(),
        more: false,
        first: bounds.start,
        next: bounds.end,
        seq: reader.seq(),
        resumed: false,
        follow: None,
    }
}

/// The wanted indexes in order.
fn wanted(indexes: &[u64]) -> Result<BTreeSet<u64>, RpcError> {
    if indexes.len() > MAX_INDEXES {
        let text = format!("at most {MAX_INDEXES} `indexes` in one request");
        return Err(RpcError::invalid_params(text));
    }
    Ok(indexes.iter().copied().collect())
}

/// A page that is being filled.
struct Filling<'a> {
    items: &'a Items,
    page: Bounded,
    /// Bytes that a message has for one item.
    room: usize,
    more: bool,
    unreadable: Unreadable,
}

impl Filling<'_> {
    /// Adds an item; returns whether there may be room for another.
    fn add(&mut self, index: u64, value: &[u8]) -> bool {
        let mut unreadable = false;
        let (value, omitted_bytes) = match (self.items.json)(self.items.log, value) {
            Ok(json) => fitting(json, self.room),
            Err(error) => {
                unreadable = true;
                self.unreadable.note(index, error, value.len())
            }
        };
        let item = LogItem {
            index,
            value,
            omitted_bytes,
            unreadable,
        };
        self.more = !self.page.add(&item);
        !self.more
    }

    fn finish(self) -> Result<Vec<Box<RawValue>>, RpcError> {
        self.unreadable.report(self.items.log);
        self.page.finish()
    }
}
