//! The audit log (TR-15): rows are added and never changed; the oldest are removed beyond a bound.

use bowline_protocol::{DeviceId, model::UnixMillis};
use rusqlite::{Connection, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::sql;

/// Kind of a row. Each has a bound of its own, so that nobody pushes out what happened to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Pairings, changes, revocations, locks: only the owner makes them.
    Security,
    /// What a device asked for.
    Request,
    /// Refused attempts, and rows of services: others decide how many.
    Other,
}

impl Class {
    /// Its number in the column `routine`, and the rows of it that are kept.
    const fn stored(self) -> (u8, u32) {
        match self {
            Self::Security => (0, 10_000),
            Self::Request => (1, 200_000),
            Self::Other => (2, 20_000),
        }
    }
}

/// Requests kept of one device: it can push out its own older ones only.
const OF_DEVICE: u32 = 20_000;

/// A new row.
#[derive(Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) event: &'a str,
    pub(crate) class: Class,
    pub(crate) device: Option<&'a DeviceId>,
    /// A JSON object.
    pub(crate) detail: &'a str,
}

/// One row of `audit.list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number; increases.
    pub n: u64,
    /// When.
    pub at: UnixMillis,
    /// What happened.
    pub event: String,
    /// The device that did it, or that it was done to; absent for the owner alone.
    #[serde(rename = "deviceId", skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Particulars of the event.
    pub detail: Box<RawValue>,
}

/// Adds a row.
pub(crate) fn add(conn: &Connection, entry: &NewEntry<'_>, now: UnixMillis) -> Result<()> {
    let sql = "INSERT INTO audit (at, event, routine, device, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let device = entry.device.map(DeviceId::as_str);
    let (class, _) = entry.class.stored();
    sql::run(conn, sql, (now, entry.event, class, device, entry.detail))
}

/// Rows after a number, oldest first; or, without one, the newest, in order.
pub(crate) fn list(conn: &Connection, after: Option<u64>, limit: u32) -> Result<Vec<AuditEntry>> {
    let newest = "SELECT * FROM (SELECT n, at, event, device, detail FROM audit WHERE n > ?1
         ORDER BY n DESC LIMIT ?2) ORDER BY n";
    let next = "SELECT n, at, event, device, detail FROM audit WHERE n > ?1 ORDER BY n LIMIT ?2";
    let sql = if after.is_some() { next } else { newest };
    let from = after.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX));
    sql::all(conn, sql, (from, limit), |row| {
        let detail: String = row.get(4)?;
        Ok(AuditEntry {
            n: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.get(1)?,
            event: row.get(2)?,
            device: row.get(3)?,
            // Rows hold JSON only; a damaged one shows as nothing.
            detail: RawValue::from_string(detail)
                .or_else(|_| RawValue::from_string("{}".to_owned()))
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?,
        })
    })
}

/// Removes the oldest rows beyond the bounds, at most about this many; returns how many.
pub(crate) fn trim(conn: &Connection, limit: u32) -> Result<usize> {
    let sql = "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE routine = ?1 AND n <=
             (SELECT n FROM audit WHERE routine = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)
         ORDER BY n LIMIT ?3)";
    let mut removed = 0;
    for class in [Class::Security, Class::Request, Class::Other] {
        let (class, most) = class.stored();
        removed += sql::change(conn, sql, (class, most, limit))?;
    }
    let many = "SELECT device, count(*) - ?1 FROM audit WHERE routine = 1 GROUP BY device
         HAVING count(*) > ?1";
    let many: Vec<(Option<String>, u32)> = sql::all(conn, many, (OF_DEVICE,), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    for (device, over) in many {
        let sql = "DELETE FROM audit WHERE n IN (SELECT n FROM audit
             WHERE routine = 1 AND device = ?1 ORDER BY n LIMIT ?2)";
        removed += sql::change(conn, sql, (device, over.min(limit)))?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        let script = include_str!("migrations/006.sql");
        let (_, own) = script.split_once("CREATE TABLE audit").unwrap();
        conn.execute_batch(&format!("CREATE TABLE audit{own}"))
            .unwrap();
        conn
    }

    fn entry<'a>(event: &'a str, class: Class, device: Option<&'a DeviceId>) -> NewEntry<'a> {
        NewEntry {
            event,
            class,
            device,
            detail: "{}",
        }
    }

    #[test]
    fn tr_15_rows_are_added_in_order_and_never_changed() {
        let conn = open();
        for event in ["one", "two", "three"] {
            add(&conn, &entry(event, Class::Security, None), 7).unwrap();
        }
        let events = |after, limit| -> Vec<String> {
            let rows = list(&conn, after, limit).unwrap();
            rows.into_iter().map(|row| row.event).collect()
        };
        assert_eq!(events(None, 2), ["two", "three"], "the newest, in order");
        assert_eq!(events(Some(0), 2), ["one", "two"]);
        assert_eq!(events(Some(2), 2), ["three"]);
        assert!(conn.execute("UPDATE audit SET event = 'x'", ()).is_err());
    }

    #[test]
    fn tr_15_a_device_pushes_out_its_own_requests_and_nothing_else() {
        let conn = open();
        let device = |n| DeviceId::of_public_key(&bowline_protocol::PublicKey::from_bytes([n; 32]));
        let (quiet, loud) = (device(1), device(2));
        add(&conn, &entry("paired", Class::Security, Some(&quiet)), 1).unwrap();
        add(&conn, &entry("ran", Class::Request, Some(&quiet)), 1).unwrap();
        conn.execute_batch("BEGIN").unwrap();
        for _ in 0..OF_DEVICE + 10 {
            add(&conn, &entry("ran", Class::Request, Some(&loud)), 2).unwrap();
        }
        for _ in 0..20_005 {
            add(&conn, &entry("refused", Class::Other, None), 3).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
        assert_eq!(trim(&conn, 4).unwrap(), 8, "a bounded number at once");
        assert_eq!(trim(&conn, 100).unwrap(), 7);
        assert_eq!(trim(&conn, 100).unwrap(), 0);
        let kept = sql::count(&conn, "SELECT count(*) FROM audit", ()).unwrap();
        assert_eq!(kept, 2 + u64::from(OF_DEVICE) + 20_000);
        let first: Vec<_> = list(&conn, Some(0), 2).unwrap();
        assert_eq!((&*first[0].event, &*first[1].event), ("paired", "ran"));
    }
}
