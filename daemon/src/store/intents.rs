//! Outcomes of intents (BX-1).

use bowline_protocol::model::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Result, params};

/// A remembered outcome.
pub(crate) struct IntentRow {
    pub(crate) digest: [u8; 32],
    pub(crate) ok: bool,
    pub(crate) outcome: String,
}

/// The outcome under a name.
pub(crate) fn get(conn: &Connection, name: &[u8; 32]) -> Result<Option<IntentRow>> {
    conn.prepare_cached("SELECT digest, ok, outcome FROM intents WHERE name = ?1")?
        .query_row(params![name], |row| {
            Ok(IntentRow {
                digest: row.get(0)?,
                ok: row.get(1)?,
                outcome: row.get(2)?,
            })
        })
        .optional()
}

/// Remembers an outcome.
pub(crate) fn insert(
    conn: &Connection,
    name: &[u8; 32],
    row: &IntentRow,
    now: UnixMillis,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO intents (name, digest, ok, outcome, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![name, row.digest, row.ok, row.outcome, now])?;
    Ok(())
}

/// Forgets outcomes from before a moment, a bounded number at a time; tells how many.
pub(crate) fn sweep(conn: &Connection, before: UnixMillis, limit: u32) -> Result<usize> {
    conn.prepare_cached(
        "DELETE FROM intents WHERE name IN
             (SELECT name FROM intents WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
    )?
    .execute(params![before, limit])
}

/// How many are remembered.
pub(crate) fn count(conn: &Connection) -> Result<u64> {
    conn.query_row("SELECT count(*) FROM intents", [], |row| {
        row.get::<_, i64>(0).map(i64::cast_unsigned)
    })
}
