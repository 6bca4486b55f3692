//! The methods of the [`Ledger`]: each puts a job into the queue and waits for its result.

mod devices;
mod pairing;
mod sessions;

use std::time::Duration;

use bowline_protocol::{IntentId, RpcReason, error::RpcError};
use tokio::sync::oneshot;

use super::{
    Ledger, Reader, SessionRef, Tx,
    core::{Core, Writing, guarded},
    intent::{IntentKey, Requested},
    owner::{Account, Owner},
    queue::{Job, PushError, Work},
    tx::Caller,
};
use crate::rpc::{Answer, Reply};

/// Pause that a device is asked for while all its requests wait that may.
const LANE_PAUSE: Duration = Duration::from_secs(1);

impl Ledger {
    /// Runs a reading job on a consistent snapshot.
    ///
    /// # Errors
    /// The job's error; `overloaded` when too many jobs wait or the ledger has stopped.
    pub async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.read_as(None, job).await
    }

    /// [`Ledger::read`] for a session, which [`Reader::session`] returns.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn read_as<R: Send + 'static>(
        &self,
        session: Option<SessionRef>,
        job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let of = session.clone();
        self.now_as(session, move |core| job(&core.reader(of.as_ref())))
            .await
    }

    /// Runs a job of a session that is no transaction, in the queue of its device.
    pub(super) async fn now_as<R: Send + 'static>(
        &self,
        session: Option<SessionRef>,
        job: impl FnOnce(&mut Core) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let account = session.as_ref().map(|session| session.name.account.clone());
        let (reply, result) = oneshot::channel();
        let work = move |core: &mut Core| {
            core.live.check_standing(session.as_ref())?;
            job(core)
        };
        let work: Work = Box::new(move |core| {
            let _ = reply.send(guarded(|| work(core)));
        });
        self.push(account.as_ref(), Job::Now(work))?;
        result.await.map_err(|_| stopped())?
    }

    /// Runs a writing job; returns after its commit.
    ///
    /// # Errors
    /// Those of the job; `overloaded` when too many jobs wait, `storage_unavailable` when the
    /// commit failed. Then nothing of the job has happened.
    pub async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.write_for(Caller::default(), job).await
    }

    /// Runs a writing job of a request, in the queue of its device.
    async fn write_for<R: Send + 'static>(
        &self,
        caller: Caller,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let session = caller.session.clone();
        let account = session.as_ref().map(|session| &session.name.account);
        let work = move |tx: &mut Tx<'_>| {
            tx.live.check_standing(caller.session.as_ref())?;
            tx.caller = caller;
            job(tx)
        };
        let (reply, result) = oneshot::channel();
        let job = Job::Write(Box::new(Writing {
            work: Some(work),
            result: None,
            reply,
        }));
        self.push(account, job)?;
        result.await.map_err(|_| stopped())?
    }

    /// [`Ledger::write`] for a session, which [`Tx::session`] returns.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn write_as<R: Send + 'static>(
        &self,
        session: Option<SessionRef>,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let caller = Caller {
            session,
            intent: None,
        };
        self.write_for(caller, job).await
    }

    /// Runs `effect` exactly once for this intent (BX-1), in one transaction with its outcome, and
    /// says with which event of the session its effects are told.
    ///
    /// # Errors
    /// See [`crate::service::Request::intent`].
    pub async fn intent(
        &self,
        session: &SessionRef,
        intent_id: IntentId,
        method: &str,
        params: &str,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer + Send + 'static,
    ) -> Reply {
        let key = IntentKey::new(session, intent_id, method, params)?;
        let max_intents = self.0.max_intents;
        let caller = Caller {
            session: Some(session.clone()),
            intent: Some(intent_id),
        };
        let request = Requested::new(method, params);
        let job = move |tx: &mut Tx<'_>| tx.intent(&key, &request, max_intents, effect);
        self.write_for(caller, job).await?
    }

    /// Finishes the waiting jobs, checkpoints the store and ends the thread. Later jobs fail.
    pub async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        let job = Job::Solo(Box::new(move |core| core.stopping.push(done)));
        if self.0.queue.push_last(job).is_ok() {
            // An error means that the thread has ended already.
            let _ = wait.await;
        }
    }

    /// Runs a job of this kind for the daemon itself and waits for its result.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        kind: fn(Work) -> Job,
        work: impl FnOnce(&mut Core) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.ask_as(Owner::DAEMON, kind, work).await
    }

    async fn ask_as<R: Send + 'static>(
        &self,
        owner: Owner,
        kind: fn(Work) -> Job,
        work: impl FnOnce(&mut Core) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let (reply, result) = oneshot::channel();
        let job = kind(Box::new(move |core| {
            let _ = reply.send(guarded(|| work(core)));
        }));
        let pushed = self.0.queue.push(owner, job);
        pushed.map_err(|error| self.not_taken(None, error))?;
        result.await.map_err(|_| stopped())?
    }

    /// Adds a job to the queue of an account, or of the daemon itself.
    fn push(&self, account: Option<&Account>, job: Job) -> Result<(), RpcError> {
        let owner = account.map_or(Owner::DAEMON, |account| account.owner);
        let pushed = self.0.queue.push(owner, job);
        pushed.map_err(|error| self.not_taken(account, error))
    }

    fn not_taken(&self, account: Option<&Account>, error: PushError) -> RpcError {
        match (error, account) {
            (PushError::Account, Some(account)) => {
                let limit = self.0.waiting as u64;
                let what = "has as many requests waiting as it may; send it again later";
                let setting = "waiting_per_device";
                let error = account.over(RpcReason::RateLimited, setting, limit, what);
                error.after(LANE_PAUSE)
            }
            (PushError::Full | PushError::Account, _) => RpcError::new(
                RpcReason::Overloaded,
                "the daemon has too much to do; send it again later",
            ),
            (PushError::Stopped, _) => stopped(),
        }
    }
}

/// The error of a job that the stopped ledger did not run; the request can succeed after a restart.
fn stopped() -> RpcError {
    RpcError::new(RpcReason::Overloaded, "the daemon is shutting down")
}
