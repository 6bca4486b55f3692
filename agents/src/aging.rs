//! What is old in timelines, and dropping it (TR-12): what goes loses its text, outputs before
//! prompts and messages. The items stay and say how much there was. Nothing of a turn that has not
//! ended is dropped, so no dropped item grows.
//!
//! `agents.ended` has a row for each ended turn of which something may be left, under
//! `account/stage/lived/agent/index`: its outputs in stage 0, its texts in stage 1, the store's own
//! time of its end, and the index of the item that ended it. So the first row of an account is what
//! it loses next. A row may be of a turn whose content is gone already.
//!
//! An item counts while it has a text, with that and a few bytes for itself: once its text is
//! dropped it takes nothing of a bound, so that any bound can be met. Ends of turns count nothing.

use bowline_daemon::ledger::{Audience, Owner, Stored, Table, Tx};
use bowline_protocol::{AgentId, ItemKind, SessionEvent, TimelineItem, error::RpcError};

use super::{
    directory::{self, AgentRow, Book, number},
    timeline::TIMELINE,
};

const ENDED: Table<AgentId> = Table::new("agents.ended").apart();

/// Bytes that an item counts besides its text.
const ITEM_COST: u64 = 128;
/// Items that one transaction looks at.
const STEP: usize = 64;

/// Content of a timeline that is dropped at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What programs print and think: dropped first.
    Outputs,
    /// Prompts, messages and the rest: dropped once no output is left.
    Texts,
}

impl Content {
    /// Whether a kind belongs to it; ends of turns are never dropped.
    const fn has(self, kind: ItemKind) -> bool {
        match kind {
            ItemKind::Output | ItemKind::Thought | ItemKind::Tool => matches!(self, Self::Outputs),
            ItemKind::User
            | ItemKind::Message
            | ItemKind::Plan
            | ItemKind::Permission
            | ItemKind::Error => matches!(self, Self::Texts),
            ItemKind::TurnEnd => false,
        }
    }

    const fn from(self, book: &Book) -> u64 {
        match self {
            Self::Outputs => book.outputs_from,
            Self::Texts => book.texts_from,
        }
    }

    const fn stage(self) -> char {
        match self {
            Self::Outputs => '0',
            Self::Texts => '1',
        }
    }
}

/// Content of an ended turn that an account loses next.
#[derive(Clone, Debug)]
pub(super) struct Oldest {
    key: String,
    pub(super) agent: AgentId,
    pub(super) content: Content,
    /// The store's own time at which the turn ended.
    pub(super) lived: i64,
    /// Index of the item that ended it.
    end: u64,
    /// The row before: what was passed over need not be looked at again.
    pub(super) before: String,
}

impl Oldest {
    fn read(key: String, before: String, agent: AgentId) -> Option<Self> {
        let mut parts = key.split('/').skip(1);
        let content = match parts.next()? {
            "0" => Content::Outputs,
            "1" => Content::Texts,
            _ => return None,
        };
        let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
        let lived = hex()?.cast_signed();
        let (_agent, end) = (hex()?, hex()?);
        Some(Self {
            agent,
            content,
            lived,
            end,
            before,
            key,
        })
    }
}

fn key(owner: Owner, content: Content, lived: i64, agent: i64, end: u64) -> String {
    let (stage, end) = (content.stage(), number(end.cast_signed()));
    format!("{owner}/{stage}/{}/{}/{end}", number(lived), number(agent))
}

/// Notes that a turn of an agent has ended with this item.
pub(super) fn ended(tx: &mut Tx<'_>, row: &mut AgentRow, end: u64) -> Result<(), RpcError> {
    row.book.end = end;
    directory::write(tx, &row.summary.id, &row.book)?;
    let key = key(row.owner, Content::Outputs, tx.lived(), row.book.n, end);
    ENDED.put(tx, &key, &row.summary.id)
}

/// What an account loses next after the row `after`, without agents that `except` names; `None` if
/// nothing is left.
pub(super) fn oldest_of(
    from: &impl Stored,
    owner: Owner,
    after: Option<&str>,
    except: impl Fn(&AgentId) -> bool,
) -> Result<Option<Oldest>, RpcError> {
    let prefix = format!("{owner}/");
    let mut after = after.unwrap_or(&prefix).to_owned();
    loop {
        let page = ENDED.entries(from, &after, STEP)?;
        if page.is_empty() {
            return Ok(None);
        }
        for (key, agent) in page {
            if !key.starts_with(&prefix) {
                return Ok(None);
            }
            let found = match agent {
                Ok(agent) if except(&agent) => None,
                Ok(agent) => Oldest::read(key.clone(), after.clone(), agent),
                Err(error) => {
                    tracing::warn!(key, %error, "an ended turn is damaged and passed over");
                    None
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            after = key;
        }
    }
}

/// The account after this one, or the first, that has ended turns.
pub(super) fn owner_after(
    from: &impl Stored,
    owner: Option<Owner>,
) -> Result<Option<Owner>, RpcError> {
    // The character after the slash: above all keys of the account, and below those of the next.
    let after = owner.map_or(String::new(), |owner| format!("{owner}0"));
    let next = ENDED.entries(from, &after, 1)?.into_iter().next();
    Ok(next.and_then(|(key, _)| key.split('/').next()?.parse().ok()))
}

/// What an item counts as.
pub(super) fn counts(item: &TimelineItem) -> u64 {
    if item.text.is_empty() || item.kind == ItemKind::TurnEnd {
        return 0;
    }
    ITEM_COST.saturating_add(item.text.len() as u64)
}

/// What the timelines of an account's agents count as.
pub(super) fn bytes_of(from: &impl Stored, owner: Owner) -> u64 {
    TIMELINE.held(from, owner).bytes
}

/// What an agent's timeline counts as, and what is known of the agent.
pub(super) fn bytes(from: &impl Stored, id: &AgentId) -> Result<(u64, Book, Owner), RpcError> {
    let (book, owner) = directory::known(from, id)?;
    let state = TIMELINE.state(from, id.as_str())?;
    Ok((state.map_or(0, |state| state.counted), book, owner))
}

/// The outcome of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// Bytes that no longer count.
    pub(super) freed: u64,
    /// Whether nothing of this content is left up to where it was to be dropped.
    pub(super) is_through: bool,
}

/// Drops content of an agent before an index, of at most [`STEP`] items, and not more than it takes
/// to free `wanted` bytes.
pub(super) fn drop_content(
    tx: &mut Tx<'_>,
    id: &AgentId,
    (content, end): (Content, u64),
    wanted: u64,
) -> Result<Step, RpcError> {
    let (mut book, _) = directory::known(tx, id)?;
    // A turn that has not ended is not touched, whatever is asked for.
    let (from, end) = (content.from(&book), end.min(book.end));
    let mut step = Step {
        is_through: from >= end,
        ..Step::default()
    };
    if step.is_through {
        return Ok(step);
    }
    let (mut to, mut left, mut dropped) = (from, STEP, 0_u64);
    // A page of items is bounded in bytes by what fits into a message, which may be little.
    while left > 0 && to < end && step.freed < wanted {
        let items = TIMELINE.range(tx, id.as_str(), to..end, left)?;
        if items.is_empty() {
            to = end;
        }
        for (index, mut item) in items {
            if step.freed >= wanted {
                break;
            }
            (to, left) = (index.saturating_add(1), left.saturating_sub(1));
            if content.has(item.kind) && !item.text.is_empty() {
                step.freed = step.freed.saturating_add(counts(&item));
                item.dropped_bytes = item.text.len() as u64;
                dropped = dropped.saturating_add(item.dropped_bytes);
                item.text = String::new();
                drop_item(tx, id, &item)?;
            }
        }
    }
    step.is_through = to >= end;
    match content {
        Content::Outputs => book.outputs_from = to,
        Content::Texts => book.texts_from = to,
    }
    directory::write(tx, id, &book)?;
    tx.note_dropped_bytes(dropped);
    Ok(step)
}

/// Drops content of the turn that is the oldest: as [`drop_content`].
pub(super) fn drop_oldest(tx: &mut Tx<'_>, oldest: &Oldest, wanted: u64) -> Result<Step, RpcError> {
    let Oldest {
        key: old,
        agent,
        content,
        lived,
        end,
        before: _,
    } = oldest;
    let step = drop_content(tx, agent, (*content, *end), wanted)?;
    if step.is_through {
        ENDED.remove(tx, old)?;
        if *content == Content::Outputs {
            let (book, owner) = directory::known(tx, agent)?;
            let next = key(owner, Content::Texts, *lived, book.n, *end);
            ENDED.put(tx, &next, agent)?;
        }
    }
    Ok(step)
}

fn drop_item(tx: &mut Tx<'_>, id: &AgentId, item: &TimelineItem) -> Result<(), RpcError> {
    TIMELINE.replace(tx, id.as_str(), item.index, item)?;
    let event = SessionEvent::TimelineUpdated {
        agent_id: id.clone(),
        item: item.clone(),
    };
    tx.emit(Audience::Subscribers(id.as_str()), &event)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn tr_12_an_account_loses_outputs_first_and_the_oldest_first() {
        let owner = "fefefefefefefefe".parse::<Owner>().unwrap();
        let agent = AgentId::from_uuid(Uuid::nil());
        let keys = [
            key(owner, Content::Outputs, 5, 9, 70),
            key(owner, Content::Outputs, 300, 1, 2),
            key(owner, Content::Texts, 1, 1, 2),
        ];
        assert!(keys.is_sorted());
        let read = Oldest::read(keys[0].clone(), String::new(), agent).unwrap();
        assert_eq!(
            (read.content, read.lived, read.end),
            (Content::Outputs, 5, 70)
        );
        let before: Owner = keys[0].split('/').next().unwrap().parse().unwrap();
        assert_eq!(before, owner);
        assert!(
            format!("{owner}0") > keys[2],
            "the next account is after it"
        );
    }
}
