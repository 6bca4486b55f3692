//! Data of services: values by space and key.

use rusqlite::{Connection, Result, Row};

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

/// A value, unless it has more bytes than wanted: then its size. A large one is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// The value.
    Value(&'a [u8]),
    /// Its bytes.
    Large(u64),
}

impl<'a> Found<'a> {
    /// Of the columns `length(value)` and the value, if it is wanted, from `first` on.
    fn of(row: &'a Row<'_>, first: usize) -> Result<Self> {
        match row.get_ref(first + 1)?.as_blob_or_null()? {
            Some(value) => Ok(Self::Value(value)),
            None => Ok(Self::Large(row.get::<_, i64>(first)?.cast_unsigned())),
        }
    }
}

/// Passes the value under a key to `each`, if there is one, with values of at most `most` bytes.
pub(crate) fn look_up<R>(
    conn: &Connection,
    space: &str,
    key: &str,
    most: usize,
    each: impl FnOnce(Found<'_>) -> R,
) -> Result<Option<R>> {
    let sql = "SELECT length(value), CASE WHEN length(value) <= ?3 THEN value END FROM service_data
         WHERE space = ?1 AND key = ?2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    sql::first(conn, sql, (space, key, most), |row| {
        Ok(each(Found::of(row, 0)?))
    })
}

/// Passes the entries from the key `from` on, and above `after`, to `each`, in key order, until it
/// returns `false`, with values of at most `most` bytes.
pub(crate) fn range(
    conn: &Connection,
    space: &str,
    from: &str,
    after: &str,
    most: usize,
    mut each: impl FnMut(&str, Found<'_>) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT key, length(value), CASE WHEN length(value) <= ?4 THEN value END FROM service_data
         WHERE space = ?1 AND key >= ?2 AND key > ?3 ORDER BY key",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query((space, from, after, most))?;
    while let Some(row) = rows.next()? {
        if !each(row.get_ref(0)?.as_str()?, Found::of(row, 1)?) {
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
