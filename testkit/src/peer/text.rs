//! Answers, and pages of history.

use bowline_protocol::{
    TimelineItem,
    error::RpcError,
    methods::{History, HistoryPage},
    rpc::{self, Id},
};
use serde_json::Value;

/// The text of an answer.
pub fn answer(id: &Id<'_>, result: &Result<Value, RpcError>) -> Vec<u8> {
    let mut text = Vec::new();
    match result {
        Ok(result) => rpc::write_response(&mut text, id, &result.to_string()),
        Err(error) => rpc::write_error(&mut text, id, error),
    }
    text
}

/// The page of a timeline that a request asks for, with up to `most` items: the first ones after
/// `after`, or else the last ones before `before`. The indices of `items` ascend.
pub fn page(items: &[TimelineItem], asked: &History, most: usize, seq: u64) -> HistoryPage {
    let place = |index: u64| items.partition_point(|item| item.index < index);
    let start = asked.after.map_or(0, |after| place(after + 1));
    let end = asked.before.map_or(items.len(), place).max(start);
    let range = if asked.after.is_some() {
        start..end.min(start + most)
    } else {
        end.saturating_sub(most)..end
    };
    HistoryPage {
        has_more: range.len() < end - start,
        items: items[range].to_vec(),
        seq,
    }
}
