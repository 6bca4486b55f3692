//! Timelines inside transactions: appending items and text, and pages of history.

use bowline_protocol::{
    AgentId, AgentStatus, ItemId, ItemKind, RpcReason, SessionEvent, TimelineItem, error::RpcError,
    methods::History, model::OutputStream,
};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{fit, provider::TurnEnd};
use crate::{
    ledger::{Audience, Reader, Tx},
    rpc::{Bounded, page_rows},
    store::{self, agents::AgentRow, fault},
};

/// Largest text of one growing item, as JSON; further text starts a new item.
const ITEM_BYTES: usize = 16 * 1024;
/// Largest text of one delta, as JSON.
const PIECE_BYTES: usize = 8 * 1024;

/// The agent with that id.
pub(super) fn find(conn: &Connection, id: &AgentId) -> Result<AgentRow, RpcError> {
    store::agents::by_id(conn, id)
        .map_err(fault)?
        .ok_or_else(|| RpcError::new(RpcReason::NotFound, format!("no agent `{id}`")))
}

/// The agent with that number; a turn's agent always exists.
pub(super) fn numbered(conn: &Connection, n: i64) -> Result<AgentRow, RpcError> {
    store::agents::by_number(conn, n)
        .map_err(fault)?
        .ok_or_else(|| RpcError::internal(format!("agent number {n} is missing")))
}

/// Appends an item, filled in by `fill`, and emits it to the subscribers.
pub(super) fn append(
    tx: &mut Tx<'_>,
    row: &mut AgentRow,
    kind: ItemKind,
    fill: impl FnOnce(&mut TimelineItem),
) -> Result<TimelineItem, RpcError> {
    let id = ItemId::from_uuid(Uuid::now_v7());
    let mut item = TimelineItem::new(id, row.next_index, kind, tx.now());
    fill(&mut item);
    let bytes = Tx::item_cost(&item.text);
    store::agents::append_item(tx.conn(), row.n, &item, tx.lived(), bytes).map_err(fault)?;
    row.next_index = row.next_index.saturating_add(1);
    grown(tx, row, bytes);
    let event = SessionEvent::TimelineAppended {
        agent_id: row.summary.id.clone(),
        item: fit::item(&item, tx.content_bytes()).into_owned(),
    };
    tx.emit(Audience::Subscribers(&row.summary.id), &event)?;
    Ok(item)
}

/// Counts the growth of a timeline.
fn grown(tx: &mut Tx<'_>, row: &mut AgentRow, bytes: i64) {
    row.bytes = row.bytes.saturating_add(bytes);
    tx.grow_timeline(row.owner, row.n, bytes, row.bytes);
}

/// Ends a turn in the store and in the timeline. The item names the intent of the turn: prompts
/// queue, so the next end after a prompt need not be its own.
pub(super) fn end_turn(
    tx: &mut Tx<'_>,
    row: &mut AgentRow,
    turn: i64,
    end: &TurnEnd,
) -> Result<(), RpcError> {
    let intent = store::turns::end(tx.conn(), turn).map_err(fault)?;
    append(tx, row, ItemKind::TurnEnd, |item| {
        item.status = Some(end.status);
        item.exit_code = end.exit_code;
        item.text = end.missing.clone().unwrap_or_default();
        item.intent_id = intent;
    })
    .map(|_| ())
}

/// Stores an agent's new status and emits it to every session.
pub(super) fn set_standing(
    tx: &mut Tx<'_>,
    row: &mut AgentRow,
    status: AgentStatus,
    attention: Option<&str>,
) -> Result<(), RpcError> {
    if row.summary.status == status && row.summary.attention.as_deref() == attention {
        return Ok(());
    }
    row.summary.status = status;
    row.summary.attention = attention.map(str::to_owned);
    row.summary.updated_at = tx.now();
    store::agents::update(tx.conn(), row).map_err(fault)?;
    let event = SessionEvent::AgentUpdated {
        agent: fit::agent(&row.summary, tx.content_bytes()).into_owned(),
    };
    tx.emit(Audience::Everyone(&row.summary.id), &event)
}

/// The item that text is appended to.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    item: TimelineItem,
}

impl Tail {
    /// Its position in the timeline.
    pub(super) const fn index(&self) -> u64 {
        self.item.index
    }

    /// Bytes of its text.
    pub(super) const fn bytes(&self) -> usize {
        self.item.text.len()
    }
}

/// Appends text of one kind to the tail while it is the timeline's last item, of the same kind and
/// not full; else to a new item. Returns the new tail.
pub(super) fn append_text(
    tx: &mut Tx<'_>,
    agent: i64,
    tail: Option<Tail>,
    kind: ItemKind,
    stream: Option<OutputStream>,
    text: &str,
) -> Result<Option<Tail>, RpcError> {
    let mut row = numbered(tx.conn(), agent)?;
    let mut tail = tail.filter(|tail| {
        tail.item.kind == kind
            && tail.item.stream == stream
            && tail.item.index.saturating_add(1) == row.next_index
    });
    // Half of a message is reserved for text, whatever the limit.
    let most = tx.content_bytes() / 2;
    for piece in pieces(text, most.min(PIECE_BYTES)) {
        let full = |tail: &Tail| {
            fit::json_len(&tail.item.text) + fit::json_len(piece) > most.min(ITEM_BYTES)
        };
        match &mut tail {
            Some(tail) if !full(tail) => {
                tail.item.text.push_str(piece);
                let (index, text) = (tail.item.index, &tail.item.text);
                let more = i64::try_from(piece.len()).unwrap_or(i64::MAX);
                store::agents::set_text(tx.conn(), agent, index, text, more).map_err(fault)?;
                grown(tx, &mut row, more);
                let event = SessionEvent::TimelineDelta {
                    agent_id: row.summary.id.clone(),
                    item_id: tail.item.id.clone(),
                    index: tail.item.index,
                    text: piece.to_owned(),
                };
                tx.emit(Audience::Subscribers(&row.summary.id), &event)?;
            }
            Some(_) | None => {
                let item = append(tx, &mut row, kind, |item| {
                    item.stream = stream;
                    item.text = piece.to_owned();
                })?;
                tail = Some(Tail { item });
            }
        }
    }
    Ok(tail)
}

/// Splits a text into pieces of at most `most` bytes of JSON, never inside a character.
fn pieces(mut text: &str, most: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (piece, rest) = text
            .split_at_checked(fit::prefix(text, most).len())
            .unwrap_or((text, ""));
        text = rest;
        Some(piece)
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HistoryPage")]
pub(super) struct Page {
    #[schemars(with = "Vec<bowline_protocol::TimelineItem>")]
    items: Vec<Box<RawValue>>,
    has_more: bool,
    seq: u64,
}

/// A page of an agent's timeline, bounded in items and bytes (LS-1).
pub(super) fn history(reader: &Reader<'_>, range: &History) -> Result<Page, RpcError> {
    let conn = reader.conn();
    let row = find(conn, &range.agent_id)?;
    let from = range.after.map_or(0, |after| after.saturating_add(1));
    let to = range.before.unwrap_or(u64::MAX).min(row.next_index);
    let descending = range.after.is_none();
    let mut page = Bounded::new(page_rows(range.limit), reader.page_bytes());
    let most = reader.content_bytes();
    let mut last = None;
    store::agents::items(conn, row.n, from, to, descending, |item| {
        let taken = page.add(&*fit::item(&item, most));
        if taken {
            last = Some(item.index);
        }
        taken
    })
    .map_err(fault)?;
    let has_more = match last {
        Some(index) if descending => index > from,
        Some(index) => index.saturating_add(1) < to,
        None => false,
    };
    let mut items = page.finish()?;
    if descending {
        items.reverse();
    }
    Ok(Page {
        items,
        has_more,
        seq: reader.seq(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_and_join_to_the_whole() {
        let text = "aé€😀".repeat(3_000);
        let cut: Vec<&str> = pieces(&text, PIECE_BYTES).collect();
        assert!(cut.len() > 2);
        assert!(cut.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("", PIECE_BYTES).count(), 0);
    }
}
