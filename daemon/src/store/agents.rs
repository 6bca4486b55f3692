//! Agents and their timelines.

use std::str::FromStr;

use bowline_protocol::{
    AgentId, AgentSummary, IntentId, ItemId, ItemKind, TimelineItem,
    model::{OutputStream, TurnStatus, UnixMillis},
};
use rusqlite::{
    Connection, OptionalExtension, Result, Row, params,
    types::{FromSqlError, Type},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// One stored agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    /// Its number in the store.
    pub(crate) n: i64,
    /// What clients see.
    pub(crate) summary: AgentSummary,
    /// Index of its next timeline item.
    pub(crate) next_index: u64,
}

const COLUMNS: &str =
    "n, id, title, provider, cwd, status, attention, created_at, updated_at, next_index, intent";

fn agent(row: &Row<'_>) -> Result<AgentRow> {
    Ok(AgentRow {
        n: row.get(0)?,
        summary: AgentSummary {
            id: parse(1, &row.get::<_, String>(1)?)?,
            title: row.get(2)?,
            provider: row.get(3)?,
            cwd: row.get(4)?,
            status: word(5, &row.get::<_, String>(5)?)?,
            attention: row.get(6)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
            intent_id: match row.get::<_, Option<String>>(10)? {
                Some(intent) => Some(parse(10, &intent)?),
                None => None,
            },
        },
        next_index: row.get::<_, i64>(9)?.cast_unsigned(),
    })
}

/// How many agents there are.
pub(crate) fn count(conn: &Connection) -> Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM agents")?
        .query_row([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
}

/// Makes an agent; tells its number.
pub(crate) fn insert(conn: &Connection, summary: &AgentSummary) -> Result<i64> {
    conn.prepare_cached(
        "INSERT INTO agents (id, title, provider, cwd, status, attention, created_at, updated_at,
             next_index, intent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)",
    )?
    .execute(params![
        summary.id.as_str(),
        summary.title,
        summary.provider,
        summary.cwd,
        to_word(&summary.status),
        summary.attention,
        summary.created_at,
        summary.updated_at,
        summary.intent_id.map(|intent| intent.to_string()),
    ])?;
    Ok(conn.last_insert_rowid())
}

/// The agent of that name.
pub(crate) fn by_id(conn: &Connection, id: &AgentId) -> Result<Option<AgentRow>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE id = ?1"))?
        .query_row(params![id.as_str()], agent)
        .optional()
}

/// The agent of that number.
pub(crate) fn by_number(conn: &Connection, n: i64) -> Result<Option<AgentRow>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE n = ?1"))?
        .query_row(params![n], agent)
        .optional()
}

/// Agents after number `after`, oldest first.
pub(crate) fn page(conn: &Connection, after: i64, limit: u32) -> Result<Vec<AgentRow>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM agents WHERE n > ?1 ORDER BY n LIMIT ?2"
    ))?
    .query_map(params![after, limit], agent)?
    .collect()
}

/// Agents before number `before`, newest first.
pub(crate) fn page_before(conn: &Connection, before: i64, limit: u32) -> Result<Vec<AgentRow>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM agents WHERE n < ?1 ORDER BY n DESC LIMIT ?2"
    ))?
    .query_map(params![before, limit], agent)?
    .collect()
}

/// Stores status, attention and time of change.
pub(crate) fn update(conn: &Connection, row: &AgentRow) -> Result<()> {
    conn.prepare_cached(
        "UPDATE agents SET status = ?2, attention = ?3, updated_at = ?4 WHERE n = ?1",
    )?
    .execute(params![
        row.n,
        to_word(&row.summary.status),
        row.summary.attention,
        row.summary.updated_at,
    ])?;
    Ok(())
}

/// `agents.n * 2^32 + index`.
fn position(n: i64, index: u64) -> i64 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    n.saturating_mul(1 << 32).saturating_add(i64::from(index))
}

/// Appends an item, whose index must be the agent's next.
pub(crate) fn append_item(conn: &Connection, n: i64, item: &TimelineItem) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO items (position, id, kind, at, text, stream, status, exit_code, intent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        position(n, item.index),
        item.id.as_str(),
        to_word(&item.kind),
        item.at,
        item.text,
        item.stream.as_ref().map(to_word),
        item.status.as_ref().map(to_word),
        item.exit_code,
        item.intent_id.as_ref().map(IntentId::as_bytes),
    ])?;
    conn.prepare_cached("UPDATE agents SET next_index = ?2 WHERE n = ?1")?
        .execute(params![n, item.index.saturating_add(1).cast_signed()])?;
    Ok(())
}

/// Replaces the text of an item. The whole text is bound, not appended in SQL, so that every byte of it
/// survives, NUL included, whatever SQLite's text functions make of it.
pub(crate) fn set_text(conn: &Connection, n: i64, index: u64, text: &str) -> Result<()> {
    conn.prepare_cached("UPDATE items SET text = ?2 WHERE position = ?1")?
        .execute(params![position(n, index), text])?;
    Ok(())
}

/// Hands the items of indices `from..to` to `each` until it says stop, ascending or descending.
pub(crate) fn items(
    conn: &Connection,
    n: i64,
    from: u64,
    to: u64,
    descending: bool,
    mut each: impl FnMut(TimelineItem) -> bool,
) -> Result<()> {
    let order = if descending { "DESC" } else { "ASC" };
    let mut statement = conn.prepare_cached(&format!(
        "SELECT position, id, kind, at, text, stream, status, exit_code, intent FROM items
         WHERE position >= ?1 AND position < ?2 ORDER BY position {order}"
    ))?;
    let mut rows = statement.query(params![position(n, from), position(n, to)])?;
    while let Some(row) = rows.next()? {
        if !each(item(row)?) {
            break;
        }
    }
    Ok(())
}

fn item(row: &Row<'_>) -> Result<TimelineItem> {
    let stream: Option<String> = row.get(5)?;
    let status: Option<String> = row.get(6)?;
    let intent: Option<[u8; 16]> = row.get(8)?;
    Ok(TimelineItem {
        id: parse::<ItemId>(1, &row.get::<_, String>(1)?)?,
        index: row.get::<_, i64>(0)?.cast_unsigned() & u64::from(u32::MAX),
        kind: word::<ItemKind>(2, &row.get::<_, String>(2)?)?,
        at: row.get::<_, UnixMillis>(3)?,
        text: row.get(4)?,
        stream: stream
            .map(|text| word::<OutputStream>(5, &text))
            .transpose()?,
        status: status
            .map(|text| word::<TurnStatus>(6, &text))
            .transpose()?,
        exit_code: row.get(7)?,
        intent_id: intent.map(|bytes| IntentId::from_uuid(Uuid::from_bytes(bytes))),
    })
}

/// The wire name of an enum without data, which is also its stored form.
fn to_word<T: Serialize>(value: &T) -> String {
    // Such enums serialise to a JSON string.
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn word<T: DeserializeOwned>(column: usize, text: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn parse<T: FromStr>(column: usize, text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Text,
            Box::new(FromSqlError::InvalidType),
        )
    })
}

#[cfg(test)]
mod tests {
    use bowline_protocol::AgentStatus;

    use super::*;

    #[test]
    fn words_are_the_wire_names() {
        assert_eq!(to_word(&AgentStatus::Idle), "idle");
        assert_eq!(to_word(&ItemKind::TurnEnd), "turn_end");
        assert_eq!(word::<ItemKind>(0, "turn_end").unwrap(), ItemKind::TurnEnd);
        assert!(word::<ItemKind>(0, "nonsense").is_err());
    }

    #[test]
    fn positions_keep_timelines_apart() {
        assert!(position(1, u64::from(u32::MAX)) < position(2, 0));
    }
}
