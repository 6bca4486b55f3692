//! Logs of services: items by index, in the logs of a name by key.

use std::ops::Range;

use rusqlite::{Connection, Result};

use super::{data::Sum, sql};

/// A stored log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number in the store.
    pub(crate) n: i64,
    /// Index of the oldest item kept.
    pub(crate) first: u64,
    /// Index of the next item.
    pub(crate) next: u64,
    /// Size of the kept items.
    pub(crate) bytes: u64,
    /// Whom it is charged to.
    pub(crate) owner: i64,
    /// Whether it counts apart from other data of services …
    pub(crate) apart: bool,
    /// … and what its items count as then.
    pub(crate) counted: u64,
}

impl Head {
    /// Number of the kept items.
    pub(crate) const fn items(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The log of a key.
pub(crate) fn head(conn: &Connection, space: &str, key: &str) -> Result<Option<Head>> {
    let sql = "SELECT n, first, next, bytes, owner, apart, counted FROM logs WHERE space = ?1 AND key = ?2";
    sql::first(conn, sql, (space, key), |row| {
        Ok(Head {
            n: row.get(0)?,
            first: row.get::<_, i64>(1)?.cast_unsigned(),
            next: row.get::<_, i64>(2)?.cast_unsigned(),
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            owner: row.get(4)?,
            apart: row.get(5)?,
            counted: row.get::<_, i64>(6)?.cast_unsigned(),
        })
    })
}

/// Indexes of the kept items: none, at its future beginning, for a log that does not exist.
pub(crate) fn bounds(conn: &Connection, space: &str, key: &str) -> Result<Range<u64>> {
    match head(conn, space, key)? {
        Some(head) => Ok(head.first..head.next),
        None => floor(conn, space).map(|floor| floor..floor),
    }
}

fn floor(conn: &Connection, space: &str) -> Result<u64> {
    let sql = "SELECT next FROM log_floors WHERE space = ?1";
    let next = sql::first(conn, sql, (space,), |row| row.get::<_, i64>(0))?;
    Ok(next.unwrap_or(0).cast_unsigned())
}

/// Adds an empty log, whose indexes no removed one of the name had.
pub(crate) fn insert(
    conn: &Connection,
    space: &str,
    key: &str,
    (owner, apart): (i64, bool),
) -> Result<Head> {
    let first = floor(conn, space)?;
    let sql = "INSERT INTO logs (space, key, first, next, bytes, owner, apart)
         VALUES (?1, ?2, ?3, ?3, 0, ?4, ?5)";
    sql::run(conn, sql, (space, key, signed(first), owner, apart))?;
    Ok(Head {
        n: conn.last_insert_rowid(),
        first,
        next: first,
        bytes: 0,
        owner,
        apart,
        counted: 0,
    })
}

/// Stores the bounds and the size of a log.
pub(crate) fn update(conn: &Connection, head: &Head) -> Result<()> {
    let sql = "UPDATE logs SET first = ?2, next = ?3, bytes = ?4, counted = ?5 WHERE n = ?1";
    let (first, next) = (signed(head.first), signed(head.next));
    let (bytes, counted) = (signed(head.bytes), signed(head.counted));
    sql::run(conn, sql, (head.n, first, next, bytes, counted))
}

/// Removes a log with its items. No later log of the name uses its indexes again.
pub(crate) fn remove(conn: &Connection, space: &str, head: &Head) -> Result<()> {
    sql::run(conn, "DELETE FROM log_items WHERE log = ?1", (head.n,))?;
    sql::run(conn, "DELETE FROM logs WHERE n = ?1", (head.n,))?;
    let sql = "INSERT INTO log_floors (space, next) VALUES (?1, ?2)
         ON CONFLICT (space) DO UPDATE SET next = max(next, excluded.next)";
    sql::run(conn, sql, (space, signed(head.next)))
}

/// Stores an item, replacing an earlier one of the index.
pub(crate) fn put(conn: &Connection, log: i64, index: u64, value: &[u8]) -> Result<()> {
    let sql = "INSERT INTO log_items (log, position, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (log, position) DO UPDATE SET value = excluded.value";
    sql::run(conn, sql, (log, signed(index), value))
}

/// Gives a stored item another value.
pub(crate) fn set(conn: &Connection, log: i64, index: u64, value: &[u8]) -> Result<()> {
    let sql = "UPDATE log_items SET value = ?3 WHERE log = ?1 AND position = ?2";
    sql::run(conn, sql, (log, signed(index), value))
}

/// An item.
pub(crate) fn get(conn: &Connection, log: i64, index: u64) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM log_items WHERE log = ?1 AND position = ?2";
    sql::first(conn, sql, (log, signed(index)), |row| row.get(0))
}

/// Passes the items of a range to `each`, oldest first, until it returns `false`.
pub(crate) fn scan(
    conn: &Connection,
    log: i64,
    range: &Range<u64>,
    each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    let sql = "SELECT position, value FROM log_items
         WHERE log = ?1 AND position >= ?2 AND position < ?3 ORDER BY position";
    walk(conn, sql, log, range, each)
}

/// As [`scan`], newest first.
pub(crate) fn scan_back(
    conn: &Connection,
    log: i64,
    range: &Range<u64>,
    each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    let sql = "SELECT position, value FROM log_items
         WHERE log = ?1 AND position >= ?2 AND position < ?3 ORDER BY position DESC";
    walk(conn, sql, log, range, each)
}

fn walk(
    conn: &Connection,
    sql: &str,
    log: i64,
    range: &Range<u64>,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((log, signed(range.start), signed(range.end)))?;
    while let Some(row) = rows.next()? {
        let index = row.get::<_, i64>(0)?.cast_unsigned();
        if !each(index, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}

/// Passes the indexes of the oldest items with their sizes to `each`, at most `limit`, until it
/// returns `false`. No further items are read.
pub(crate) fn oldest(
    conn: &Connection,
    log: i64,
    limit: u32,
    mut each: impl FnMut(u64, u64) -> bool,
) -> Result<()> {
    let sql = "SELECT position, length(value) FROM log_items WHERE log = ?1
         ORDER BY position LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((log, limit))?;
    while let Some(row) = rows.next()? {
        let index = row.get::<_, i64>(0)?.cast_unsigned();
        if !each(index, row.get::<_, i64>(1)?.cast_unsigned()) {
            break;
        }
    }
    Ok(())
}

/// Removes the items before an index.
pub(crate) fn drop_before(conn: &Connection, log: i64, index: u64) -> Result<()> {
    let sql = "DELETE FROM log_items WHERE log = ?1 AND position < ?2";
    sql::run(conn, sql, (log, signed(index)))
}

/// Number of logs and items of each owner, and what they count as: the bytes with the keys, or of
/// those apart what their items count as, by space.
pub(crate) fn by_owner(conn: &Connection) -> Result<Vec<Sum>> {
    let sql = "SELECT owner, CASE WHEN apart THEN space END AS whole,
             count(*) + sum(next - first),
             sum(CASE WHEN apart THEN counted ELSE bytes + length(CAST(key AS BLOB)) END)
         FROM logs GROUP BY owner, whole";
    sql::all(conn, sql, (), Sum::of)
}
