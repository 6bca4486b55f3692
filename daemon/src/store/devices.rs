//! Paired devices and pairing tokens (BX-3, lesson 18).

use bowline_protocol::{DeviceId, PublicKey, model::UnixMillis};
use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::ledger::DeviceInfo;

/// Pairing tokens that may wait to be used; making one over it drops those that expire first.
const MAX_PAIRINGS: u32 = 64;

/// Whether a device is revoked; `None` if it has never paired.
pub(crate) fn revoked(conn: &Connection, key: &PublicKey) -> Result<Option<bool>> {
    conn.prepare_cached("SELECT revoked FROM devices WHERE key = ?1")?
        .query_row(params![key.as_bytes()], |row| row.get(0))
        .optional()
}

/// Pairs a device, or pairs a revoked one anew.
pub(crate) fn pair(
    conn: &Connection,
    key: &PublicKey,
    name: &str,
    platform: &str,
    now: UnixMillis,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO devices (key, id, name, platform, paired_at, last_seen_at, revoked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)
         ON CONFLICT (key) DO UPDATE SET name = ?3, platform = ?4, paired_at = ?5,
             last_seen_at = ?5, revoked = 0",
    )?
    .execute(params![
        key.as_bytes(),
        DeviceId::of_public_key(key).as_str(),
        name,
        platform,
        now
    ])?;
    Ok(())
}

/// Notes when a device was last seen.
pub(crate) fn seen(conn: &Connection, key: &PublicKey, now: UnixMillis) -> Result<()> {
    conn.prepare_cached("UPDATE devices SET last_seen_at = ?2 WHERE key = ?1")?
        .execute(params![key.as_bytes(), now])?;
    Ok(())
}

/// Revokes a device; tells its key, or `None` if there is no such device.
pub(crate) fn revoke(conn: &Connection, id: &DeviceId) -> Result<Option<PublicKey>> {
    conn.prepare_cached("UPDATE devices SET revoked = 1 WHERE id = ?1 RETURNING key")?
        .query_row(params![id.as_str()], |row| {
            row.get(0).map(PublicKey::from_bytes)
        })
        .optional()
}

/// Every device, in the order of pairing.
pub(crate) fn list(conn: &Connection) -> Result<Vec<DeviceInfo>> {
    conn.prepare_cached(
        "SELECT key, name, platform, paired_at, last_seen_at, revoked FROM devices
         ORDER BY paired_at, key",
    )?
    .query_map([], |row| {
        let key = PublicKey::from_bytes(row.get(0)?);
        Ok(DeviceInfo {
            device_id: DeviceId::of_public_key(&key),
            name: row.get(1)?,
            platform: row.get(2)?,
            paired_at: row.get(3)?,
            last_seen_at: row.get(4)?,
            revoked: row.get(5)?,
        })
    })?
    .collect()
}

/// Stores a token's digest; it is good until the store has lived for `lived_until` milliseconds. `expires_at` is for people.
pub(crate) fn add_pairing(
    conn: &Connection,
    digest: &[u8; 32],
    expires_at: UnixMillis,
    lived: i64,
    lived_until: i64,
) -> Result<()> {
    conn.prepare_cached("DELETE FROM pairings WHERE lived_until <= ?1")?
        .execute(params![lived])?;
    conn.prepare_cached(
        "DELETE FROM pairings WHERE digest NOT IN
             (SELECT digest FROM pairings ORDER BY lived_until DESC LIMIT ?1)",
    )?
    .execute(params![MAX_PAIRINGS - 1])?;
    conn.prepare_cached(
        "INSERT INTO pairings (digest, expires_at, lived_until) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![digest, expires_at, lived_until])?;
    Ok(())
}

/// Forgets the tokens that have expired by the wall clock: for a start that does not know how long nobody ran.
pub(crate) fn drop_pairings(conn: &Connection, now: UnixMillis) -> Result<()> {
    conn.execute("DELETE FROM pairings WHERE expires_at <= ?1", params![now])?;
    Ok(())
}

/// Whether a token can be used when the store has lived for so many milliseconds.
pub(crate) fn pairing_valid(conn: &Connection, digest: &[u8; 32], lived: i64) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM pairings WHERE digest = ?1 AND lived_until > ?2")?
        .exists(params![digest, lived])
}

/// Uses a token up.
pub(crate) fn consume_pairing(conn: &Connection, digest: &[u8; 32]) -> Result<()> {
    conn.prepare_cached("DELETE FROM pairings WHERE digest = ?1")?
        .execute(params![digest])?;
    Ok(())
}
