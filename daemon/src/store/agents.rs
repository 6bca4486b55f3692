//! Agents and their timelines.

use bowline_protocol::{AgentId, AgentSummary, IntentId, TimelineItem};
use rusqlite::{Connection, Result, Row};
use uuid::Uuid;

use super::sql::{self, Parsed, Word};

/// One stored agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    /// Its number in the store.
    pub(crate) n: i64,
    /// What clients see.
    pub(crate) summary: AgentSummary,
    /// Index of its next timeline item.
    pub(crate) next_index: u64,
    /// Whom its timeline is charged to.
    pub(crate) owner: i64,
    /// Size of its timeline.
    pub(crate) bytes: i64,
}

const COLUMNS: &str = "n, id, title, provider, cwd, status, attention, created_at, updated_at, next_index, intent, owner, bytes";

fn agent(row: &Row<'_>) -> Result<AgentRow> {
    Ok(AgentRow {
        n: row.get(0)?,
        summary: AgentSummary {
            id: row.get::<_, Parsed<_>>(1)?.0,
            title: row.get(2)?,
            provider: row.get(3)?,
            cwd: row.get(4)?,
            status: row.get::<_, Word<_>>(5)?.0,
            attention: row.get(6)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
            intent_id: row.get::<_, Option<Parsed<_>>>(10)?.map(|it| it.0),
        },
        next_index: row.get::<_, i64>(9)?.cast_unsigned(),
        owner: row.get(11)?,
        bytes: row.get(12)?,
    })
}

/// Number of agents.
pub(crate) fn count(conn: &Connection) -> Result<u64> {
    sql::count(conn, "SELECT count(*) FROM agents", ())
}

/// Number of agents of each owner, and bytes of their timelines.
pub(crate) fn by_owner(conn: &Connection) -> Result<Vec<(i64, i64, i64)>> {
    let sql = "SELECT owner, count(*), sum(bytes) FROM agents GROUP BY owner";
    sql::all(conn, sql, (), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

/// Inserts an agent of an owner; returns its number.
pub(crate) fn insert(conn: &Connection, summary: &AgentSummary, owner: i64) -> Result<i64> {
    let sql = "INSERT INTO agents (id, title, provider, cwd, status, attention, created_at,
             updated_at, next_index, intent, owner)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)";
    let params = (
        summary.id.as_str(),
        &summary.title,
        &summary.provider,
        &summary.cwd,
        Word(&summary.status),
        &summary.attention,
        summary.created_at,
        summary.updated_at,
        summary.intent_id.map(|intent| intent.to_string()),
        owner,
    );
    sql::run(conn, sql, params)?;
    Ok(conn.last_insert_rowid())
}

/// The agent with that id.
pub(crate) fn by_id(conn: &Connection, id: &AgentId) -> Result<Option<AgentRow>> {
    let sql = format!("SELECT {COLUMNS} FROM agents WHERE id = ?1");
    sql::first(conn, &sql, (id.as_str(),), agent)
}

/// The agent with that number.
pub(crate) fn by_number(conn: &Connection, n: i64) -> Result<Option<AgentRow>> {
    let sql = format!("SELECT {COLUMNS} FROM agents WHERE n = ?1");
    sql::first(conn, &sql, (n,), agent)
}

/// Agents after number `after`, oldest first.
pub(crate) fn page(conn: &Connection, after: i64, limit: u32) -> Result<Vec<AgentRow>> {
    let sql = format!("SELECT {COLUMNS} FROM agents WHERE n > ?1 ORDER BY n LIMIT ?2");
    sql::all(conn, &sql, (after, limit), agent)
}

/// Agents before number `before`, newest first.
pub(crate) fn page_before(conn: &Connection, before: i64, limit: u32) -> Result<Vec<AgentRow>> {
    let sql = format!("SELECT {COLUMNS} FROM agents WHERE n < ?1 ORDER BY n DESC LIMIT ?2");
    sql::all(conn, &sql, (before, limit), agent)
}

/// Stores status, attention and time of change.
pub(crate) fn update(conn: &Connection, row: &AgentRow) -> Result<()> {
    let sql = "UPDATE agents SET status = ?2, attention = ?3, updated_at = ?4 WHERE n = ?1";
    let AgentSummary {
        status,
        attention,
        updated_at,
        ..
    } = &row.summary;
    sql::run(conn, sql, (row.n, Word(status), attention, updated_at))
}

/// `agents.n * 2^32 + index`.
pub(super) fn position(n: i64, index: u64) -> i64 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    n.saturating_mul(1 << 32).saturating_add(i64::from(index))
}

/// Appends an item, whose index must be the agent's next, at this time of the store's own clock.
/// Its timeline grows by that many bytes.
pub(crate) fn append_item(
    conn: &Connection,
    n: i64,
    item: &TimelineItem,
    lived: i64,
    bytes: i64,
) -> Result<()> {
    let sql = "INSERT INTO items (position, id, kind, at, text, stream, status, exit_code, intent,
             lived)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let params = (
        position(n, item.index),
        item.id.as_str(),
        Word(&item.kind),
        item.at,
        &item.text,
        item.stream.as_ref().map(Word),
        item.status.as_ref().map(Word),
        item.exit_code,
        item.intent_id.as_ref().map(IntentId::as_bytes),
        lived,
    );
    sql::run(conn, sql, params)?;
    let next = item.index.saturating_add(1).cast_signed();
    let sql = "UPDATE agents SET next_index = ?2, bytes = bytes + ?3, oldest = coalesce(oldest, ?4)
         WHERE n = ?1";
    sql::run(conn, sql, (n, next, bytes, lived))
}

/// Replaces the text of an item by one that is longer by `more` bytes. The whole text is bound as a
/// parameter, not appended in SQL, so that every byte of it survives, including NUL.
pub(crate) fn set_text(conn: &Connection, n: i64, index: u64, text: &str, more: i64) -> Result<()> {
    let sql = "UPDATE items SET text = ?2 WHERE position = ?1";
    sql::run(conn, sql, (position(n, index), text))?;
    sql::run(
        conn,
        "UPDATE agents SET bytes = bytes + ?2 WHERE n = ?1",
        (n, more),
    )
}

/// The columns that [`item`] reads.
pub(super) const ITEM_COLUMNS: &str =
    "position, id, kind, at, text, stream, status, exit_code, intent, dropped";

/// Passes the items of indices `from..to` to `each`, ascending or descending, until it returns
/// `false`.
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
        "SELECT {ITEM_COLUMNS} FROM items
         WHERE position >= ?1 AND position < ?2 ORDER BY position {order}"
    ))?;
    let mut rows = statement.query((position(n, from), position(n, to)))?;
    while let Some(row) = rows.next()? {
        if !each(item(row)?) {
            break;
        }
    }
    Ok(())
}

pub(super) fn item(row: &Row<'_>) -> Result<TimelineItem> {
    let intent: Option<[u8; 16]> = row.get(8)?;
    Ok(TimelineItem {
        id: row.get::<_, Parsed<_>>(1)?.0,
        index: row.get::<_, i64>(0)?.cast_unsigned() & u64::from(u32::MAX),
        kind: row.get::<_, Word<_>>(2)?.0,
        at: row.get(3)?,
        text: row.get(4)?,
        dropped_bytes: row.get::<_, i64>(9)?.cast_unsigned(),
        stream: row.get::<_, Option<Word<_>>>(5)?.map(|it| it.0),
        status: row.get::<_, Option<Word<_>>>(6)?.map(|it| it.0),
        exit_code: row.get(7)?,
        intent_id: intent.map(|bytes| IntentId::from_uuid(Uuid::from_bytes(bytes))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_keep_timelines_apart() {
        assert!(position(1, u64::from(u32::MAX)) < position(2, 0));
    }
}
