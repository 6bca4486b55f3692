//! What services are told of and asked besides requests, type-erased for the daemon.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use bowline_protocol::{DeviceId, PublicKey, RpcReason, error::RpcError, model::UnixMillis};
use futures_util::{FutureExt, future::join_all};
use tokio::{sync::watch, time::timeout};

use super::Service;
use crate::{
    caller::{CannotTell, Starter},
    ledger::{guarded, panicked},
    process::Process,
};

/// Time for one service to end what a revoked device has asked for, or to keep it; past it the
/// request is answered with `timeout`. The device is out all the same.
const REVOKING: Duration = Duration::from_secs(30);

/// A device that the owner has revoked (TR-5).
#[derive(Clone, Debug)]
pub struct RevokedDevice {
    /// Its id.
    pub device_id: DeviceId,
    /// Its key.
    pub key: PublicKey,
}

type Telling<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// A service, of any type, as told of what happens to the daemon.
pub(crate) trait Hook: Send + Sync {
    fn keep_work_of(self: Arc<Self>, device: DeviceId) -> Telling<Result<(), RpcError>>;
    fn end_work_of(self: Arc<Self>, device: RevokedDevice) -> Telling<Result<u64, RpcError>>;
    fn lock_changed(self: Arc<Self>, is_locked: bool) -> Telling<()>;
    fn shutdown(self: Arc<Self>) -> Telling<()>;
    fn has_started(&self, process: &Process<'_>) -> Option<&'static str>;
}

// The calls are inside of the futures, so that a panic in one is contained wherever it is.
impl<S: Service> Hook for S {
    fn keep_work_of(self: Arc<Self>, device: DeviceId) -> Telling<Result<(), RpcError>> {
        Box::pin(async move { Service::keep_work_of(self, device).await })
    }

    fn end_work_of(self: Arc<Self>, device: RevokedDevice) -> Telling<Result<u64, RpcError>> {
        Box::pin(async move { Service::end_work_of(self, device).await })
    }

    fn lock_changed(self: Arc<Self>, is_locked: bool) -> Telling<()> {
        Box::pin(async move { Service::lock_changed(self, is_locked).await })
    }

    fn shutdown(self: Arc<Self>) -> Telling<()> {
        Box::pin(async move { Service::shutdown(self).await })
    }

    fn has_started(&self, process: &Process<'_>) -> Option<&'static str> {
        Service::has_started(self, process)
    }
}

/// All services of a daemon. Clones share them.
#[derive(Clone)]
pub(crate) struct Hooks(Arc<[Arc<dyn Hook>]>);

impl Hooks {
    pub(crate) fn new(all: Vec<Arc<dyn Hook>>) -> Self {
        Self(all.into())
    }

    /// Lets all services keep what a device has asked for that is about to be revoked.
    ///
    /// # Errors
    /// The first of theirs, once all have returned; −32603 if one panicked, `timeout` if one took
    /// longer than [`REVOKING`].
    pub(crate) async fn keep_work_of(&self, device: &DeviceId) -> Result<(), RpcError> {
        let told = self.0.iter().map(|hook| {
            let telling = Arc::clone(hook).keep_work_of(device.clone());
            bounded(telling)
        });
        join_all(told).await.into_iter().collect()
    }

    /// Lets all services end what a revoked device has asked for; returns how much that was.
    ///
    /// # Errors
    /// As [`Hooks::keep_work_of`].
    pub(crate) async fn end_work_of(&self, device: &RevokedDevice) -> Result<u64, RpcError> {
        let told = self.0.iter().map(|hook| {
            let telling = Arc::clone(hook).end_work_of(device.clone());
            bounded(telling)
        });
        let ended: Result<Vec<u64>, _> = join_all(told).await.into_iter().collect();
        Ok(ended?.into_iter().fold(0, u64::saturating_add))
    }

    /// Tells every service of changes of the lock until the ledger ends. What is told of an older
    /// state is dropped once there is a newer one.
    pub(crate) async fn follow_lock(self, lock: watch::Receiver<Option<UnixMillis>>) {
        let all = self.0.iter();
        join_all(all.map(|hook| follow_lock(hook, lock.clone()))).await;
    }

    /// Lets all services end at once. The caller bounds the time.
    pub(crate) async fn shutdown(&self) {
        let ends = self.0.iter();
        join_all(ends.map(|hook| contained(Arc::clone(hook).shutdown()))).await;
    }

    /// Who has started a process; `None`: no service.
    pub(crate) fn starter(&self, process: &Process<'_>) -> Option<Starter> {
        self.0.iter().find_map(|hook| {
            let told = guarded(|| Ok(hook.has_started(process)));
            told.map_err(|_| CannotTell).transpose()
        })
    }
}

/// Awaits a service; a panic is an error (−32603), which is logged.
async fn contained<R>(telling: impl Future<Output = R>) -> Result<R, RpcError> {
    let told = AssertUnwindSafe(telling).catch_unwind().await;
    told.map_err(|_| panicked())
}

/// Awaits what a service does for a revocation.
async fn bounded<R>(telling: Telling<Result<R, RpcError>>) -> Result<R, RpcError> {
    match timeout(REVOKING, contained(telling)).await {
        Ok(told) => told?,
        Err(_) => Err(RpcError::new(
            RpcReason::Timeout,
            format!(
                "a service was not done with what the device asked for within {} s; the device is out all the same",
                REVOKING.as_secs()
            ),
        )),
    }
}

async fn follow_lock(hook: &Arc<dyn Hook>, mut lock: watch::Receiver<Option<UnixMillis>>) {
    while lock.changed().await.is_ok() {
        loop {
            let is_locked = lock.borrow_and_update().is_some();
            let telling = contained(Arc::clone(hook).lock_changed(is_locked));
            tokio::select! {
                biased;
                changed = lock.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                _ = telling => break,
            }
        }
    }
}
