//! What the owner decides about devices: their grants, revocation, and the lock (TR-4, TR-5, TR-15,
//! LS-18).

use std::{collections::BTreeSet, time::Duration};

use bowline_machines::{MonotonicTime, daemon::session::Input};
use bowline_protocol::{
    DeviceId, Grant, PublicKey, Reason, RpcReason, error::RpcError, model::UnixMillis,
};
use rusqlite::Connection;
use serde_json::json;

use super::{
    core::Core,
    live::{Live, LiveSession},
    tx::Tx,
};
use crate::store::{
    self,
    audit::{Class, NewEntry},
    facts, fault,
};

/// Name of the fact that the daemon is locked, with the time.
const LOCKED: &str = "lockedAt";
/// Longest time until an ended pairing is noticed while its device is connected.
const EXPIRY_LOOK: Duration = Duration::from_secs(60);
/// Shortest time between two looks.
const EXPIRY_PAUSE: Duration = Duration::from_millis(100);

/// What a revocation did.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The device's key.
    pub device: PublicKey,
    /// Why the revocation could not be stored. It holds until the daemon ends.
    pub not_stored: Option<RpcError>,
    /// Why what the device has asked for is not kept, although it was to be.
    pub not_kept: Option<RpcError>,
}

/// Keeps what a device has asked for, in the transaction that revokes it.
pub(crate) type Keep = Box<dyn FnOnce(&mut Tx<'_>) -> Result<(), RpcError> + Send>;

/// What is stored of a revocation.
struct Revocation {
    id: DeviceId,
    sessions: Vec<i64>,
    detail: String,
    at: UnixMillis,
}

impl Revocation {
    fn store(&self, conn: &Connection) -> rusqlite::Result<()> {
        store::devices::revoke(conn, &self.id)?;
        for session in &self.sessions {
            store::sessions::delete(conn, *session)?;
        }
        let entry = NewEntry {
            event: "device_revoked",
            class: Class::Security,
            device: Some(&self.id),
            detail: &self.detail,
        };
        store::audit::add(conn, &entry, self.at)
    }
}

fn unknown(device: &DeviceId) -> RpcError {
    RpcError::new(RpcReason::NotFound, format!("no device `{device}`"))
}

/// Since when the daemon is locked, as stored.
pub(super) fn locked_at(conn: &rusqlite::Connection) -> rusqlite::Result<Option<UnixMillis>> {
    Ok(facts::get(conn, LOCKED)?.and_then(|text| text.parse().ok()))
}

impl Core {
    /// The stored sessions of a device.
    fn sessions_of(&self, device: &PublicKey) -> Vec<i64> {
        let is_theirs = |session: &LiveSession| {
            let durable = session.durable.as_ref();
            durable.is_some_and(|durable| durable.device == *device)
        };
        let sessions = self.live.sessions.iter();
        sessions
            .filter(|(_, session)| is_theirs(session))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Revokes a device: its sessions end, its connections are closed, and the offer that it asks
    /// with is void (LS-18). With `keep`, what it has asked for is kept in the same transaction; if
    /// that fails, the device is revoked without it.
    pub(super) fn revoke(
        &mut self,
        id: &DeviceId,
        keep: Option<Keep>,
    ) -> Result<Revoked, RpcError> {
        let found = store::devices::find(&self.conn, id).map_err(fault)?;
        let (device, name) = found.ok_or_else(|| unknown(id))?;
        let theirs = self.sessions_of(&device);
        let revocation = |kept: bool| Revocation {
            id: id.clone(),
            sessions: theirs.clone(),
            detail: json!({"name": name, "keptTurns": kept}).to_string(),
            at: self.options.clock.unix_millis(),
        };
        let (keeping, alone) = (revocation(true), revocation(false));
        let kept = keep.map(|keep| {
            let job = move |tx: &mut Tx<'_>| {
                keep(tx)?;
                // While the device's sessions are there: what they follow may have changed.
                tx.tell_changes()?;
                keeping.store(tx.conn()).map_err(fault)
            };
            self.with_reserve(|core| core.write_now(job))
        });
        let (stored, not_kept) = match kept {
            Some(Ok(())) => (Ok(()), None),
            // Neither a full disk nor a service that fails keeps a device connected.
            other => (
                self.with_reserve(|core| core.transact(|core| alone.store(&core.conn))),
                other.and_then(Result::err),
            ),
        };
        if stored.is_ok() {
            self.live.revoked.remove(&device);
        } else {
            self.live.revoked.insert(device);
        }
        self.devices.send_replace(());
        let now = self.options.clock.now();
        for session in theirs {
            self.live
                .drive(session, |machine| machine.handle(now, Input::Revoke));
            self.live.remove(session);
        }
        self.end_pairings_of(&device);
        self.put_off();
        tracing::info!(device = %id, is_stored = stored.is_ok(), "revoked");
        Ok(Revoked {
            device,
            not_stored: stored.err(),
            not_kept,
        })
    }

    /// Changes what a device may do. Its connections are closed with `session_changed`, so that it
    /// learns its grant from the next welcome.
    pub(super) fn set_grant(&mut self, id: &DeviceId, grant: &Grant) -> Result<(), RpcError> {
        let found = store::devices::find(&self.conn, id).map_err(fault)?;
        let (device, name) = found.ok_or_else(|| unknown(id))?;
        let now = self.options.clock.unix_millis();
        let lived = self.lived.now();
        let lived_until = grant
            .expires_at
            .map(|at| lived.saturating_add(at.saturating_sub(now)));
        let is_paired = self.transact(|core| {
            if !store::devices::set_grant(&core.conn, id, grant, lived_until)? {
                return Ok(false);
            }
            core.audit(
                "device_changed",
                Some(id),
                &json!({"name": name, "grant": grant}),
            )?;
            Ok(true)
        })?;
        if !is_paired {
            return Err(RpcError::new(
                RpcReason::NotFound,
                format!("device `{id}` was revoked: it has to pair again"),
            ));
        }
        self.apply_grant(&device, grant);
        Ok(())
    }

    /// Gives the sessions of a device a changed grant, and has them connect again.
    pub(super) fn apply_grant(&mut self, device: &PublicKey, grant: &Grant) {
        for session in self.sessions_of(device) {
            self.live.set_grant(session, grant);
        }
    }

    /// Plans the next look for ended pairings, if this one has an end.
    pub(super) fn watch_expiry(&mut self, grant: &Grant) {
        if let Some(at) = grant.expires_at {
            let left = at.saturating_sub(self.options.clock.unix_millis());
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            let due = self.options.clock.now() + left.clamp(EXPIRY_PAUSE, EXPIRY_LOOK);
            self.expiry_at = Some(self.expiry_at.map_or(due, |known| known.min(due)));
        }
    }

    /// Closes the connections of devices whose pairing has ended.
    pub(super) fn end_expired_devices(&mut self) {
        self.expiry_at = None;
        let (now, lived) = (self.options.clock.unix_millis(), self.lived.now());
        let mut over = Vec::new();
        let mut left = Vec::new();
        for session in self.live.sessions.values() {
            let grant = session.reference.grant();
            let Some(durable) = session.durable.as_ref() else {
                continue;
            };
            let mut links = session.links.iter();
            let is_open = links.any(|link| link.outbound.close_reason().is_none());
            if grant.expires_at.is_none() || !is_open {
                continue;
            }
            let standing = store::devices::standing(&self.conn, &durable.device);
            if standing.is_ok_and(|it| it.is_none_or(|it| it.is_expired(now, lived))) {
                over.push((session.reference.id, durable.device));
            } else {
                left.push(grant.clone());
            }
        }
        let mut devices = BTreeSet::new();
        for (session, device) in over {
            if let Some(session) = self.live.sessions.get(&session) {
                session.close_links(Reason::DeviceExpired);
            }
            self.live.unfollow_all(session);
            devices.insert(*device.as_bytes());
        }
        for device in devices {
            let device = PublicKey::from_bytes(device);
            let id = DeviceId::of_public_key(&device);
            // The next attempt of the device is refused and recorded as well.
            let _ = self.transact(|core| core.audit("device_expired", Some(&id), &json!({})));
        }
        for grant in left {
            self.watch_expiry(&grant);
        }
    }

    /// Locks or unlocks the daemon. Returns whether that changed anything.
    pub(super) fn set_locked(&mut self, locked: bool) -> Result<bool, RpcError> {
        if self.live.locked_at.is_some() == locked {
            // Whoever follows the lock may have failed to act on it.
            self.locked.send_replace(self.live.locked_at);
            return Ok(false);
        }
        let now = self.options.clock.unix_millis();
        let store = |core: &Self| {
            if locked {
                facts::put(&core.conn, LOCKED, &now.to_string())?;
                core.audit("locked", None, &json!({}))
            } else {
                facts::remove(&core.conn, LOCKED)?;
                core.audit("unlocked", None, &json!({}))
            }
        };
        let stored = self.with_reserve(|core| core.transact(store));
        if let (Err(error), false) = (&stored, locked) {
            return Err(error.clone());
        }
        self.live.locked_at = locked.then_some(now);
        if locked {
            for session in self.live.sessions.values() {
                if session.durable.is_some() {
                    session.close_links(Reason::DaemonLocked);
                }
            }
            self.end_all_pairings(Reason::DaemonLocked);
        }
        self.locked.send_replace(self.live.locked_at);
        tracing::warn!(
            locked,
            is_stored = stored.is_ok(),
            "the owner changed the lock"
        );
        stored.map(|()| true).map_err(|error| {
            RpcError::new(
                RpcReason::StorageUnavailable,
                format!(
                    "locked until the daemon ends; that could not be stored, so lock it again once there is \
                     space: {}",
                    error.message
                ),
            )
        })
    }

    /// When deferred work for devices is due.
    pub(super) const fn expiry_due(&self) -> Option<MonotonicTime> {
        self.expiry_at
    }
}

impl Live {
    /// Changes what the device of a session may do; connections that were made before are closed,
    /// and what it follows ends, since it may be more than it may follow now.
    pub(super) fn set_grant(&mut self, id: i64, grant: &Grant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.reference.grant() != grant {
            session.reference = session.reference.clone().with_grant(grant.clone());
            session.close_links(Reason::SessionChanged);
            self.unfollow_all(id);
        }
    }
}

impl LiveSession {
    /// Closes its connections, which detach as they end.
    pub(super) fn close_links(&self, reason: Reason) {
        for link in &self.links {
            link.outbound.close(reason);
        }
    }
}
