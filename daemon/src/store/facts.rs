//! Facts of the store about itself: values by name.

use rusqlite::{Connection, Result};

use super::sql;

/// The id of the daemon that owns the store.
pub(crate) const SERVER_ID: &str = "serverId";

/// The value under a name.
pub(crate) fn get(conn: &Connection, name: &str) -> Result<Option<String>> {
    let sql = "SELECT value FROM facts WHERE name = ?1";
    sql::first(conn, sql, (name,), |row| row.get(0))
}

/// Stores a value, replacing an earlier one.
pub(crate) fn put(conn: &Connection, name: &str, value: &str) -> Result<()> {
    let sql = "INSERT INTO facts (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql::run(conn, sql, (name, value))
}

/// Removes a name.
pub(crate) fn remove(conn: &Connection, name: &str) -> Result<()> {
    sql::run(conn, "DELETE FROM facts WHERE name = ?1", (name,))
}
