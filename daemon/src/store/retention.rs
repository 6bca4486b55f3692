//! What timelines have of old outputs and texts, and dropping it (TR-12).

use std::collections::BTreeSet;

use bowline_protocol::{AgentId, ItemKind, TimelineItem};
use rusqlite::{Connection, Result};

use super::{
    agents::{ITEM_COLUMNS, item, position},
    sql::{self, Parsed},
};

/// Bytes that an item counts besides its text, until that is dropped.
pub(crate) const ITEM_COST: usize = 128;

/// Content of a timeline that is dropped at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// What programs print and think: dropped first.
    Outputs,
    /// Prompts, messages and the rest: dropped once no output is left.
    Texts,
}

impl Content {
    /// Whether a kind belongs to it; ends of turns are never dropped.
    pub(crate) const fn has(self, kind: ItemKind) -> bool {
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

    /// Whether an item of that kind no longer counts once this content is dropped up to it. The end
    /// of a turn stays, but does not count longer than the texts before it.
    pub(crate) const fn releases(self, kind: ItemKind) -> bool {
        self.has(kind) || matches!((self, kind), (Self::Texts, ItemKind::TurnEnd))
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Outputs => "outputs_from",
            Self::Texts => "texts_from",
        }
    }
}

/// An agent as far as its timeline is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) n: i64,
    pub(crate) id: AgentId,
    pub(crate) owner: i64,
    pub(crate) bytes: i64,
    /// Index of the last end of a turn: items before it do not grow any more, and may be dropped.
    pub(crate) end: u64,
    pub(crate) outputs_from: u64,
    pub(crate) texts_from: u64,
}

impl Kept {
    pub(crate) const fn from(&self, content: Content) -> u64 {
        match content {
            Content::Outputs => self.outputs_from,
            Content::Texts => self.texts_from,
        }
    }
}

/// What is kept of the agent with that number.
pub(crate) fn kept(conn: &Connection, n: i64) -> Result<Option<Kept>> {
    let end = "SELECT position FROM items
         WHERE position >= ?1 AND position < ?2 AND kind = 'turn_end'
         ORDER BY position DESC LIMIT 1";
    let range = (position(n, 0), position(n.saturating_add(1), 0));
    let end: Option<i64> = sql::first(conn, end, range, |row| row.get(0))?;
    let end = end.map_or(0, |position| position.cast_unsigned() & u64::from(u32::MAX));
    let sql = "SELECT n, id, owner, bytes, outputs_from, texts_from FROM agents WHERE n = ?1";
    sql::first(conn, sql, (n,), |row| {
        let index = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.cast_unsigned());
        Ok(Kept {
            n: row.get(0)?,
            id: row.get::<_, Parsed<_>>(1)?.0,
            owner: row.get(2)?,
            bytes: row.get(3)?,
            end,
            outputs_from: index(4)?,
            texts_from: index(5)?,
        })
    })
}

/// Agents whose timelines are larger than that; scans all agents.
pub(crate) fn larger(conn: &Connection, bytes: i64) -> Result<Vec<i64>> {
    let sql = "SELECT n FROM agents WHERE bytes > ?1";
    sql::all(conn, sql, (bytes,), |row| row.get(0))
}

/// A set of agents as a parameter of `NOT IN (SELECT value FROM json_each(?))`.
fn json(agents: &BTreeSet<i64>) -> String {
    let agents: Vec<String> = agents.iter().map(i64::to_string).collect();
    format!("[{}]", agents.join(","))
}

/// The agent with the oldest output, if that is older than `before`, without those in `except`.
pub(crate) fn oldest(
    conn: &Connection,
    before: i64,
    except: &BTreeSet<i64>,
) -> Result<Option<i64>> {
    let sql = "SELECT n FROM agents
         WHERE oldest < ?1 AND n NOT IN (SELECT value FROM json_each(?2))
         ORDER BY oldest LIMIT 1";
    sql::first(conn, sql, (before, json(except)), |row| row.get(0))
}

/// The owner's agent to drop content of next, and which: of the one with the oldest output, else
/// texts of the first one; each only of turns that have ended. Those in `except` are passed over.
pub(crate) fn oldest_of(
    conn: &Connection,
    owner: i64,
    except: &BTreeSet<i64>,
) -> Result<Option<(i64, Content)>> {
    let except = json(except);
    let sql = "SELECT n FROM agents
         WHERE owner = ?1 AND oldest IS NOT NULL
             AND n NOT IN (SELECT value FROM json_each(?2))
             AND EXISTS (SELECT 1 FROM items
                 WHERE position > n * 4294967296 + outputs_from
                     AND position < (n + 1) * 4294967296 AND kind = 'turn_end')
         ORDER BY oldest LIMIT 1";
    let output: Option<i64> = sql::first(conn, sql, (owner, &except), |row| row.get(0))?;
    if let Some(n) = output {
        return Ok(Some((n, Content::Outputs)));
    }
    let sql = "SELECT n FROM agents
         WHERE owner = ?1 AND texts_from < next_index - 1
             AND n NOT IN (SELECT value FROM json_each(?2))
             AND EXISTS (SELECT 1 FROM items
                 WHERE position > n * 4294967296 + texts_from
                     AND position < (n + 1) * 4294967296 AND kind = 'turn_end')
         ORDER BY n LIMIT 1";
    let text: Option<i64> = sql::first(conn, sql, (owner, &except), |row| row.get(0))?;
    Ok(text.map(|n| (n, Content::Texts)))
}

/// One item without its text.
pub(crate) struct Bare {
    pub(crate) item: TimelineItem,
    /// Bytes of its text.
    pub(crate) bytes: i64,
    /// The store's own time at which it began.
    pub(crate) lived: i64,
}

/// The items of indices `from..to` without their texts, at most `limit`.
pub(crate) fn bare(conn: &Connection, n: i64, from: u64, to: u64, limit: u32) -> Result<Vec<Bare>> {
    // The text in the place of the columns is not read.
    let columns = ITEM_COLUMNS.replace("text", "''");
    let sql = format!(
        "SELECT {columns}, octet_length(text), lived FROM items
         WHERE position >= ?1 AND position < ?2 ORDER BY position LIMIT ?3"
    );
    sql::all(
        conn,
        &sql,
        (position(n, from), position(n, to), limit),
        |row| {
            Ok(Bare {
                item: item(row)?,
                bytes: row.get(10)?,
                lived: row.get(11)?,
            })
        },
    )
}

/// Drops the text of an item.
pub(crate) fn drop_text(conn: &Connection, n: i64, index: u64, bytes: u64) -> Result<()> {
    let sql = "UPDATE items SET text = '', dropped = ?2 WHERE position = ?1";
    sql::run(conn, sql, (position(n, index), bytes.cast_signed()))
}

/// Records how far content is dropped, and how many bytes that freed. Where only items of the
/// newest turn are left, there is no oldest output until the timeline grows.
pub(crate) fn advance(
    conn: &Connection,
    kept: &Kept,
    content: Content,
    to: u64,
    freed: i64,
) -> Result<()> {
    let column = content.column();
    let sql = format!("UPDATE agents SET {column} = ?2, bytes = bytes - ?3 WHERE n = ?1");
    sql::run(conn, &sql, (kept.n, to.cast_signed(), freed))?;
    if content == Content::Outputs {
        let sql = "UPDATE agents SET oldest = CASE WHEN ?3 THEN
                 (SELECT lived FROM items WHERE position = ?2) END
             WHERE n = ?1";
        let has_more = to < kept.end;
        sql::run(conn, sql, (kept.n, position(kept.n, to), has_more))?;
    }
    Ok(())
}
