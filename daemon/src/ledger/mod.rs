//! The ledger: the single writer that owns the store and every session (architecture rules 3 and 4).
//!
//! One OS thread runs jobs in turns: what is waiting runs in one transaction, each job in a savepoint
//! of it; after the commit, in the order of the jobs, events are published and replies sent. Nothing is
//! said before it is on disk, and there is no second writer to race with.

mod admission;
mod core;
mod counters;
mod data;
mod emit;
mod health;
mod intent;
mod live;
mod lived;
mod queue;
mod replay;
mod restore;
mod starts;
#[cfg(test)]
mod tests;
mod topic;
mod tx;
mod types;
mod upkeep;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_protocol::{
    DeviceId, Hello, IntentId, PublicKey, Refusal, RpcReason, error::RpcError,
    identity::random_bytes, model::UnixMillis, offer::PairingToken,
};
use tokio::sync::oneshot;

pub(crate) use self::core::{guarded, panicked};
use self::{
    admission::refused,
    core::{Core, Writing},
    counters::Counters,
    health::{FailingSince, Health},
    intent::IntentKey,
    live::LiveSession,
    queue::{Job, PushError, Queue},
    tx::Caller,
};
pub use self::{
    counters::LedgerCounters,
    data::{Blobs, MAX_KEY, MAX_VALUE, Source, Stored, Table},
    emit::MAX_EVENT,
    topic::Topic,
    tx::{Reader, Tx},
    types::{
        Admission, Attached, Attachment, Audience, DeviceInfo, LedgerOptions, NewPairing,
        SessionCounts, SessionInfo, SessionRef,
    },
};
pub use crate::store::StoreError;
use crate::{
    clock::Clock,
    metrics::HistogramSnapshot,
    outbound::ConnectionHandle,
    service::Answer,
    store::{self, fault},
};

pub use crate::service::PAGE_BYTES;

/// A handle to the ledger; clones are cheap and all mean the same one. When the last one goes, the thread
/// ends after what is waiting is done.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    failing_since: Arc<FailingSince>,
    clock: Clock,
    max_intents: u64,
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
        let restored = restore::restore(&mut conn, &options)?;
        let queue = Arc::new(Queue::new(options.queue));
        let counters = Arc::new(Counters::default());
        let failing_since = Arc::new(FailingSince::default());
        let handle = Handle {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            failing_since: Arc::clone(&failing_since),
            clock: options.clock.clone(),
            max_intents: options.max_intents,
        };
        let core = Core {
            conn,
            live: restored.live,
            lived: restored.lived,
            starts: restored.starts,
            health: Health::default(),
            failing_since,
            sweep_at: options.clock.now(),
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

    /// What has been done so far.
    pub fn counters(&self) -> LedgerCounters {
        self.0.counters.snapshot()
    }

    /// Since when the store cannot be written, in milliseconds since the Unix epoch; `None` while it can.
    pub fn failing_since(&self) -> Option<UnixMillis> {
        self.0.failing_since.get()
    }

    /// Jobs waiting for the ledger's thread.
    pub fn queued(&self) -> usize {
        self.0.queue.len()
    }

    /// Histograms of commits: writing jobs that shared one, and how long one took in microseconds.
    pub fn commit_histograms(&self) -> (HistogramSnapshot, HistogramSnapshot) {
        let counters = &self.0.counters;
        (
            counters.commit_jobs.snapshot(),
            counters.commit_times.snapshot(),
        )
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn session_counts(&self) -> Result<SessionCounts, RpcError> {
        self.now(|core| {
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

    /// Looks at a hello and says what its attach would do. Changes nothing.
    ///
    /// # Errors
    /// The refusal to answer the hello with.
    pub async fn admit(&self, device: PublicKey, hello: &Hello) -> Result<Admission, Refusal> {
        let hello = hello.clone();
        self.now(move |core| Ok(core.admit(device, hello)))
            .await
            .unwrap_or_else(|error| Err(refused(&error)))
    }

    /// Does what was promised by [`Ledger::admit`], on the client's `session.ready`: consumes the
    /// pairing token, creates or resumes the session, registers the connection. Everything is checked
    /// again. For a probe nothing is attached or recorded (INV-8). Dropping the [`Attachment`] detaches.
    ///
    /// # Errors
    /// The reason to close the connection with.
    pub async fn attach(
        &self,
        admission: Admission,
        connection: ConnectionHandle,
    ) -> Result<Attached, Refusal> {
        if admission.is_probe() {
            return Ok(Attached {
                attachment: None,
                replay: Vec::new(),
            });
        }
        self.solo(move |core| {
            Ok(core.attach(&admission, &connection).map(|joined| Attached {
                attachment: Some(Attachment {
                    session: joined.session,
                    connection: connection.id,
                    queue: Arc::clone(&core.queue),
                }),
                replay: joined.replay,
            }))
        })
        .await
        .unwrap_or_else(|error| Err(refused(&error)))
    }

    /// Gives a connection of the local socket a session of its own that ends with it and is not stored.
    /// It gets the events of agents it subscribed to, and no others. Its intents share one durable
    /// memory under the name `local`.
    ///
    /// # Errors
    /// When the ledger is too busy or has stopped.
    pub async fn attach_local(&self, connection: ConnectionHandle) -> Result<Attachment, RpcError> {
        self.now(move |core| {
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
    /// What the job says; `overloaded` when too many jobs wait or the ledger has stopped.
    pub async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.read_as(None, job).await
    }

    /// [`Ledger::read`] for a session: [`Reader::session`] tells which.
    ///
    /// # Errors
    /// As there.
    pub async fn read_as<R: Send + 'static>(
        &self,
        session: Option<SessionRef>,
        job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.now(move |core| job(&core.reader(session.as_ref())))
            .await
    }

    /// Runs a writing job; returns after its commit.
    ///
    /// # Errors
    /// What the job says; `overloaded` when too many jobs wait or the commit failed, and then nothing of
    /// the job has happened.
    pub async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let (reply, result) = oneshot::channel();
        self.push(Job::Write(Box::new(Writing {
            work: Some(job),
            result: None,
            reply,
        })))?;
        result.await.map_err(|_| stopped())?
    }

    /// [`Ledger::write`] for a session: [`Tx::session`] tells which.
    ///
    /// # Errors
    /// As there.
    pub async fn write_as<R: Send + 'static>(
        &self,
        session: Option<SessionRef>,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.write(move |tx| {
            tx.caller = Caller {
                session,
                intent: None,
            };
            job(tx)
        })
        .await
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
        self.write(move |tx| {
            tx.caller = caller;
            tx.intent(&key, max_intents, effect)
        })
        .await?
    }

    /// Makes a one-time pairing token.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn create_pairing(&self, ttl: Duration) -> Result<NewPairing, RpcError> {
        let bytes = random_bytes().map_err(|error| RpcError::internal(error.to_string()))?;
        let token = PairingToken::from_bytes(bytes);
        let digest = token.digest();
        let expires_at = self
            .write(move |tx| {
                let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
                let expires_at = tx.now().saturating_add(ttl);
                // By the time that passes; what the clock on the wall will say is for people.
                let until = tx.lived.saturating_add(ttl);
                store::devices::add_pairing(tx.conn(), &digest, expires_at, tx.lived, until)
                    .map_err(fault)?;
                Ok(expires_at)
            })
            .await?;
        Ok(NewPairing { token, expires_at })
    }

    /// Every device ever paired, revoked ones included.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, RpcError> {
        self.read(|reader| store::devices::list(reader.conn()).map_err(fault))
            .await
    }

    /// Revokes a device, ends its sessions and cuts its live connections with `device_revoked`.
    ///
    /// # Errors
    /// `not_found`; as [`Ledger::write`].
    pub async fn revoke(&self, device: DeviceId) -> Result<(), RpcError> {
        self.solo(move |core| core.revoke(&device)).await
    }

    /// Every session (SV-5), oldest first.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, RpcError> {
        self.now(|core| {
            let mut sessions: Vec<_> = core.live.sessions.iter().collect();
            sessions.sort_unstable_by_key(|(id, _)| **id);
            Ok(sessions
                .into_iter()
                .filter_map(|(_, session)| session.info())
                .collect())
        })
        .await
    }

    /// Ends the thread after what is waiting is done, and checkpoints the store. Later jobs fail.
    pub async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        let job = Job::Solo(Box::new(move |core| core.stopping.push(done)));
        if self.0.queue.push_always(job).is_ok() {
            // An error means that the thread has ended already.
            let _ = wait.await;
        }
    }

    /// Runs a job that only reads or changes memory.
    async fn now<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let (reply, result) = oneshot::channel();
        self.push(Job::Now(Box::new(move |core| {
            let _ = reply.send(guarded(|| work(core)));
        })))?;
        result.await.map_err(|_| stopped())?
    }

    /// Runs a job that does its own transaction.
    async fn solo<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let (reply, result) = oneshot::channel();
        self.push(Job::Solo(Box::new(move |core| {
            let _ = reply.send(guarded(|| work(core)));
        })))?;
        result.await.map_err(|_| stopped())?
    }

    fn push(&self, job: Job) -> Result<(), RpcError> {
        self.0.queue.push(job).map_err(|error| match error {
            PushError::Full => RpcError::new(
                RpcReason::Overloaded,
                "the daemon has too much to do; send it again later",
            ),
            PushError::Stopped => stopped(),
        })
    }
}

/// Nothing has happened, and the same request may succeed once the daemon is back.
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
