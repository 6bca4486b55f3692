//! Paired devices (BX-3, LS-18).

use bowline_protocol::{DeviceId, Grant, PublicKey, identity::PresharedKey, model::UnixMillis};
use rusqlite::{Connection, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::sql;

/// One row of `devices.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// Id for `devices.revoke`.
    pub device_id: DeviceId,
    /// Name of the client program that paired.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// When it paired.
    pub paired_at: UnixMillis,
    /// When it last attached.
    pub last_seen_at: UnixMillis,
    /// Whether it is revoked.
    pub revoked: bool,
    /// What it may do.
    pub grant: Grant,
}

/// What the store knows of a paired device.
pub(crate) struct Standing {
    /// Whether it is revoked.
    pub(crate) is_revoked: bool,
    /// The key of its last pairing, and until the device has used that, the last one that it has
    /// used: it may have missed the answer to a pairing. Without any it paired before there were
    /// keys.
    pub(crate) keys: Vec<PresharedKey>,
    /// What it may do.
    pub(crate) grant: Grant,
    /// When its pairing ends, in milliseconds of the store's own clock.
    pub(crate) lived_until: Option<i64>,
}

impl Standing {
    /// Whether its pairing has ended by either clock: the wall clock can be set back, and the
    /// store's own does not run while the machine is off.
    pub(crate) fn is_expired(&self, now: UnixMillis, lived: i64) -> bool {
        self.grant.expires_at.is_some_and(|at| at <= now)
            || self.lived_until.is_some_and(|at| at <= lived)
    }
}

/// A device's standing; `None` if it has never paired.
pub(crate) fn standing(conn: &Connection, key: &PublicKey) -> Result<Option<Standing>> {
    let sql = "SELECT revoked, psk, psk_before, granted, lived_until FROM devices WHERE key = ?1";
    sql::first(conn, sql, (key.as_bytes(),), |row| {
        let keys: [Option<[u8; 32]>; 2] = [row.get(1)?, row.get(2)?];
        let keys = keys.into_iter().flatten();
        Ok(Standing {
            is_revoked: row.get(0)?,
            keys: keys.map(PresharedKey::from_bytes).collect(),
            grant: row.get::<_, sql::Json<Grant>>(3)?.0,
            lived_until: row.get(4)?,
        })
    })
}

/// A device's name, if it has ever paired.
pub(crate) fn name(conn: &Connection, key: &PublicKey) -> Result<Option<String>> {
    let sql = "SELECT name FROM devices WHERE key = ?1";
    sql::first(conn, sql, (key.as_bytes(),), |row| row.get(0))
}

/// A device to pair.
pub(crate) struct NewDevice<'a> {
    pub(crate) key: &'a PublicKey,
    pub(crate) psk: &'a PresharedKey,
    pub(crate) name: &'a str,
    pub(crate) platform: &'a str,
    pub(crate) grant: &'a Grant,
    /// Milliseconds of the store's own clock.
    pub(crate) lived_until: Option<i64>,
}

/// Pairs a device; a known one, revoked or not, is paired again.
pub(crate) fn pair(conn: &Connection, device: &NewDevice<'_>, now: UnixMillis) -> Result<()> {
    let sql = "INSERT INTO devices (key, id, name, platform, paired_at, last_seen_at, revoked, psk,
             granted, lived_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, ?6, ?7, ?8)
         ON CONFLICT (key) DO UPDATE SET name = ?3, platform = ?4, paired_at = ?5,
             last_seen_at = ?5, revoked = 0, psk = ?6, granted = ?7, lived_until = ?8,
             psk_before = CASE WHEN revoked = 0 THEN coalesce(psk_before, nullif(psk, ?6)) END";
    let NewDevice {
        key,
        psk,
        name,
        platform,
        grant,
        lived_until,
    } = device;
    let id = DeviceId::of_public_key(key);
    let row = (
        key.as_bytes(),
        id.as_str(),
        name,
        platform,
        now,
        psk.as_bytes(),
        sql::Json(grant),
        lived_until,
    );
    sql::run(conn, sql, row)
}

/// The key and name of the device with this id.
pub(crate) fn find(conn: &Connection, id: &DeviceId) -> Result<Option<(PublicKey, String)>> {
    let sql = "SELECT key, name FROM devices WHERE id = ?1";
    sql::first(conn, sql, (id.as_str(),), |row| {
        Ok((PublicKey::from_bytes(row.get(0)?), row.get(1)?))
    })
}

/// Changes what a device may do; returns whether it exists and is not revoked.
pub(crate) fn set_grant(
    conn: &Connection,
    id: &DeviceId,
    grant: &Grant,
    lived_until: Option<i64>,
) -> Result<bool> {
    let sql = "UPDATE devices SET granted = ?2, lived_until = ?3 WHERE id = ?1 AND revoked = 0";
    let row = (id.as_str(), sql::Json(grant), lived_until);
    Ok(sql::change(conn, sql, row)? > 0)
}

/// Forgets the key before, since the device has used this one, if that is of its last pairing.
pub(crate) fn use_key(conn: &Connection, key: &PublicKey, psk: &PresharedKey) -> Result<()> {
    let sql = "UPDATE devices SET psk_before = NULL WHERE key = ?1 AND psk = ?2";
    sql::run(conn, sql, (key.as_bytes(), psk.as_bytes()))
}

/// Stores when a device was last seen.
pub(crate) fn seen(conn: &Connection, key: &PublicKey, now: UnixMillis) -> Result<()> {
    let sql = "UPDATE devices SET last_seen_at = ?2 WHERE key = ?1";
    sql::run(conn, sql, (key.as_bytes(), now))
}

/// Revokes a device; returns whether it exists.
pub(crate) fn revoke(conn: &Connection, id: &DeviceId) -> Result<bool> {
    let sql = "UPDATE devices SET revoked = 1 WHERE id = ?1";
    Ok(sql::change(conn, sql, (id.as_str(),))? > 0)
}

/// The keys of devices that are not revoked, the last seen first.
pub(crate) fn known(conn: &Connection, most: usize) -> Result<Vec<PublicKey>> {
    let sql = "SELECT key FROM devices WHERE revoked = 0 ORDER BY last_seen_at DESC, key LIMIT ?1";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    sql::all(conn, sql, (most,), |row| {
        Ok(PublicKey::from_bytes(row.get(0)?))
    })
}

/// Every device, in order of pairing.
pub(crate) fn list(conn: &Connection) -> Result<Vec<DeviceInfo>> {
    let sql = "SELECT key, name, platform, paired_at, last_seen_at, revoked, granted FROM devices
         ORDER BY paired_at, key";
    sql::all(conn, sql, (), |row| {
        let key = PublicKey::from_bytes(row.get(0)?);
        Ok(DeviceInfo {
            device_id: DeviceId::of_public_key(&key),
            name: row.get(1)?,
            platform: row.get(2)?,
            paired_at: row.get(3)?,
            last_seen_at: row.get(4)?,
            revoked: row.get(5)?,
            grant: row.get::<_, sql::Json<Grant>>(6)?.0,
        })
    })
}
