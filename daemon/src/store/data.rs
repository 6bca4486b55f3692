//! What services keep: values by space and key.

use rusqlite::{Connection, OptionalExtension, Result, params};

/// The value under a key.
pub(crate) fn get(conn: &Connection, space: &str, key: &str) -> Result<Option<Vec<u8>>> {
    conn.prepare_cached("SELECT value FROM service_data WHERE space = ?1 AND key = ?2")?
        .query_row(params![space, key], |row| row.get(0))
        .optional()
}

/// Stores a value, in the place of an earlier one.
pub(crate) fn put(conn: &Connection, space: &str, key: &str, value: &[u8]) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO service_data (space, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![space, key, value])?;
    Ok(())
}

/// Removes a value; tells whether there was one.
pub(crate) fn remove(conn: &Connection, space: &str, key: &str) -> Result<bool> {
    let removed = conn
        .prepare_cached("DELETE FROM service_data WHERE space = ?1 AND key = ?2")?
        .execute(params![space, key])?;
    Ok(removed > 0)
}

/// How many there are.
pub(crate) fn count(conn: &Connection, space: &str) -> Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM service_data WHERE space = ?1")?
        .query_row(params![space], |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })
}

/// Hands the entries whose key is above `after` to `each`, in order of their keys, until it says no.
pub(crate) fn scan(
    conn: &Connection,
    space: &str,
    after: &str,
    mut each: impl FnMut(String, &[u8]) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT key, value FROM service_data WHERE space = ?1 AND key > ?2 ORDER BY key",
    )?;
    let mut rows = statement.query(params![space, after])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}
