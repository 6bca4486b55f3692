//! The starts of daemons on this store. A client sends the stamp of the start that welcomed it
//! last. A store that was restored to an earlier state does not contain it, or shows that another
//! start began earlier in the numbering.

use rusqlite::{Connection, Result};

use super::sql;

/// Starts kept. A client that was away for more of them fetches its content again.
const KEPT: u32 = 1_024;

/// One start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) stamp: String,
    /// The lowest event id it may have used.
    pub(crate) first_event: i64,
}

/// Every stored start, oldest first.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Start>> {
    let sql = "SELECT stamp, first_event FROM starts ORDER BY n";
    sql::all(conn, sql, (), |row| {
        Ok(Start {
            stamp: row.get(0)?,
            first_event: row.get(1)?,
        })
    })
}

/// Stores a start and deletes the oldest over the limit.
pub(crate) fn add(conn: &Connection, start: &Start) -> Result<()> {
    let sql = "INSERT INTO starts (stamp, first_event) VALUES (?1, ?2)";
    sql::run(conn, sql, (&start.stamp, start.first_event))?;
    let sql = "DELETE FROM starts WHERE n <= (SELECT max(n) FROM starts) - ?1";
    sql::run(conn, sql, (KEPT,))
}
