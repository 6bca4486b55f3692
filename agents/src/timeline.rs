//! Timelines inside transactions: appending items and text, and pages of history.

use std::sync::Arc;

use bowline_daemon::{
    ledger::{Audience, Log, Reader, Stored, Tx},
    rpc::{Bounded, page_rows},
};
use bowline_protocol::{
    AgentId, AgentStatus, ItemId, ItemKind, SessionEvent, TimelineItem, error::RpcError,
    methods::History, model::OutputStream,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    aging,
    directory::{self, AgentRow},
    fit,
    provider::TurnEnd,
    queue,
    retention::Keeper,
};

/// The timelines, by the ids of agents; clients may follow them. What is old in them is dropped by
/// [`super::retention`], and no item goes.
pub(super) const TIMELINE: Log<TimelineItem> = Log::new("agents.timeline")
    .keeping_all()
    .with_items_of(LARGEST)
    .counting(aging::counts);
/// Largest item in bytes: a prompt of 64 KiB, of which each byte may take six as JSON.
const LARGEST: usize = 512 << 10;
/// Most bytes of JSON of what a provider says at the end of a turn; the rest is left out.
const SAID_BYTES: usize = 16 * 1024;

/// Largest text of one growing item, as JSON; further text starts a new item.
const ITEM_BYTES: usize = 16 * 1024;
/// Largest text of one delta, as JSON.
const PIECE_BYTES: usize = 8 * 1024;

/// Index of the next item of a timeline.
fn next_index(from: &impl Stored, id: &AgentId) -> Result<u64, RpcError> {
    TIMELINE.bounds(from, id.as_str()).map(|bounds| bounds.end)
}

/// Appends an item, filled in by `fill`, and emits it to the subscribers.
pub(super) fn append(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    kind: ItemKind,
    fill: impl FnOnce(&mut TimelineItem),
) -> Result<TimelineItem, RpcError> {
    let id = ItemId::from_uuid(Uuid::now_v7());
    let index = next_index(tx, agent)?;
    let mut item = TimelineItem::new(id, index, kind, tx.now());
    fill(&mut item);
    TIMELINE.append(tx, agent.as_str(), &item)?;
    let event = SessionEvent::TimelineAppended {
        agent_id: agent.clone(),
        item: fit::item(&item, tx.content_bytes()).into_owned(),
    };
    tx.emit(Audience::Subscribers(agent.as_str()), &event)?;
    Ok(item)
}

/// Ends a turn in the store and in the timeline. The item names the intent of the turn: prompts
/// queue, so the next end after a prompt need not be its own.
pub(super) fn end_turn(
    tx: &mut Tx<'_>,
    keeper: &Arc<Keeper>,
    row: &mut AgentRow,
    turn: i64,
    end: &TurnEnd,
) -> Result<(), RpcError> {
    let intent = queue::end(tx, row.book.n, turn)?;
    let item = append(tx, &row.summary.id, ItemKind::TurnEnd, |item| {
        item.status = Some(end.status);
        item.exit_code = end.exit_code;
        item.text = end.missing.as_deref().map(said).unwrap_or_default();
        item.intent_id = intent;
    })?;
    keeper.grows(tx, &row.summary.id);
    aging::ended(tx, row, item.index)
}

/// What a provider says at the end of a turn, as much of it as is kept.
pub(super) fn said(text: &str) -> String {
    fit::prefix(text, SAID_BYTES).to_owned()
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
    directory::update(tx, &row.summary)?;
    let event = SessionEvent::AgentUpdated {
        agent: fit::agent(&row.summary, tx.content_bytes()).into_owned(),
    };
    tx.emit(Audience::Everyone(row.summary.id.as_str()), &event)
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
    agent: &AgentId,
    tail: Option<Tail>,
    kind: ItemKind,
    stream: Option<OutputStream>,
    text: &str,
) -> Result<Option<Tail>, RpcError> {
    let next = next_index(tx, agent)?;
    let mut tail = tail.filter(|tail| {
        tail.item.kind == kind
            && tail.item.stream == stream
            && tail.item.index.saturating_add(1) == next
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
                TIMELINE.grow(tx, agent.as_str(), tail.item.index, piece)?;
                let event = SessionEvent::TimelineDelta {
                    agent_id: agent.clone(),
                    item_id: tail.item.id.clone(),
                    index: tail.item.index,
                    text: piece.to_owned(),
                };
                tx.emit(Audience::Subscribers(agent.as_str()), &event)?;
            }
            Some(_) | None => {
                let item = append(tx, agent, kind, |item| {
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
    let id = range.agent_id.as_str();
    directory::summary(reader, &range.agent_id)?;
    let from = range.after.map_or(0, |after| after.saturating_add(1));
    let to = range.before.unwrap_or(u64::MAX);
    let to = to.min(TIMELINE.bounds(reader, id)?.end);
    let descending = range.after.is_none();
    let limit = page_rows(range.limit);
    let found = if descending {
        TIMELINE.range_back(reader, id, from..to, limit)?
    } else {
        TIMELINE.range(reader, id, from..to, limit)?
    };
    let mut page = Bounded::new(limit, reader.page_bytes());
    let most = reader.content_bytes();
    let mut last = None;
    for (index, item) in &found {
        if !page.add(&*fit::item(item, most)) {
            break;
        }
        last = Some(*index);
    }
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
