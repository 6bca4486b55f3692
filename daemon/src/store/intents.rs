//! Outcomes of intents (BX-1).

use rusqlite::{Connection, Result};

use super::sql;

/// A stored outcome.
pub(crate) struct IntentRow {
    pub(crate) digest: [u8; 32],
    pub(crate) ok: bool,
    pub(crate) outcome: String,
}

/// The outcome under a name.
pub(crate) fn get(conn: &Connection, name: &[u8; 32]) -> Result<Option<IntentRow>> {
    let sql = "SELECT digest, ok, outcome FROM intents WHERE name = ?1";
    sql::first(conn, sql, (name,), |row| {
        Ok(IntentRow {
            digest: row.get(0)?,
            ok: row.get(1)?,
            outcome: row.get(2)?,
        })
    })
}

/// Stores an outcome at this time of the store's own clock, in milliseconds. `cost` is whom it is
/// charged to, and for how many bytes.
pub(crate) fn insert(
    conn: &Connection,
    name: &[u8; 32],
    row: &IntentRow,
    cost: (i64, i64),
    now: i64,
) -> Result<()> {
    let sql = "INSERT INTO intents (name, digest, ok, outcome, created_at, owner, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (owner, bytes) = cost;
    let IntentRow {
        digest,
        ok,
        outcome,
    } = row;
    sql::run(conn, sql, (name, digest, ok, outcome, now, owner, bytes))
}

/// The result of a sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swept {
    /// Owner and bytes of each that is forgotten.
    pub(crate) forgotten: Vec<(i64, i64)>,
    pub(crate) kept: usize,
}

/// Deletes outcomes stored before a time, a bounded number at once. Those of a session whose label
/// `is_kept` accepts are kept, and checked again when `later` is as old as `before` is now.
pub(crate) fn sweep(
    conn: &Connection,
    before: i64,
    later: i64,
    limit: u32,
    is_kept: impl Fn(&[u8]) -> bool,
) -> Result<Swept> {
    let sql = "SELECT name, owner, bytes FROM intents WHERE created_at < ?1
         ORDER BY created_at LIMIT ?2";
    let rows: Vec<([u8; 32], i64, i64)> = sql::all(conn, sql, (before, limit), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut swept = Swept::default();
    for (name, owner, bytes) in rows {
        if is_kept(name.get(..16).unwrap_or_default()) {
            let sql = "UPDATE intents SET created_at = ?2 WHERE name = ?1";
            sql::run(conn, sql, (name, later))?;
            swept.kept += 1;
        } else {
            sql::run(conn, "DELETE FROM intents WHERE name = ?1", (name,))?;
            swept.forgotten.push((owner, bytes));
        }
    }
    Ok(swept)
}

/// Number and bytes of the stored outcomes of each owner.
pub(crate) fn by_owner(conn: &Connection) -> Result<Vec<(i64, i64, i64)>> {
    let sql = "SELECT owner, count(*), sum(bytes) FROM intents GROUP BY owner";
    sql::all(conn, sql, (), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}
