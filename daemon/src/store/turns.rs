//! Turns that have not ended. A turn starts once: it is marked and committed before it runs.

use bowline_protocol::{IntentId, PublicKey};
use rusqlite::{Connection, Result, Row};
use uuid::Uuid;

use super::sql;

/// One stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnRow {
    pub(crate) id: i64,
    /// The name in the environment of its processes.
    pub(crate) name: String,
    /// Number of its agent.
    pub(crate) agent: i64,
    pub(crate) started: bool,
    pub(crate) prompt: String,
    /// The device that asked for it; `None` for the owner on the local socket.
    pub(crate) device: Option<PublicKey>,
}

/// A turn to queue.
pub(crate) struct NewTurn<'a> {
    pub(crate) name: &'a str,
    pub(crate) agent: i64,
    pub(crate) prompt: &'a str,
    pub(crate) intent: IntentId,
    pub(crate) device: Option<&'a PublicKey>,
}

const COLUMNS: &str = "id, name, agent, started, prompt, device";

fn turn(row: &Row<'_>) -> Result<TurnRow> {
    Ok(TurnRow {
        id: row.get(0)?,
        name: row.get(1)?,
        agent: row.get(2)?,
        started: row.get(3)?,
        prompt: row.get(4)?,
        device: row.get::<_, Option<_>>(5)?.map(PublicKey::from_bytes),
    })
}

/// Queues the turn of an intent.
pub(crate) fn insert(conn: &Connection, turn: &NewTurn<'_>) -> Result<()> {
    let sql = "INSERT INTO turns (name, agent, started, prompt, intent, device)
         VALUES (?1, ?2, 0, ?3, ?4, ?5)";
    let device = turn.device.map(PublicKey::as_bytes);
    let row = (
        turn.name,
        turn.agent,
        turn.prompt,
        turn.intent.as_bytes(),
        device,
    );
    sql::run(conn, sql, row)
}

/// Turns that a device asked for, oldest first.
pub(crate) fn of_device(conn: &Connection, device: &PublicKey) -> Result<Vec<TurnRow>> {
    let sql = format!("SELECT {COLUMNS} FROM turns WHERE device = ?1 ORDER BY id");
    sql::all(conn, &sql, (device.as_bytes(),), turn)
}

/// Lets the turns of a device go on without it.
pub(crate) fn disown(conn: &Connection, device: &PublicKey) -> Result<()> {
    let sql = "UPDATE turns SET device = NULL WHERE device = ?1";
    sql::run(conn, sql, (device.as_bytes(),))
}

/// The agent's oldest turn.
pub(crate) fn first(conn: &Connection, agent: i64) -> Result<Option<TurnRow>> {
    let sql = format!("SELECT {COLUMNS} FROM turns WHERE agent = ?1 ORDER BY id LIMIT 1");
    sql::first(conn, &sql, (agent,), turn)
}

/// The agent's turns, oldest first.
pub(crate) fn of_agent(conn: &Connection, agent: i64) -> Result<Vec<TurnRow>> {
    let sql = format!("SELECT {COLUMNS} FROM turns WHERE agent = ?1 ORDER BY id");
    sql::all(conn, &sql, (agent,), turn)
}

/// Number of the agent's turns that have not ended.
pub(crate) fn count(conn: &Connection, agent: i64) -> Result<u64> {
    sql::count(
        conn,
        "SELECT count(*) FROM turns WHERE agent = ?1",
        (agent,),
    )
}

/// Whose turns on the agents of an owner have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unended {
    /// Whether anyone has one.
    pub(crate) any: bool,
    /// Whether that device has one; `None` is the owner on the local socket.
    pub(crate) own: bool,
}

/// The turns on the agents of an owner that have not ended.
pub(crate) fn unended(
    conn: &Connection,
    owner: i64,
    device: Option<&PublicKey>,
) -> Result<Unended> {
    let sql = "SELECT EXISTS (SELECT 1 FROM turns JOIN agents ON agents.n = turns.agent
             WHERE agents.owner = ?1),
         EXISTS (SELECT 1 FROM turns JOIN agents ON agents.n = turns.agent
             WHERE agents.owner = ?1 AND turns.device IS ?2)";
    let row = (owner, device.map(PublicKey::as_bytes));
    let unended = sql::first(conn, sql, row, |row| {
        Ok(Unended {
            any: row.get(0)?,
            own: row.get(1)?,
        })
    })?;
    Ok(unended.unwrap_or(Unended {
        any: false,
        own: false,
    }))
}

/// Marks a turn as started.
pub(crate) fn start(conn: &Connection, id: i64) -> Result<()> {
    sql::run(conn, "UPDATE turns SET started = 1 WHERE id = ?1", (id,))
}

/// Ends a turn and returns the intent that requested it.
pub(crate) fn end(conn: &Connection, id: i64) -> Result<Option<IntentId>> {
    let sql = "DELETE FROM turns WHERE id = ?1 RETURNING intent";
    sql::first(conn, sql, (id,), |row| {
        row.get(0).map(Uuid::from_bytes).map(IntentId::from_uuid)
    })
}

/// Every turn that has not ended, oldest first; for the start.
pub(crate) fn all(conn: &Connection) -> Result<Vec<TurnRow>> {
    let sql = format!("SELECT {COLUMNS} FROM turns ORDER BY id");
    sql::all(conn, &sql, (), turn)
}
