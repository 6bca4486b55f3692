//! Sessions and their subscriptions (INV-2, BX-4).

use bowline_protocol::{Epoch, ExternalSessionKey, PublicKey, model::UnixMillis};
use rusqlite::{Connection, Result};

use super::sql::{self, Parsed};

/// One stored session.
pub(crate) struct SessionRow {
    pub(crate) id: i64,
    pub(crate) key: ExternalSessionKey,
    pub(crate) device: PublicKey,
    pub(crate) epoch: Epoch,
    pub(crate) created_at: UnixMillis,
    pub(crate) last_seen_at: UnixMillis,
    /// Milliseconds of the store's own clock.
    pub(crate) detached_at: Option<i64>,
}

/// Every session.
pub(crate) fn all(conn: &Connection) -> Result<Vec<SessionRow>> {
    let sql = "SELECT id, key, device, epoch, created_at, last_seen_at, detached_at FROM sessions
         ORDER BY id";
    sql::all(conn, sql, (), |row| {
        Ok(SessionRow {
            id: row.get(0)?,
            key: row.get::<_, Parsed<_>>(1)?.0,
            device: PublicKey::from_bytes(row.get(2)?),
            epoch: row.get::<_, Parsed<_>>(3)?.0,
            created_at: row.get(4)?,
            last_seen_at: row.get(5)?,
            detached_at: row.get(6)?,
        })
    })
}

/// The id of the next session. Ids are not reused.
pub(crate) fn next_id(conn: &Connection) -> Result<i64> {
    conn.query_row(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'sessions'), 0) + 1",
        [],
        |row| row.get(0),
    )
}

/// Inserts a session.
pub(crate) fn insert(
    conn: &Connection,
    id: i64,
    key: &str,
    device: &PublicKey,
    epoch: &str,
    now: UnixMillis,
) -> Result<()> {
    let sql = "INSERT INTO sessions (id, key, device, epoch, created_at, last_seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    sql::run(conn, sql, (id, key, device.as_bytes(), epoch, now))
}

/// Begins a new numbering: deletes the old replay log.
pub(crate) fn reset(conn: &Connection, id: i64, epoch: &str, now: UnixMillis) -> Result<()> {
    sql::run(conn, "DELETE FROM replay WHERE session = ?1", (id,))?;
    let sql = "UPDATE sessions SET epoch = ?2, last_seen_at = ?3 WHERE id = ?1";
    sql::run(conn, sql, (id, epoch, now))
}

/// Stores when a session was last seen, and since when it has been detached.
pub(crate) fn seen(
    conn: &Connection,
    id: i64,
    last_seen_at: UnixMillis,
    detached_at: Option<i64>,
) -> Result<()> {
    let sql = "UPDATE sessions SET last_seen_at = ?2, detached_at = ?3 WHERE id = ?1";
    sql::run(conn, sql, (id, last_seen_at, detached_at))
}

/// Deletes a session and its rows. Intent outcomes stay: they expire on their own.
pub(crate) fn delete(conn: &Connection, id: i64) -> Result<()> {
    sql::run(conn, "DELETE FROM replay WHERE session = ?1", (id,))?;
    unsubscribe_all(conn, id)?;
    sql::run(conn, "DELETE FROM sessions WHERE id = ?1", (id,))
}

/// Deletes the session stored under a key.
pub(crate) fn delete_key(conn: &Connection, key: &str) -> Result<()> {
    let sql = "SELECT id FROM sessions WHERE key = ?1";
    let id = sql::first(conn, sql, (key,), |row| row.get(0))?;
    id.map_or(Ok(()), |id| delete(conn, id))
}

/// Every subscription: session and subject. The column has the name of the first kind of subjects.
pub(crate) fn subscriptions(conn: &Connection) -> Result<Vec<(i64, String)>> {
    let sql = "SELECT session, agent FROM subscriptions";
    sql::all(conn, sql, (), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Subscribes a session to a subject.
pub(crate) fn subscribe(conn: &Connection, session: i64, subject: &str) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO subscriptions (session, agent) VALUES (?1, ?2)";
    sql::run(conn, sql, (session, subject))
}

/// Ends every subscription of a session.
pub(crate) fn unsubscribe_all(conn: &Connection, session: i64) -> Result<()> {
    sql::run(
        conn,
        "DELETE FROM subscriptions WHERE session = ?1",
        (session,),
    )
}

/// Ends a subscription.
pub(crate) fn unsubscribe(conn: &Connection, session: i64, subject: &str) -> Result<()> {
    let sql = "DELETE FROM subscriptions WHERE session = ?1 AND agent = ?2";
    sql::run(conn, sql, (session, subject))
}
