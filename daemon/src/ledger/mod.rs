//! The ledger: the single writer that owns the store and every session (persist, then answer).
//!
//! One OS thread runs jobs in batches. A batch runs all waiting jobs in one transaction, each job
//! in its own savepoint; after the commit it publishes events and sends replies in job order.
//! Nothing is sent before it is on disk, and there is no second writer.

mod admission;
mod attachment;
mod audit;
mod core;
mod counters;
mod data;
mod devices;
mod emit;
mod health;
mod intent;
mod live;
mod lived;
mod owner;
mod pairing;
mod queue;
mod replay;
mod restore;
mod retention;
mod starts;
mod storage;
#[cfg(test)]
mod tests;
mod topic;
mod tx;
mod types;
mod upkeep;
mod usage;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_program::metrics::HistogramSnapshot;
use bowline_protocol::{
    DeviceId, Hello, IntentId, PublicKey, Refusal, RpcReason, error::RpcError, model::UnixMillis,
};
use tokio::sync::{oneshot, watch};

use self::{
    admission::refused,
    audit::RefusedAttempts,
    core::{Core, Writing},
    counters::Counters,
    health::{FailingSince, Health},
    intent::{IntentKey, Requested},
    live::LiveSession,
    owner::{Account, Owner},
    pairing::Pairings,
    queue::{Job, PushError, Queue, Work},
    tx::Caller,
    types::Promise,
};
pub use self::{
    attachment::{Attached, Attachment},
    counters::LedgerCounters,
    data::{Blobs, MAX_KEY, MAX_VALUE, Source, Stored, Table},
    devices::Revoked,
    emit::MAX_EVENT,
    pairing::{OfferedGrant, OpenOffer, PairingRequest},
    retention::Retention,
    topic::Topic,
    tx::{Reader, Tx},
    types::{
        Admission, Audience, LedgerOptions, NewPairing, SealedRefusal, SessionCounts, SessionInfo,
        SessionRef,
    },
    usage::Quotas,
};
pub(crate) use self::{
    core::{guarded, panicked},
    usage::Usage,
};
use crate::{clock::Clock, outbound::ConnectionHandle, rpc::Answer, store};
pub use crate::{
    rpc::PAGE_BYTES,
    store::{StoreError, audit::AuditEntry, devices::DeviceInfo, offers::OfferInfo},
};

/// Pause that a device is asked for while all its requests wait that may.
const LANE_PAUSE: Duration = Duration::from_secs(1);

/// A handle to the ledger. Clones are cheap and share one ledger. After the last handle is dropped,
/// the thread finishes the waiting jobs and ends.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    failing_since: Arc<FailingSince>,
    clock: Clock,
    max_intents: u64,
    /// Jobs that may wait for one device.
    waiting: usize,
    /// Changes with the devices that ask to pair.
    pairings: Arc<watch::Sender<()>>,
    /// Since when the daemon is locked.
    locked: Arc<watch::Sender<Option<UnixMillis>>>,
    /// Changes with the paired devices.
    devices: Arc<watch::Sender<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Ledger {
    /// Opens the store, restores every session and starts the ledger's thread.
    ///
    /// # Errors
    /// [`StoreError`] names the file and says what to do; a corrupt store is never replaced.
    pub fn open(options: LedgerOptions) -> Result<Self, StoreError> {
        let path = options.path.clone();
        let vital = options.vital.clone();
        let mut conn = store::open(&options.path, &options.server_id, options.max_pages)?;
        let restored = restore::restore(&mut conn, &options)
            .map_err(|error| store::classify(&options.path, &error))?;
        let queue = Arc::new(Queue::new(options.queue, options.quotas.waiting));
        let counters = Arc::new(Counters::default());
        let health = Health::default();
        let pairings = Arc::new(watch::Sender::new(()));
        let locked_at =
            devices::locked_at(&conn).map_err(|error| store::classify(&options.path, &error))?;
        let locked = Arc::new(watch::Sender::new(locked_at));
        let devices = Arc::new(watch::Sender::new(()));
        let handle = Handle {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            failing_since: Arc::clone(&health.shown),
            clock: options.clock.clone(),
            max_intents: options.max_intents,
            waiting: options.quotas.waiting,
            pairings: Arc::clone(&pairings),
            locked: Arc::clone(&locked),
            devices: Arc::clone(&devices),
        };
        let mut live = restored.live;
        live.locked_at = locked_at;
        let core = Core {
            conn,
            live,
            lived: restored.lived,
            starts: restored.starts,
            health,
            pairings: Pairings::new(Arc::clone(&pairings)),
            refused: RefusedAttempts::default(),
            expiry_at: None,
            locked,
            devices,
            sweep_at: options.clock.now(),
            retention: retention::Upkeep::due(options.clock.now()),
            options,
            counters,
            queue,
            lazy_at: None,
            stopping: Vec::new(),
        };
        vital
            .thread("ledger", move || core.run())
            .map_err(|error| StoreError::Unavailable {
                path,
                detail: format!("no thread for it: {error}"),
            })?;
        Ok(Self(Arc::new(handle)))
    }

    /// The clock everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Counters since the start.
    pub fn counters(&self) -> LedgerCounters {
        self.0.counters.snapshot()
    }

    /// Time since which the store cannot be written, in milliseconds since the Unix epoch; `None`
    /// while it can.
    pub fn failing_since(&self) -> Option<UnixMillis> {
        self.0.failing_since.get()
    }

    /// Number of jobs that wait for the ledger's thread.
    pub fn queued(&self) -> usize {
        self.0.queue.len()
    }

    /// Histograms of commits: writing jobs per commit, and microseconds per commit.
    pub fn commit_histograms(&self) -> (HistogramSnapshot, HistogramSnapshot) {
        let counters = &self.0.counters;
        (
            counters.commit_jobs.snapshot(),
            counters.commit_times.snapshot(),
        )
    }

    /// Number of sessions.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn session_counts(&self) -> Result<SessionCounts, RpcError> {
        self.ask(Job::Now, |core| {
            let mut counts = SessionCounts::default();
            let stored = core.live.sessions.values();
            for session in stored.filter(|session| session.durable.is_some()) {
                if session.links.is_empty() {
                    counts.detached += 1;
                } else {
                    counts.attached += 1;
                }
            }
            Ok(counts)
        })
        .await
    }

    /// Checks a hello and plans its attach. Changes nothing.
    ///
    /// # Errors
    /// The refusal to answer the hello with.
    pub async fn admit(
        &self,
        device: PublicKey,
        hello: &Hello,
    ) -> Result<Admission, SealedRefusal> {
        let hello = hello.clone();
        let looked = move |core: &mut Core| {
            let admitted = core.admit(device, hello);
            if let Err(refused) = &admitted {
                core.note_refused(&device, refused.refusal.reason);
            }
            Ok(admitted)
        };
        self.ask_as(Owner::HELLOS, Job::Now, looked)
            .await
            .unwrap_or_else(|error| Err(refused(&error).into()))
    }

    /// Runs the attach planned by [`Ledger::admit`], on the client's `session.ready`: pairs the
    /// device, or creates or resumes the session and registers the connection. Everything is
    /// checked again. A probe attaches and records nothing (INV-8). Dropping the [`Attachment`]
    /// detaches.
    ///
    /// # Errors
    /// The close reason for the connection.
    pub async fn attach(
        &self,
        admission: Admission,
        connection: ConnectionHandle,
    ) -> Result<Attached, Refusal> {
        let unattached = |replay| Attached {
            attachment: None,
            replay,
        };
        if matches!(admission.promise, Promise::Probe) {
            // The device may have been revoked since the welcome.
            let checked = self.ask(Job::Now, move |core| Ok(core.check_again(&admission)));
            return match checked.await {
                Ok(outcome) => outcome.map(|_| unattached(Vec::new())),
                Err(error) => Err(refused(&error)),
            };
        }
        let owner = Owner::of(&admission.device);
        self.ask_as(owner, Job::Solo, move |core| {
            if matches!(admission.promise, Promise::Pairing) {
                return Ok(core.ask_to_pair(&admission, &connection).map(unattached));
            }
            Ok(core.attach(&admission, &connection))
        })
        .await
        .unwrap_or_else(|error| Err(refused(&error)))
    }

    /// Creates a session for a connection of the local socket. It ends with the connection and is
    /// not stored. It gets only the events of agents it subscribed to. All such sessions share one
    /// durable scope of intents, named `local`.
    ///
    /// # Errors
    /// When the ledger is overloaded or has stopped.
    pub async fn attach_local(&self, connection: ConnectionHandle) -> Result<Attachment, RpcError> {
        self.ask_as(Owner::LOCAL, Job::Now, move |core| {
            let session = core.live.local_session();
            let id = connection.id;
            core.live.insert(LiveSession {
                reference: session.clone(),
                durable: None,
                next_seq: 1,
                links: vec![connection],
                subscriptions: BTreeSet::new(),
            });
            Ok(Attachment {
                session,
                connection: id,
                queue: Arc::clone(&core.queue),
            })
        })
        .await
    }

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
        let account = session.as_ref().map(|session| session.name.account.clone());
        let (reply, result) = oneshot::channel();
        let work = move |core: &mut Core| {
            core.live.check_standing(session.as_ref())?;
            job(&core.reader(session.as_ref()))
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

    /// Runs a writing job of a request, in the lane of its device.
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

    /// Runs `effect` exactly once for this intent (BX-1), in one transaction with its outcome.
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
    ) -> Answer {
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

    /// Every session (SV-5), oldest first.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, RpcError> {
        self.ask(Job::Now, |core| {
            let mut sessions: Vec<_> = core.live.sessions.iter().collect();
            sessions.sort_unstable_by_key(|(id, _)| **id);
            Ok(sessions
                .into_iter()
                .filter_map(|(_, session)| session.info())
                .collect())
        })
        .await
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
    async fn ask<R: Send + 'static>(
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

    /// Adds a job to the lane of an account, or the daemon's own.
    fn push(&self, account: Option<&Account>, job: Job) -> Result<(), RpcError> {
        let owner = account.map_or(Owner::DAEMON, |account| account.owner);
        let pushed = self.0.queue.push(owner, job);
        pushed.map_err(|error| self.not_taken(account, error))
    }

    fn not_taken(&self, account: Option<&Account>, error: PushError) -> RpcError {
        match (error, account) {
            (PushError::Lane, Some(account)) => {
                let limit = self.0.waiting as u64;
                let what = "has as many requests waiting as it may; send it again later";
                let setting = "waiting_per_device";
                let error = account.over(RpcReason::RateLimited, setting, limit, what);
                error.after(LANE_PAUSE)
            }
            (PushError::Full | PushError::Lane, _) => RpcError::new(
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

impl LiveSession {
    fn info(&self) -> Option<SessionInfo> {
        let durable = self.durable.as_ref()?;
        Some(SessionInfo {
            number: self.reference.id.cast_unsigned(),
            external_session_key: durable.key.clone(),
            session: self.reference.log_hash(),
            device_id: DeviceId::of_public_key(&durable.device),
            state: durable.machine.state().name(),
            epoch: durable.epoch.clone(),
            next_seq: self.next_seq,
            connections: self.links.iter().map(|link| link.id).collect(),
            subscriptions: self.subscriptions.len(),
            replay_events: durable.log.len(),
            replay_bytes: durable.log.bytes(),
            created_at: durable.created_at,
            last_seen_at: durable.last_seen_at,
        })
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ledger").field(&self.counters()).finish()
    }
}
