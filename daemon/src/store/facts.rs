//! What the store knows of itself: values by name.

use rusqlite::{Connection, OptionalExtension, Result, params};

/// Whose store it is.
pub(crate) const SERVER_ID: &str = "serverId";

/// The value of a name.
pub(crate) fn get(conn: &Connection, name: &str) -> Result<Option<String>> {
    conn.prepare_cached("SELECT value FROM facts WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()
}

/// Stores a value, in the place of an earlier one.
pub(crate) fn put(conn: &Connection, name: &str, value: &str) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO facts (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![name, value])?;
    Ok(())
}

/// Forgets a name.
pub(crate) fn remove(conn: &Connection, name: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM facts WHERE name = ?1")?
        .execute(params![name])?;
    Ok(())
}
