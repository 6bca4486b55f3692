//! Data of services: values by space and key.

use std::collections::HashMap;

use rusqlite::{Connection, Params, Result, Row};

use super::sql;

/// The value under a key.
pub(crate) fn get(conn: &Connection, space: &str, key: &str) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM service_data WHERE space = ?1 AND key = ?2";
    sql::first(conn, sql, (space, key), |row| row.get(0))
}

/// What a value is charged as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Whom to.
    pub(crate) owner: i64,
    /// Bytes of key and value.
    pub(crate) bytes: i64,
    /// Whether it counts apart from other data of services.
    pub(crate) apart: bool,
}

/// What the value under a key is charged as.
pub(crate) fn cost(conn: &Connection, space: &str, key: &str) -> Result<Option<Cost>> {
    let sql = "SELECT owner, length(CAST(key AS BLOB)) + length(value), apart FROM service_data
         WHERE space = ?1 AND key = ?2";
    sql::first(conn, sql, (space, key), |row| {
        Ok(Cost {
            owner: row.get(0)?,
            bytes: row.get(1)?,
            apart: row.get(2)?,
        })
    })
}

/// Stores a value, replacing an earlier one.
pub(crate) fn put(
    conn: &Connection,
    space: &str,
    key: &str,
    value: &[u8],
    (owner, apart): (i64, bool),
) -> Result<()> {
    let sql = "INSERT INTO service_data (space, key, value, owner, apart)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (space, key) DO UPDATE SET
             value = excluded.value, owner = excluded.owner, apart = excluded.apart";
    sql::run(conn, sql, (space, key, value, owner, apart))
}

/// Removes a value; returns whether it existed.
pub(crate) fn remove(conn: &Connection, space: &str, key: &str) -> Result<bool> {
    let sql = "DELETE FROM service_data WHERE space = ?1 AND key = ?2";
    Ok(sql::change(conn, sql, (space, key))? > 0)
}

/// What an owner has of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) owner: i64,
    /// The space that it is in, if it counts apart.
    pub(crate) apart: Option<String>,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

impl Sum {
    pub(super) fn of(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            owner: row.get(0)?,
            apart: row.get(1)?,
            rows: row.get(2)?,
            bytes: row.get(3)?,
        })
    }
}

/// Number and bytes of the entries of each owner, those that count apart by space. Added up here:
/// the database would sort all values.
pub(crate) fn by_owner(conn: &Connection) -> Result<Vec<Sum>> {
    let sql = "SELECT owner, apart, space, length(CAST(key AS BLOB)) + length(value)
         FROM service_data";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(())?;
    let mut sums: HashMap<i64, HashMap<Option<String>, (i64, i64)>> = HashMap::new();
    // Rows come in the order of their spaces.
    let mut apart = None::<String>;
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(1)? {
            apart = None;
        } else {
            let space = row.get_ref(2)?.as_str()?;
            if apart.as_deref() != Some(space) {
                apart = Some(space.to_owned());
            }
        }
        let of_owner = sums.entry(row.get(0)?).or_default();
        let bytes: i64 = row.get(3)?;
        match of_owner.get_mut(&apart) {
            Some(sum) => *sum = (sum.0 + 1, sum.1 + bytes),
            None => {
                of_owner.insert(apart.clone(), (1, bytes));
            }
        }
    }
    let all = sums.into_iter().flat_map(|(owner, of_owner)| {
        of_owner.into_iter().map(move |(apart, (rows, bytes))| Sum {
            owner,
            apart,
            rows,
            bytes,
        })
    });
    Ok(all.collect())
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
    each: impl FnMut(String, &[u8]) -> bool,
) -> Result<()> {
    let sql = "SELECT key, value FROM service_data WHERE space = ?1 AND key > ?2 ORDER BY key";
    walk(conn, sql, (space, after), each)
}

/// Passes the entries below the key `before`, or all, to `each`, the last one first, until it
/// returns `false`.
pub(crate) fn scan_back(
    conn: &Connection,
    space: &str,
    before: Option<&str>,
    each: impl FnMut(String, &[u8]) -> bool,
) -> Result<()> {
    let Some(before) = before else {
        let sql = "SELECT key, value FROM service_data WHERE space = ?1 ORDER BY key DESC";
        return walk(conn, sql, (space,), each);
    };
    let sql = "SELECT key, value FROM service_data
         WHERE space = ?1 AND key < ?2 ORDER BY key DESC";
    walk(conn, sql, (space, before), each)
}

fn walk(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut each: impl FnMut(String, &[u8]) -> bool,
) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}
