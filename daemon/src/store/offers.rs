//! Pairing offers: each for one device, valid until the store's own clock reaches its end (LS-18).

use bowline_protocol::{
    Grant, PublicKey,
    identity::{OfferId, PresharedKey},
    model::UnixMillis,
};
use rusqlite::{Connection, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::sql;

/// Offers kept; a new one over it removes those that are over, and then those that expire first.
const MAX_OFFERS: u32 = 64;

/// State of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferState {
    /// A device may pair with it.
    Open,
    /// This device has paired with it.
    Used(PublicKey),
    /// The owner refused the device that asked.
    Refused,
}

/// A stored offer.
#[derive(Debug)]
pub(crate) struct OfferRow {
    /// The key derived from its token.
    pub(crate) key: PresharedKey,
    /// Whether the owner is asked before a device is paired.
    pub(crate) approve: bool,
    /// Whether its time is over.
    pub(crate) is_expired: bool,
    pub(crate) state: OfferState,
    /// What the device may do that pairs with it.
    pub(crate) grant: Grant,
    /// For how many milliseconds from the pairing on.
    pub(crate) device_ttl: Option<i64>,
}

impl OfferRow {
    /// What a device gets that pairs now, and when that ends on the store's own clock.
    pub(crate) fn granted(&self, now: UnixMillis, lived: i64) -> (Grant, Option<i64>) {
        let grant = Grant {
            expires_at: self.device_ttl.map(|ttl| now.saturating_add(ttl)),
            ..self.grant.clone()
        };
        (grant, self.device_ttl.map(|ttl| lived.saturating_add(ttl)))
    }
}

/// An open offer, for lists.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferInfo {
    /// Its id, for `pairing.cancel`.
    pub offer_id: OfferId,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it expires.
    pub expires_at: UnixMillis,
    /// Whether the owner is asked before a device is paired.
    pub approve: bool,
    /// What the device may do that pairs with it.
    pub grant: Grant,
    /// For how many milliseconds from the pairing on; absent for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_ttl_ms: Option<i64>,
}

/// A new offer.
#[derive(Debug)]
pub(crate) struct NewOffer {
    pub(crate) id: OfferId,
    pub(crate) key: PresharedKey,
    pub(crate) approve: bool,
    pub(crate) grant: Grant,
    pub(crate) device_ttl: Option<i64>,
    /// For people.
    pub(crate) expires_at: UnixMillis,
    /// Milliseconds of the store's own clock; they decide.
    pub(crate) lived_until: i64,
}

/// Stores an offer. `now` is the wall clock, `lived` the store's own.
pub(crate) fn add(conn: &Connection, offer: &NewOffer, now: UnixMillis, lived: i64) -> Result<()> {
    let sql = "DELETE FROM offers WHERE lived_until <= ?1";
    sql::run(conn, sql, (lived,))?;
    let sql = "DELETE FROM offers WHERE id NOT IN
             (SELECT id FROM offers ORDER BY state = 'open' DESC, lived_until DESC LIMIT ?1)";
    sql::run(conn, sql, (MAX_OFFERS - 1,))?;
    let sql = "INSERT INTO offers (id, key, created_at, expires_at, lived_until, approve, state, granted, device_ttl)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7, ?8)";
    let row = (
        offer.id.as_str(),
        offer.key.as_bytes(),
        now,
        offer.expires_at,
        offer.lived_until,
        offer.approve,
        sql::Json(&offer.grant),
        offer.device_ttl,
    );
    sql::run(conn, sql, row)
}

/// Deletes the offers that have expired by the wall clock: for a start after an unknown time
/// without a daemon.
pub(crate) fn drop_expired(conn: &Connection, now: UnixMillis) -> Result<()> {
    sql::run(conn, "DELETE FROM offers WHERE expires_at <= ?1", (now,))
}

/// An offer, at this time of the store's own clock.
pub(crate) fn get(conn: &Connection, id: &OfferId, lived: i64) -> Result<Option<OfferRow>> {
    let sql = "SELECT key, approve, lived_until <= ?2, state, device, granted, device_ttl
         FROM offers WHERE id = ?1";
    sql::first(conn, sql, (id.as_str(), lived), |row| {
        let state: String = row.get(3)?;
        let device: Option<[u8; 32]> = row.get(4)?;
        Ok(OfferRow {
            key: PresharedKey::from_bytes(row.get(0)?),
            approve: row.get(1)?,
            is_expired: row.get(2)?,
            grant: row.get::<_, sql::Json<Grant>>(5)?.0,
            device_ttl: row.get(6)?,
            state: match (state.as_str(), device) {
                ("open", _) => OfferState::Open,
                ("used", Some(device)) => OfferState::Used(PublicKey::from_bytes(device)),
                _ => OfferState::Refused,
            },
        })
    })
}

/// The open offers, oldest first, at this time of the store's own clock.
pub(crate) fn list(conn: &Connection, lived: i64) -> Result<Vec<OfferInfo>> {
    let sql = "SELECT id, created_at, expires_at, approve, granted, device_ttl FROM offers
         WHERE state = 'open' AND lived_until > ?1 ORDER BY created_at, id";
    sql::all(conn, sql, (lived,), |row| {
        Ok(OfferInfo {
            offer_id: row.get::<_, sql::Parsed<OfferId>>(0)?.0,
            created_at: row.get(1)?,
            expires_at: row.get(2)?,
            approve: row.get(3)?,
            grant: row.get::<_, sql::Json<Grant>>(4)?.0,
            device_ttl_ms: row.get(5)?,
        })
    })
}

/// Marks an offer as used by a device. Returns whether it was open, or used by the same device.
pub(crate) fn used(conn: &Connection, id: &OfferId, device: &PublicKey) -> Result<bool> {
    let sql = "UPDATE offers SET state = 'used', device = ?2
         WHERE id = ?1 AND (state = 'open' OR device = ?2)";
    Ok(sql::change(conn, sql, (id.as_str(), device.as_bytes()))? > 0)
}

/// Marks an offer as refused. Returns whether it was open.
pub(crate) fn refuse(conn: &Connection, id: &OfferId) -> Result<bool> {
    let sql = "UPDATE offers SET state = 'refused' WHERE id = ?1 AND state = 'open'";
    Ok(sql::change(conn, sql, (id.as_str(),))? > 0)
}

/// Removes an open offer. Returns whether there was one.
pub(crate) fn cancel(conn: &Connection, id: &OfferId) -> Result<bool> {
    let sql = "DELETE FROM offers WHERE id = ?1 AND state = 'open'";
    Ok(sql::change(conn, sql, (id.as_str(),))? > 0)
}
