//! The ledger: the single writer that owns the store and every session (architecture rules 3 and 4).
//!
//! One OS thread runs jobs in turns: what is waiting runs in one transaction, each job in a savepoint
//! of it; after the commit, in the order of the jobs, events are published and replies sent. Nothing is
//! said before it is on disk, and there is no second writer to race with.

mod types;

pub use types::{
    Admission, Attached, Attachment, Audience, DeviceInfo, LedgerOptions, PairingToken,
    SessionInfo, SessionRef,
};

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    DeviceId, Hello, IntentId, PublicKey, Refusal, SessionEvent, error::RpcError,
};

pub use crate::store::StoreError;
use crate::{clock::Clock, outbound::ConnectionHandle, service::Answer};

/// A handle to the ledger; clones are cheap and all mean the same one.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<()>);

/// What a reading job sees: the state as committed.
pub struct Reader<'a>(std::marker::PhantomData<&'a ()>);

/// What a writing job may do; all of it happens, durably, or none.
pub struct Tx<'a>(std::marker::PhantomData<&'a ()>);

impl Ledger {
    /// Opens the store, restores every session and starts the ledger's thread.
    ///
    /// # Errors
    /// [`StoreError`] names the file and says what to do; a corrupt store is never replaced.
    pub fn open(_options: LedgerOptions) -> Result<Self, StoreError> {
        todo!()
    }

    /// The clock everything here goes by.
    pub fn clock(&self) -> &Clock {
        todo!()
    }

    /// Looks at a hello and says what its attach would do. Changes nothing.
    ///
    /// # Errors
    /// The refusal to answer the hello with.
    pub async fn admit(&self, _device: PublicKey, _hello: &Hello) -> Result<Admission, Refusal> {
        todo!()
    }

    /// Does what was promised by [`Ledger::admit`], on the client's `session.ready`: consumes the
    /// pairing token, creates or resumes the session, registers the connection. Everything is checked
    /// again. For a probe nothing is attached or recorded (INV-8). Dropping the [`Attachment`] detaches.
    ///
    /// # Errors
    /// The reason to close the connection with.
    pub async fn attach(
        &self,
        _admission: Admission,
        _connection: ConnectionHandle,
    ) -> Result<Attached, Refusal> {
        todo!()
    }

    /// Gives a connection of the local socket a session of its own that ends with it and is not stored.
    /// It gets the events of agents it subscribed to, and no others. Its intents share one durable
    /// memory under the name `local`.
    ///
    /// # Errors
    /// When the ledger is too busy or stopped.
    pub async fn attach_local(
        &self,
        _connection: ConnectionHandle,
    ) -> Result<Attachment, RpcError> {
        todo!()
    }

    /// Notes that the client has applied every event up to `seq`.
    pub fn ack(&self, _session: &SessionRef, _seq: u64) {
        todo!()
    }

    /// Runs a reading job on a consistent snapshot.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait; internal once the ledger has stopped.
    pub async fn read<R: Send + 'static>(
        &self,
        _job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        todo!()
    }

    /// Runs a writing job; returns after its commit.
    ///
    /// # Errors
    /// What the job says; `overloaded` when too many jobs wait or the commit failed, and then nothing of
    /// the job has happened.
    pub async fn write<R: Send + 'static>(
        &self,
        _job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        todo!()
    }

    /// Runs `effect` exactly once for this intent (BX-1).
    ///
    /// # Errors
    /// See [`crate::service::Request::intent`].
    pub async fn intent(
        &self,
        _session: &SessionRef,
        _intent_id: IntentId,
        _method: &str,
        _params: &str,
        _effect: impl FnOnce(&mut Tx<'_>) -> Answer + Send + 'static,
    ) -> Answer {
        todo!()
    }

    /// Makes a one-time pairing token.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn create_pairing(&self, _ttl: Duration) -> Result<PairingToken, RpcError> {
        todo!()
    }

    /// Every device ever paired, revoked ones included.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, RpcError> {
        todo!()
    }

    /// Revokes a device, ends its sessions and cuts its live connections with `device_revoked`.
    ///
    /// # Errors
    /// `not_found`; as [`Ledger::write`].
    pub async fn revoke(&self, _device: DeviceId) -> Result<(), RpcError> {
        todo!()
    }

    /// Every session (SV-5).
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, RpcError> {
        todo!()
    }

    /// Ends the thread after what is waiting is done, and checkpoints the store. Later jobs fail.
    pub async fn shutdown(&self) {
        todo!()
    }
}

impl Reader<'_> {
    /// The last event number of a session: the state read here is as of it.
    pub fn seq(&self, _session: Option<&SessionRef>) -> u64 {
        todo!()
    }
}

impl Tx<'_> {
    /// Tells sessions something, once this job is committed.
    ///
    /// # Errors
    /// When the event cannot be stored; pass it on.
    pub fn emit(&mut self, _audience: Audience<'_>, _event: &SessionEvent) -> Result<(), RpcError> {
        todo!()
    }

    /// Runs `action` on the ledger's thread after the commit; it must be short. Not run for an intent
    /// whose outcome was already stored.
    pub fn after_commit(&mut self, _action: impl FnOnce() + Send + 'static) {
        todo!()
    }
}
