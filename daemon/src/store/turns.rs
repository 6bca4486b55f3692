//! Turns that have not ended. A turn is started once: it is marked, committed, and only then run.

use bowline_protocol::IntentId;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use uuid::Uuid;

/// One stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnRow {
    pub(crate) id: i64,
    /// In the environment of its processes.
    pub(crate) name: String,
    /// Number of its agent.
    pub(crate) agent: i64,
    pub(crate) started: bool,
    pub(crate) prompt: String,
}

fn turn(row: &Row<'_>) -> Result<TurnRow> {
    Ok(TurnRow {
        id: row.get(0)?,
        name: row.get(1)?,
        agent: row.get(2)?,
        started: row.get(3)?,
        prompt: row.get(4)?,
    })
}

/// Queues the turn that an intent asked for.
pub(crate) fn insert(
    conn: &Connection,
    name: &str,
    agent: i64,
    prompt: &str,
    intent: IntentId,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO turns (name, agent, started, prompt, intent) VALUES (?1, ?2, 0, ?3, ?4)",
    )?
    .execute(params![name, agent, prompt, intent.as_bytes()])?;
    Ok(())
}

/// The agent's oldest turn.
pub(crate) fn first(conn: &Connection, agent: i64) -> Result<Option<TurnRow>> {
    conn.prepare_cached(
        "SELECT id, name, agent, started, prompt FROM turns WHERE agent = ?1 ORDER BY id LIMIT 1",
    )?
    .query_row(params![agent], turn)
    .optional()
}

/// The agent's turns, oldest first.
pub(crate) fn of_agent(conn: &Connection, agent: i64) -> Result<Vec<TurnRow>> {
    conn.prepare_cached(
        "SELECT id, name, agent, started, prompt FROM turns WHERE agent = ?1 ORDER BY id",
    )?
    .query_map(params![agent], turn)?
    .collect()
}

/// How many turns of the agent have not ended.
pub(crate) fn count(conn: &Connection, agent: i64) -> Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM turns WHERE agent = ?1")?
        .query_row(params![agent], |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })
}

/// Marks a turn as started.
pub(crate) fn start(conn: &Connection, id: i64) -> Result<()> {
    conn.prepare_cached("UPDATE turns SET started = 1 WHERE id = ?1")?
        .execute(params![id])?;
    Ok(())
}

/// Ends a turn and tells which intent had asked for it.
pub(crate) fn end(conn: &Connection, id: i64) -> Result<Option<IntentId>> {
    conn.prepare_cached("DELETE FROM turns WHERE id = ?1 RETURNING intent")?
        .query_row(params![id], |row| {
            let bytes: [u8; 16] = row.get(0)?;
            Ok(IntentId::from_uuid(Uuid::from_bytes(bytes)))
        })
        .optional()
}

/// Every turn that has not ended, oldest first; for the start.
pub(crate) fn all(conn: &Connection) -> Result<Vec<TurnRow>> {
    conn.prepare("SELECT id, name, agent, started, prompt FROM turns ORDER BY id")?
        .query_map([], turn)?
        .collect()
}
