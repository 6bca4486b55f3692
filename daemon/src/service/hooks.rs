//! What services are told of and asked besides requests, type-erased for the daemon.

use std::{
    any::type_name, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};

use bowline_protocol::{DeviceId, PublicKey, RpcReason, error::RpcError, model::UnixMillis};
use futures_util::{FutureExt, future::join_all};
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use super::Service;
use crate::{
    caller::{Asked, CannotTell, Starter},
    ledger::{Tx, guarded, panicked},
    process::Process,
};

/// Time for all services to end what a revoked device has asked for; past it the request is
/// answered with `timeout`, and they go on. Below the time that `devices revoke` waits.
const REVOKING: Duration = Duration::from_secs(8);
/// Time for services to end if another one does not start.
const ENDING: Duration = Duration::from_secs(4);

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
    /// The service's type, for the log.
    fn name(&self) -> &'static str;
    fn keep_work_of(&self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<(), RpcError>;
    fn end_work_of(self: Arc<Self>, device: RevokedDevice) -> Telling<Result<u64, RpcError>>;
    fn lock_changed(self: Arc<Self>, is_locked: bool) -> Telling<()>;
    fn shutdown(self: Arc<Self>) -> Telling<()>;
    fn has_started(&self, process: &Process<'_>) -> Option<&'static str>;
}

// The calls are inside of the futures, so that a panic in one is contained wherever it is.
impl<S: Service> Hook for S {
    fn name(&self) -> &'static str {
        type_name::<S>()
    }

    fn keep_work_of(&self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<(), RpcError> {
        Service::keep_work_of(self, tx, device)
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

    /// Lets all services keep what a device has asked for, in the transaction that revokes it.
    ///
    /// # Errors
    /// The first of theirs; −32603 if one panicked.
    pub(crate) fn keep_work_of(&self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<(), RpcError> {
        let mut all = self.0.iter();
        all.try_for_each(|hook| {
            guarded(|| hook.keep_work_of(tx, device)).inspect_err(|error| {
                warn!(service = hook.name(), %error, "what a revoked device asked for is not kept");
            })
        })
    }

    /// Lets all services end what a revoked device has asked for; returns how much that was. They
    /// go on to their end, also if nobody waits any more.
    ///
    /// # Errors
    /// The first of theirs, once all have returned; −32603 if one panicked; `timeout` if one is not
    /// done after [`REVOKING`].
    pub(crate) async fn end_work_of(&self, device: &RevokedDevice) -> Result<u64, RpcError> {
        let told = self.0.iter().map(|hook| {
            let telling = Arc::clone(hook).end_work_of(device.clone());
            let ending = tokio::spawn(contained(hook.name(), telling));
            async {
                match timeout(REVOKING, ending).await {
                    Ok(Ok(Ok(ended))) => ended,
                    Ok(Ok(Err(panicked))) => Err(panicked),
                    Ok(Err(stopped)) => Err(RpcError::internal(stopped.to_string())),
                    Err(_) => Err(still_ending(hook.name())),
                }
            }
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
        let ends = ends.map(|hook| contained(hook.name(), Arc::clone(hook).shutdown()));
        join_all(ends).await;
    }

    /// Lets those end that have started, because another one does not.
    pub(crate) async fn give_up(&self) {
        if timeout(ENDING, self.shutdown()).await.is_err() {
            warn!("some services did not end in time");
        }
    }

    /// Who has started a process; `None`: no service. `asked` holds the service that is asked.
    pub(crate) fn starter(&self, process: &Process<'_>, asked: &Asked) -> Option<Starter> {
        self.0.iter().find_map(|hook| {
            asked.note(hook.name());
            let told = guarded(|| Ok(hook.has_started(process)));
            told.map_err(|_| CannotTell).transpose()
        })
    }
}

/// Awaits a service; a panic is an error (−32603), which is logged.
async fn contained<R>(
    service: &'static str,
    telling: impl Future<Output = R>,
) -> Result<R, RpcError> {
    let told = AssertUnwindSafe(telling).catch_unwind().await;
    told.map_err(|_| {
        warn!(service, "a service panicked when it was told something");
        panicked()
    })
}

fn still_ending(service: &'static str) -> RpcError {
    warn!(
        service,
        "a service still ends what a revoked device has asked for"
    );
    RpcError::new(
        RpcReason::Timeout,
        format!(
            "a service has not ended it within {} s, and goes on",
            REVOKING.as_secs()
        ),
    )
}

async fn follow_lock(hook: &Arc<dyn Hook>, mut lock: watch::Receiver<Option<UnixMillis>>) {
    while lock.changed().await.is_ok() {
        loop {
            let is_locked = lock.borrow_and_update().is_some();
            let telling = contained(hook.name(), Arc::clone(hook).lock_changed(is_locked));
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
