//! Pages of listings: rows as JSON, limited by the connection's message size (LS-1).

use std::{collections::BTreeMap, marker::PhantomData};

use bowline_protocol::error::RpcError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer;

/// Most bytes of a page of rows, whatever the message limit.
pub const PAGE_BYTES: usize = 256 * 1024;
/// Bytes reserved in every message for the rest around rows, items and events: the JSON-RPC
/// envelope with the request's id, member names, cursors and numbers.
const ENVELOPE: usize = 512;
/// Rows of a page without a limit in the request.
const DEFAULT_ROWS: u32 = 100;
/// Most rows of a page.
const MAX_ROWS: u32 = 1_000;

/// Most bytes of the content of one message, with messages of at most `max_message_bytes` (the
/// setting `limits.max_message_bytes`): what a result without pages may take.
pub const fn content_bytes(max_message_bytes: usize) -> usize {
    max_message_bytes.saturating_sub(ENVELOPE)
}

/// Most bytes of the rows of one page, with messages of at most `max_message_bytes`.
pub(crate) fn page_bytes(max_message_bytes: usize) -> usize {
    content_bytes(max_message_bytes).min(PAGE_BYTES)
}

/// Most rows of a page of a listing: as many as asked for, within 1 and 1,000; 100 unless asked.
pub fn page_rows(asked: Option<u32>) -> usize {
    let limit = asked.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The rows of a page as JSON, limited in number and bytes; the first row always fits. For a
/// service that lists rows which it makes one by one; its bytes are those of
/// [`Reader::page_bytes`](crate::ledger::Reader::page_bytes).
#[derive(Debug)]
pub struct Bounded {
    rows: Vec<Box<RawValue>>,
    limit: usize,
    bytes: usize,
    most: usize,
    failed: Option<RpcError>,
}

impl Bounded {
    /// An empty page for at most `limit` rows and `most` bytes.
    pub const fn new(limit: usize, most: usize) -> Self {
        Self {
            rows: Vec::new(),
            limit,
            bytes: 0,
            most,
            failed: None,
        }
    }

    /// Adds a row if there is room; returns whether it was added.
    pub fn add(&mut self, row: &impl Serialize) -> bool {
        if self.rows.len() >= self.limit || self.failed.is_some() {
            return false;
        }
        match answer(row) {
            Ok(json) => {
                // Plus a comma.
                let bytes = self.bytes.saturating_add(json.get().len() + 1);
                if bytes > self.most && !self.rows.is_empty() {
                    return false;
                }
                self.bytes = bytes;
                self.rows.push(json);
                true
            }
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }

    /// The rows.
    ///
    /// # Errors
    /// When a row could not be serialised.
    pub fn finish(self) -> Result<Vec<Box<RawValue>>, RpcError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.rows),
        }
    }
}

/// Parameters of a listing whose rows are all in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListParams {
    /// `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Most rows to return. Without it, as many as fit.
    #[serde(default)]
    limit: Option<u32>,
}

/// A page of such a listing.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Listed{R}")]
pub(crate) struct Listed<R> {
    /// Its rows, under the name of the listing.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, Vec<R>>")]
    rows: BTreeMap<&'static str, Vec<Box<RawValue>>>,
    /// The cursor of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// What its rows were.
    #[serde(skip)]
    of: PhantomData<fn() -> R>,
}

impl ListParams {
    /// The rows after the cursor, by their keys, as many as requested and as fit into one message.
    /// A cursor stays valid when rows come and go, including the row that it names.
    ///
    /// # Errors
    /// −32602 for an invalid cursor.
    pub(crate) fn page<R: Serialize>(
        &self,
        name: &'static str,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> (u64, &str),
        max_message_bytes: usize,
    ) -> Result<Listed<R>, RpcError> {
        let after = self.cursor.as_deref().map(read_cursor).transpose()?;
        rows.sort_by(|one, other| key(one).cmp(&key(other)));
        let rows = rows
            .iter()
            .filter(|row| after.is_none_or(|after| key(row) > after));
        let limit = self
            .limit
            .map_or(usize::MAX, |limit| page_rows(Some(limit)));
        let mut page = Bounded::new(limit, page_bytes(max_message_bytes));
        let mut last = None;
        let mut more = false;
        for row in rows {
            if !page.add(row) {
                more = true;
                break;
            }
            last = Some(key(row));
        }
        Ok(Listed {
            rows: BTreeMap::from([(name, page.finish()?)]),
            next_cursor: last.filter(|_| more).map(|(n, name)| format!("{n}.{name}")),
            of: PhantomData,
        })
    }
}

fn read_cursor(text: &str) -> Result<(u64, &str), RpcError> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(n, name)| Some((n.parse().ok()?, name)));
    read.ok_or_else(bad_cursor)
}

/// The error for a cursor that no page returned: −32602.
pub fn bad_cursor() -> RpcError {
    RpcError::invalid_params("`cursor` was not returned by this daemon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ls_1_a_page_is_bounded_in_bytes_and_never_empty() {
        let mut page = Bounded::new(10, PAGE_BYTES);
        let big = "x".repeat(PAGE_BYTES);
        assert!(page.add(&big), "the first row always fits");
        assert!(!page.add(&"y"));
        assert_eq!(page.finish().unwrap().len(), 1);
    }

    #[test]
    fn case_c49_a_listing_is_paged_through_whatever_comes_and_goes_between() {
        let all: Vec<(u64, String)> = (0..1_000)
            .map(|n| (n / 10, format!("row {n:04}")))
            .collect();
        let key = |row: &(u64, String)| (row.0, row.1.clone());
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let params = ListParams {
                cursor,
                limit: None,
            };
            // The row that the cursor names is gone by then.
            let rows = all
                .iter()
                .filter(|row| Some(key(row)) != seen.last().cloned());
            let rows: Vec<_> = rows.cloned().collect();
            let page = params.page("rows", rows, |row| (row.0, &row.1), 4_096);
            let page = page.unwrap();
            let bytes: usize = page.rows["rows"].iter().map(|row| row.get().len()).sum();
            assert!(bytes <= 4_096);
            for row in &page.rows["rows"] {
                seen.push(serde_json::from_str::<(u64, String)>(row.get()).unwrap());
            }
            pages += 1;
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert!(pages > 3, "{pages}");
    }

    #[test]
    fn an_unknown_cursor_is_refused() {
        let params = ListParams {
            cursor: Some("x".to_owned()),
            limit: None,
        };
        let error = params.page("rows", vec![1_u64], |n| (*n, ""), 4_096);
        let error = error.unwrap_err();
        assert!(error.message.contains("cursor"));
    }
}
