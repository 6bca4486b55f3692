//! The stored replay logs: event bodies, shared, and each session's numbering of them (BX-4).

use rusqlite::{Connection, Result};

use super::sql;

/// One entry of a stored replay log, in order of session and number. The body is absent where only
/// the numbering was kept.
pub(crate) struct ReplayRow {
    pub(crate) session: i64,
    pub(crate) seq: u64,
    pub(crate) event: i64,
    pub(crate) body: Option<String>,
}

/// The next event id.
pub(crate) fn next_id(conn: &Connection) -> Result<i64> {
    conn.query_row(
        "SELECT max(coalesce((SELECT max(id) FROM events), 0),
                    coalesce((SELECT max(event) FROM replay), 0)) + 1",
        [],
        |row| row.get(0),
    )
}

/// Stores a body.
pub(crate) fn insert(conn: &Connection, id: i64, body: &str) -> Result<()> {
    let sql = "INSERT INTO events (id, body) VALUES (?1, ?2)";
    sql::run(conn, sql, (id, body))
}

/// Adds an event to a session's log.
pub(crate) fn append(conn: &Connection, session: i64, seq: u64, event: i64) -> Result<()> {
    let sql = "INSERT INTO replay (session, seq, event) VALUES (?1, ?2, ?3)";
    sql::run(conn, sql, (session, seq.cast_signed(), event))
}

/// Passes every log entry to `each`, in order of session and number.
pub(crate) fn load(conn: &Connection, mut each: impl FnMut(ReplayRow)) -> Result<()> {
    let mut statement = conn.prepare(
        "SELECT r.session, r.seq, r.event, e.body FROM replay r LEFT JOIN events e ON e.id = r.event
         ORDER BY r.session, r.seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(ReplayRow {
            session: row.get(0)?,
            seq: row.get::<_, i64>(1)?.cast_unsigned(),
            event: row.get(2)?,
            body: row.get(3)?,
        });
    }
    Ok(())
}

/// Removes the entries of a session before `first`.
pub(crate) fn trim(conn: &Connection, session: i64, first: u64) -> Result<()> {
    let sql = "DELETE FROM replay WHERE session = ?1 AND seq < ?2";
    sql::run(conn, sql, (session, first.cast_signed()))
}

/// Removes a body that no log refers to any more.
pub(crate) fn delete(conn: &Connection, id: i64) -> Result<()> {
    sql::run(conn, "DELETE FROM events WHERE id = ?1", (id,))
}

/// Removes unreferenced bodies; at the start, before references are counted.
pub(crate) fn delete_orphans(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "DELETE FROM replay WHERE session NOT IN (SELECT id FROM sessions);
         DELETE FROM events WHERE id NOT IN (SELECT event FROM replay);",
    )
}
