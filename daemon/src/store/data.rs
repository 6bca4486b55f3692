//! Data of services: values by space and key.

use rusqlite::{Connection, Result};

use super::sql;

/// The value under a key.
pub(crate) fn get(conn: &Connection, space: &str, key: &str) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM service_data WHERE space = ?1 AND key = ?2";
    sql::first(conn, sql, (space, key), |row| row.get(0))
}

/// Whom the value under a key is charged to, and for how many bytes.
pub(crate) fn cost(conn: &Connection, space: &str, key: &str) -> Result<Option<(i64, i64)>> {
    let sql = "SELECT owner, length(CAST(key AS BLOB)) + length(value) FROM service_data
         WHERE space = ?1 AND key = ?2";
    sql::first(conn, sql, (space, key), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Stores a value, replacing an earlier one.
pub(crate) fn put(
    conn: &Connection,
    space: &str,
    key: &str,
    value: &[u8],
    owner: i64,
) -> Result<()> {
    let sql = "INSERT INTO service_data (space, key, value, owner) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, owner = excluded.owner";
    sql::run(conn, sql, (space, key, value, owner))
}

/// Removes a value; returns whether it existed.
pub(crate) fn remove(conn: &Connection, space: &str, key: &str) -> Result<bool> {
    let sql = "DELETE FROM service_data WHERE space = ?1 AND key = ?2";
    Ok(sql::change(conn, sql, (space, key))? > 0)
}

/// Number and bytes of the entries of each owner.
pub(crate) fn by_owner(conn: &Connection) -> Result<Vec<(i64, i64, i64)>> {
    let sql = "SELECT owner, count(*), sum(length(CAST(key AS BLOB)) + length(value))
         FROM service_data GROUP BY owner";
    sql::all(conn, sql, (), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

/// Number of entries.
pub(crate) fn count(conn: &Connection, space: &str) -> Result<u64> {
    let sql = "SELECT count(*) FROM service_data WHERE space = ?1";
    sql::count(conn, sql, (space,))
}

/// Passes the entries from the key `from` on, and above `after`, to `each`, in key order, until it
/// returns `false`.
pub(crate) fn range(
    conn: &Connection,
    space: &str,
    from: &str,
    after: &str,
    mut each: impl FnMut(&str, &[u8]) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT key, value FROM service_data WHERE space = ?1 AND key >= ?2 AND key > ?3
         ORDER BY key",
    )?;
    let mut rows = statement.query((space, from, after))?;
    while let Some(row) = rows.next()? {
        if !each(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}

/// Passes the entries above the key `after` to `each`, in key order, until it returns `false`.
pub(crate) fn scan(
    conn: &Connection,
    space: &str,
    after: &str,
    mut each: impl FnMut(String, &[u8]) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT key, value FROM service_data WHERE space = ?1 AND key > ?2 ORDER BY key",
    )?;
    let mut rows = statement.query((space, after))?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}
