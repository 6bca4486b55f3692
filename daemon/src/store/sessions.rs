//! Sessions and their subscriptions (INV-2, BX-4).

use bowline_protocol::{PublicKey, model::UnixMillis};
use rusqlite::{Connection, Result, params};

/// One stored session.
pub(crate) struct SessionRow {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) device: PublicKey,
    pub(crate) epoch: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) last_seen_at: UnixMillis,
    /// In milliseconds that the store had lived.
    pub(crate) detached_at: Option<i64>,
}

/// Every session.
pub(crate) fn all(conn: &Connection) -> Result<Vec<SessionRow>> {
    conn.prepare(
        "SELECT id, key, device, epoch, created_at, last_seen_at, detached_at FROM sessions
         ORDER BY id",
    )?
    .query_map([], |row| {
        Ok(SessionRow {
            id: row.get(0)?,
            key: row.get(1)?,
            device: PublicKey::from_bytes(row.get(2)?),
            epoch: row.get(3)?,
            created_at: row.get(4)?,
            last_seen_at: row.get(5)?,
            detached_at: row.get(6)?,
        })
    })?
    .collect()
}

/// The id of the next session. Ids are not used twice.
pub(crate) fn next_id(conn: &Connection) -> Result<i64> {
    conn.query_row(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'sessions'), 0) + 1",
        [],
        |row| row.get(0),
    )
}

/// Makes a session.
pub(crate) fn insert(
    conn: &Connection,
    id: i64,
    key: &str,
    device: &PublicKey,
    epoch: &str,
    now: UnixMillis,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sessions (id, key, device, epoch, created_at, last_seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
    )?
    .execute(params![id, key, device.as_bytes(), epoch, now])?;
    Ok(())
}

/// Begins a new numbering: the replay log of the old one goes.
pub(crate) fn reset(conn: &Connection, id: i64, epoch: &str, now: UnixMillis) -> Result<()> {
    conn.prepare_cached("DELETE FROM replay WHERE session = ?1")?
        .execute(params![id])?;
    conn.prepare_cached("UPDATE sessions SET epoch = ?2, last_seen_at = ?3 WHERE id = ?1")?
        .execute(params![id, epoch, now])?;
    Ok(())
}

/// Notes when a session was last seen, and since when it has been detached.
pub(crate) fn seen(
    conn: &Connection,
    id: i64,
    last_seen_at: UnixMillis,
    detached_at: Option<i64>,
) -> Result<()> {
    conn.prepare_cached("UPDATE sessions SET last_seen_at = ?2, detached_at = ?3 WHERE id = ?1")?
        .execute(params![id, last_seen_at, detached_at])?;
    Ok(())
}

/// Forgets a session and what belongs to it. Intent outcomes stay: they have a life of their own.
pub(crate) fn delete(conn: &Connection, id: i64) -> Result<()> {
    for sql in [
        "DELETE FROM replay WHERE session = ?1",
        "DELETE FROM subscriptions WHERE session = ?1",
        "DELETE FROM sessions WHERE id = ?1",
    ] {
        conn.prepare_cached(sql)?.execute(params![id])?;
    }
    Ok(())
}

/// Forgets whatever is stored under a key.
pub(crate) fn delete_key(conn: &Connection, key: &str) -> Result<()> {
    let id: Vec<i64> = conn
        .prepare_cached("SELECT id FROM sessions WHERE key = ?1")?
        .query_map(params![key], |row| row.get(0))?
        .collect::<Result<_>>()?;
    id.into_iter().try_for_each(|id| delete(conn, id))
}

/// Every subscription: session and agent.
pub(crate) fn subscriptions(conn: &Connection) -> Result<Vec<(i64, String)>> {
    conn.prepare("SELECT session, agent FROM subscriptions")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Subscribes a session to an agent.
pub(crate) fn subscribe(conn: &Connection, session: i64, agent: &str) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO subscriptions (session, agent) VALUES (?1, ?2)")?
        .execute(params![session, agent])?;
    Ok(())
}

/// Ends every subscription of a session.
pub(crate) fn unsubscribe_all(conn: &Connection, session: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM subscriptions WHERE session = ?1")?
        .execute(params![session])?;
    Ok(())
}

/// Ends a subscription.
pub(crate) fn unsubscribe(conn: &Connection, session: i64, agent: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM subscriptions WHERE session = ?1 AND agent = ?2")?
        .execute(params![session, agent])?;
    Ok(())
}
