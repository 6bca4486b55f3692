//! What the owner of the machine asks about devices: their list, grants, revocation, the lock and
//! the audit log.

use bowline_protocol::{DeviceId, Grant, PublicKey, error::RpcError, model::UnixMillis};
use tokio::sync::watch;

use crate::{
    ledger::{Ledger, Revoked, Tx, queue::Job},
    store::{self, audit::AuditEntry, devices::DeviceInfo, fault},
};

impl Ledger {
    /// Every device ever paired, including revoked ones.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, RpcError> {
        self.read(|reader| store::devices::list(reader.conn()).map_err(fault))
            .await
    }

    /// The keys of the paired devices, without those revoked, the last seen first; at most so many.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub(crate) async fn known_devices(&self, most: usize) -> Result<Vec<PublicKey>, RpcError> {
        self.read(move |reader| store::devices::known(reader.conn(), most).map_err(fault))
            .await
    }

    /// Changes when a device is paired or revoked.
    pub(crate) fn devices_changed(&self) -> watch::Receiver<()> {
        self.0.devices.subscribe()
    }

    /// Revokes a device, ends its sessions and closes its connections with `device_revoked`. Its
    /// turns that have not begun do not begin (TR-5).
    ///
    /// # Errors
    /// `not_found`; as [`Ledger::write`].
    pub async fn revoke(&self, device: DeviceId) -> Result<Revoked, RpcError> {
        self.ask(Job::Solo, move |core| core.revoke(&device, None))
            .await
    }

    /// As [`Ledger::revoke`]; `keep` runs in the same transaction and keeps what the device has
    /// asked for. If it fails, the device is revoked without it.
    ///
    /// # Errors
    /// As [`Ledger::revoke`].
    pub async fn revoke_keeping(
        &self,
        device: DeviceId,
        keep: impl FnOnce(&mut Tx<'_>) -> Result<(), RpcError> + Send + 'static,
    ) -> Result<Revoked, RpcError> {
        let keep = Box::new(keep);
        self.ask(Job::Solo, move |core| core.revoke(&device, Some(keep)))
            .await
    }

    /// Changes what a device may do, from the next request on (TR-4).
    ///
    /// # Errors
    /// `not_found`; as [`Ledger::write`].
    pub async fn set_grant(&self, device: DeviceId, grant: Grant) -> Result<(), RpcError> {
        self.ask(Job::Solo, move |core| core.set_grant(&device, &grant))
            .await
    }

    /// Locks the daemon: no device is served, and no agent runs, until it is unlocked (TR-15).
    /// Returns whether it was unlocked.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn lock(&self) -> Result<bool, RpcError> {
        self.ask(Job::Solo, |core| core.set_locked(true)).await
    }

    /// Ends [`Ledger::lock`]. Returns whether it was locked.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn unlock(&self) -> Result<bool, RpcError> {
        self.ask(Job::Solo, |core| core.set_locked(false)).await
    }

    /// Since when the daemon is locked; `None` while it is not.
    pub fn locked_at(&self) -> Option<UnixMillis> {
        *self.0.locked.borrow()
    }

    /// Tells when the daemon is locked and unlocked.
    pub(crate) fn lock_changes(&self) -> watch::Receiver<Option<UnixMillis>> {
        self.0.locked.subscribe()
    }

    /// Rows of the audit log after a number, oldest first; without one the newest, in order.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn audit_log(
        &self,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, RpcError> {
        self.read(move |reader| store::audit::list(reader.conn(), after, limit).map_err(fault))
            .await
    }
}
