//! Blobs: which there are, who has put them, and what refers to them. Their bytes are in files.

use bowline_protocol::BlobHash;
use rusqlite::{Connection, Result};

use super::sql;

/// The place of an item in `blob_refs` that stands for a row.
pub(crate) const ROW: i64 = -1;

/// Least bytes that a blob is charged as: what a file takes on most disks, so that the quotas bound
/// the number of blobs too.
pub(crate) const LEAST_CHARGE: u64 = 4_096;

/// The size of a blob.
pub(crate) fn size(conn: &Connection, hash: &BlobHash) -> Result<Option<u64>> {
    let sql = "SELECT size FROM blobs WHERE hash = ?1";
    let size = sql::first(conn, sql, (hash.as_bytes(),), |row| row.get::<_, i64>(0))?;
    Ok(size.map(i64::cast_unsigned))
}

/// Notes a new blob; returns whether it is one.
pub(crate) fn insert(conn: &Connection, hash: &BlobHash, size: u64, now: i64) -> Result<bool> {
    let sql = "INSERT INTO blobs (hash, size, touched) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Ok(sql::change(conn, sql, (hash.as_bytes(), size, now))? > 0)
}

/// Notes that a blob was put again, or has lost a reference.
pub(crate) fn touch(conn: &Connection, hash: &[u8], now: i64) -> Result<()> {
    let sql = "UPDATE blobs SET touched = max(touched, ?2) WHERE hash = ?1";
    sql::run(conn, sql, (hash, now))
}

/// Notes who has put a blob; returns whether that is new.
pub(crate) fn hold(conn: &Connection, hash: &BlobHash, owner: i64) -> Result<bool> {
    let sql = "INSERT INTO blob_holders (hash, owner) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    Ok(sql::change(conn, sql, (hash.as_bytes(), owner))? > 0)
}

/// Whether someone has put a blob.
pub(crate) fn holds(conn: &Connection, hash: &BlobHash, owner: i64) -> Result<bool> {
    let sql = "SELECT count(*) FROM blob_holders WHERE hash = ?1 AND owner = ?2";
    Ok(sql::count(conn, sql, (hash.as_bytes(), owner))? > 0)
}

/// What the blobs that someone has put are charged as. Looks at all of them.
pub(crate) fn charge_of(conn: &Connection, owner: i64) -> Result<u64> {
    let sql = "SELECT coalesce(sum(max(size, ?2)), 0) FROM blob_holders JOIN blobs USING (hash)
         WHERE owner = ?1";
    sql::count(conn, sql, (owner, LEAST_CHARGE.cast_signed()))
}

/// What all blobs are charged as. Looks at all of them.
pub(crate) fn charge_of_all(conn: &Connection) -> Result<u64> {
    let sql = "SELECT coalesce(sum(max(size, ?1)), 0) FROM blobs";
    sql::count(conn, sql, (LEAST_CHARGE.cast_signed(),))
}

/// Has a row or an item refer to a blob.
pub(crate) fn refer(
    conn: &Connection,
    (space, key, item): (&str, &str, i64),
    hash: &BlobHash,
) -> Result<()> {
    let sql = "INSERT INTO blob_refs (space, key, item, hash) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING";
    sql::run(conn, sql, (space, key, item, hash.as_bytes()))
}

/// The blobs that a row or an item refers to.
pub(crate) fn of_place(
    conn: &Connection,
    (space, key, item): (&str, &str, i64),
) -> Result<Vec<BlobHash>> {
    let sql = "SELECT hash FROM blob_refs WHERE space = ?1 AND key = ?2 AND item = ?3";
    sql::all(conn, sql, (space, key, item), |row| {
        row.get(0).map(BlobHash::from_bytes)
    })
}

/// Ends one reference.
pub(crate) fn release(
    conn: &Connection,
    (space, key, item): (&str, &str, i64),
    hash: &BlobHash,
    now: i64,
) -> Result<()> {
    let sql = "DELETE FROM blob_refs WHERE space = ?1 AND key = ?2 AND item = ?3 AND hash = ?4";
    if sql::change(conn, sql, (space, key, item, hash.as_bytes()))? > 0 {
        touch(conn, hash.as_bytes(), now)?;
    }
    Ok(())
}

/// Ends the references of the items from `from` on and before `until`.
pub(crate) fn release_range(
    conn: &Connection,
    (space, key): (&str, &str),
    (from, until): (i64, i64),
    now: i64,
) -> Result<()> {
    let sql = "DELETE FROM blob_refs WHERE space = ?1 AND key = ?2 AND item >= ?3 AND item < ?4
         RETURNING hash";
    let gone: Vec<Vec<u8>> = sql::all(conn, sql, (space, key, from, until), |row| row.get(0))?;
    gone.iter().try_for_each(|hash| touch(conn, hash, now))
}

/// The first key from `from` on whose row (or, of a log, an item) refers to a blob.
pub(crate) fn first_key(
    conn: &Connection,
    hash: &BlobHash,
    (space, is_log): (&str, bool),
    from: &str,
) -> Result<Option<String>> {
    let sql = "SELECT key FROM blob_refs
         WHERE hash = ?1 AND space = ?2 AND key >= ?3 AND (item >= 0) = ?4 ORDER BY key LIMIT 1";
    sql::first(conn, sql, (hash.as_bytes(), space, from, is_log), |row| {
        row.get(0)
    })
}

/// Blobs that nothing refers to and that were not touched since `before`, at most `limit`. Looks at
/// all that were not touched since, referred to or not.
pub(crate) fn unreferred(conn: &Connection, before: i64, limit: u32) -> Result<Vec<BlobHash>> {
    let sql = "SELECT hash FROM blobs WHERE touched <= ?1
         AND NOT EXISTS (SELECT 1 FROM blob_refs WHERE blob_refs.hash = blobs.hash) LIMIT ?2";
    sql::all(conn, sql, (before, limit), |row| {
        row.get(0).map(BlobHash::from_bytes)
    })
}

/// Removes a blob, and who has put it.
pub(crate) fn remove(conn: &Connection, hash: &BlobHash) -> Result<()> {
    sql::run(
        conn,
        "DELETE FROM blob_holders WHERE hash = ?1",
        (hash.as_bytes(),),
    )?;
    sql::run(
        conn,
        "DELETE FROM blobs WHERE hash = ?1",
        (hash.as_bytes(),),
    )
}
