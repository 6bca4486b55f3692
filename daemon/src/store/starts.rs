//! The starts of daemons on this store. A client brings the stamp of the start that welcomed it last; a store that went
//! back to an earlier state does not know it, or knows that another start began earlier in the numbering.

use rusqlite::{Connection, Result, params};

/// Starts remembered. A client that was away for more of them fetches what it shows again.
const KEPT: u32 = 1_024;

/// One start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) stamp: String,
    /// Id of the first event that it may have made.
    pub(crate) first_event: i64,
}

/// Every start that is remembered, oldest first.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Start>> {
    conn.prepare("SELECT stamp, first_event FROM starts ORDER BY n")?
        .query_map([], |row| {
            Ok(Start {
                stamp: row.get(0)?,
                first_event: row.get(1)?,
            })
        })?
        .collect()
}

/// Remembers a start, and forgets the oldest over the bound.
pub(crate) fn add(conn: &Connection, start: &Start) -> Result<()> {
    conn.execute(
        "INSERT INTO starts (stamp, first_event) VALUES (?1, ?2)",
        params![start.stamp, start.first_event],
    )?;
    conn.execute(
        "DELETE FROM starts WHERE n <= (SELECT max(n) FROM starts) - ?1",
        params![KEPT],
    )?;
    Ok(())
}
