//! Outcomes of intents (BX-1).

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

/// Remembers an outcome, stored when the store had lived for `now` milliseconds.
pub(crate) fn insert(conn: &Connection, name: &[u8; 32], row: &IntentRow, now: i64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO intents (name, digest, ok, outcome, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![name, row.digest, row.ok, row.outcome, now])?;
    Ok(())
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Swept {
    pub(crate) forgotten: u64,
    pub(crate) kept: u64,
}

/// Forgets outcomes from before a moment, a bounded number at a time. Those whose session `is_kept` names by its label are
/// looked at again when `later` is as long ago as `before` is now.
pub(crate) fn sweep(
    conn: &Connection,
    before: i64,
    later: i64,
    limit: u32,
    is_kept: impl Fn(&[u8]) -> bool,
) -> Result<Swept> {
    let names: Vec<[u8; 32]> = conn
        .prepare_cached(
            "SELECT name FROM intents WHERE created_at < ?1 ORDER BY created_at LIMIT ?2",
        )?
        .query_map(params![before, limit], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let mut swept = Swept::default();
    for name in names {
        if is_kept(name.get(..16).unwrap_or_default()) {
            conn.prepare_cached("UPDATE intents SET created_at = ?2 WHERE name = ?1")?
                .execute(params![name, later])?;
            swept.kept += 1;
        } else {
            conn.prepare_cached("DELETE FROM intents WHERE name = ?1")?
                .execute(params![name])?;
            swept.forgotten += 1;
        }
    }
    Ok(swept)
}

/// How many are remembered.
pub(crate) fn count(conn: &Connection) -> Result<u64> {
    conn.query_row("SELECT count(*) FROM intents", [], |row| {
        row.get::<_, i64>(0).map(i64::cast_unsigned)
    })
}
