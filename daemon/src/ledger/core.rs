//! The ledger's thread: batches of jobs, commits, publication.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bowline_machines::MonotonicTime;
use bowline_protocol::{RpcReason, error::RpcError, model::UnixMillis};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::{
    audit::RefusedAttempts,
    counters::{Counters, count},
    health::Health,
    live::Live,
    lived::Lived,
    pairing::Pairings,
    queue::{Job, Queue},
    replay::frame,
    starts::Starts,
    storage::StorageLimit,
    ticks::Ticks,
    tx::{Caller, Publication, Reader, Staged, Tx},
    types::{LedgerOptions, SessionRef},
};
use crate::store::{self, fault, sql::run};

/// Jobs of one batch. Further jobs wait for the next batch, which bounds the length of a
/// transaction.
const BATCH: usize = 256;

/// Shortest pause that a client is asked for while its account is full.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The state of the ledger's thread.
pub(super) struct Core {
    pub(super) conn: Connection,
    pub(super) live: Live,
    pub(super) options: LedgerOptions,
    pub(super) counters: Arc<Counters>,
    pub(super) queue: Arc<Queue>,
    pub(super) lived: Lived,
    pub(super) starts: Starts,
    pub(super) health: Health,
    pub(super) pairings: Pairings,
    pub(super) refused: RefusedAttempts,
    /// When ended pairings of connected devices are next looked for.
    pub(super) expiry_at: Option<MonotonicTime>,
    /// Tells since when the daemon is locked.
    pub(super) locked: Arc<watch::Sender<Option<UnixMillis>>>,
    /// Tells of a device that was paired or revoked.
    pub(super) devices: Arc<watch::Sender<()>>,
    /// When deferred writes are due.
    pub(super) lazy_at: Option<MonotonicTime>,
    /// When the next sweep of old intents is due.
    pub(super) sweep_at: MonotonicTime,
    /// Services look after what they keep, see [`super::Ledger::ticks`].
    pub(super) ticks: Ticks,
    /// Callers that wait for the shutdown.
    pub(super) stopping: Vec<oneshot::Sender<()>>,
}

/// A job that changes something; the change is committed between its two methods.
pub(super) trait WriteJob: Send {
    /// Runs the job; an error undoes its changes.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), RpcError>;
    /// Replies. An error means that the commit failed and nothing was changed.
    fn finish(self: Box<Self>, committed: Result<(), RpcError>);
}

/// The usual writing job: a closure and the channel for its result.
pub(super) struct Writing<F, R> {
    pub(super) work: Option<F>,
    pub(super) result: Option<Result<R, RpcError>>,
    pub(super) reply: oneshot::Sender<Result<R, RpcError>>,
}

impl<F, R> WriteJob for Writing<F, R>
where
    F: FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send,
    R: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), RpcError> {
        let result = match self.work.take() {
            Some(work) => {
                let whole = |tx: &mut Tx<'_>| {
                    let result = work(tx)?;
                    tx.tell_changes()?;
                    Ok(result)
                };
                guarded(|| whole(tx)).map_err(|error| tx.storage_limit.explain(tx.conn, error))
            }
            None => Err(RpcError::internal("a job ran twice")),
        };
        let kept = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        kept
    }

    fn finish(self: Box<Self>, committed: Result<(), RpcError>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(result)), Ok(())) => Ok(result),
            (None, Ok(())) => Err(RpcError::internal("a job did not run")),
        };
        // If the caller is gone, only the reply is lost.
        let _ = self.reply.send(result);
    }
}

/// Runs a job's own code. A panic in a service fails that request, not the daemon.
pub(crate) fn guarded<R>(work: impl FnOnce() -> Result<R, RpcError>) -> Result<R, RpcError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

/// The error of a request whose code panicked.
pub(crate) fn panicked() -> RpcError {
    tracing::error!("a request's code panicked");
    RpcError::internal("the request's code panicked")
}

/// Fails all waiting callers when the thread ends, even by a panic.
struct FailWaiting(Arc<Queue>);

impl Drop for FailWaiting {
    fn drop(&mut self) {
        self.0.close_and_clear();
    }
}

impl Core {
    /// The main loop of the thread.
    pub(super) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let _guard = FailWaiting(Arc::clone(&queue));
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.drain(&mut jobs, BATCH, self.next_wait()) {
            self.run_batch(&mut jobs);
            if !self.stopping.is_empty() {
                break;
            }
            self.upkeep();
        }
        // Callers get the error that the ledger has stopped from here on.
        queue.close_and_clear();
        self.write_lazily();
        let _ = self.transact(|core| core.lived.save(&core.conn));
        if let Err(error) = store::checkpoint(&self.conn) {
            tracing::warn!(%error, "no checkpoint at shutdown; the next start makes it");
        }
        let stopping = std::mem::take(&mut self.stopping);
        drop(self);
        for waiting in stopping {
            let _ = waiting.send(());
        }
    }

    /// Runs one batch: first the reading jobs, then the writing jobs in order.
    fn run_batch(&mut self, jobs: &mut Vec<Job>) {
        let mut writes = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match job {
                Job::Now(work) => work(self),
                other => writes.push(other),
            }
        }
        let mut group = Vec::with_capacity(writes.len());
        for job in writes {
            match job {
                Job::Write(job) => group.push(job),
                Job::Solo(work) | Job::Now(work) => {
                    self.commit_group(&mut group);
                    work(self);
                }
            }
        }
        self.commit_group(&mut group);
    }

    /// Runs jobs in one transaction, commits, publishes events, replies.
    pub(super) fn commit_group(&mut self, group: &mut Vec<Box<dyn WriteJob>>) {
        if group.is_empty() {
            return;
        }
        let mut staged = Staged::default();
        let start = self.live.mark();
        let began = Instant::now();
        let changes = self.conn.total_changes();
        let outcome = self.run_group(group, &mut staged);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.commit_times.note(micros);
        match &outcome {
            Ok(refused) => {
                match refused {
                    Some(error) => self.note_failure(error),
                    None => self.note_success(changes),
                }
                count(&self.counters.commits);
                let jobs = u64::try_from(group.len()).unwrap_or(u64::MAX);
                self.counters.commit_jobs.note(jobs);
                self.counters.writes.fetch_add(jobs, Ordering::Relaxed);
                self.live.settle();
                for publication in staged.publications {
                    self.publish(publication);
                }
                for action in staged.actions {
                    action();
                }
                if !self.live.dead_events.is_empty() {
                    self.put_off();
                }
            }
            Err(error) => {
                self.note_failure(error);
                tracing::debug!(jobs = group.len(), %error, "a batch was rolled back");
                self.live.roll_back(start);
            }
        }
        for job in group.drain(..) {
            job.finish(outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        }
    }

    fn run_group(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        staged: &mut Staged,
    ) -> Result<Option<RpcError>, RpcError> {
        let mut refused = None;
        let now = self.options.clock.unix_millis();
        if let Err(error) = run(&self.conn, "BEGIN IMMEDIATE", ()).map_err(fault) {
            if !store::is_unavailable(&error) {
                return Err(error);
            }
            // Jobs without writes can still run; each job with writes fails on its own.
            run(&self.conn, "BEGIN", ()).map_err(fault)?;
        }
        let mut tx = Tx {
            conn: &self.conn,
            live: &mut self.live,
            staged,
            counters: &self.counters,
            now,
            lived: self.lived.now(),
            sweep_in: self.sweep_at.since(self.options.clock.now()).max(MIN_PAUSE),
            failing: self.health.is_failing(),
            storage_limit: StorageLimit(self.options.max_pages),
            caller: Caller::default(),
        };
        for job in group {
            tx.caller = Caller::default();
            tx.staged.changes.clear();
            // The job keeps its own error. Here its changes are undone, and a disk fault is
            // recorded.
            if let Err(error) = tx.nested(|tx| job.run(tx))
                && store::is_unavailable(&error)
            {
                refused = Some(error);
            }
            if self.conn.is_autocommit() {
                return Err(refused.unwrap_or_else(|| {
                    RpcError::new(
                        RpcReason::StorageUnavailable,
                        "the daemon cannot write to its disk",
                    )
                }));
            }
        }
        if let Err(error) = run(&self.conn, "COMMIT", ()) {
            if !self.conn.is_autocommit() {
                let _ = run(&self.conn, "ROLLBACK", ());
            }
            return Err(fault(error));
        }
        Ok(refused)
    }

    /// Records a failed transaction; every failing path calls it.
    fn note_failure(&mut self, error: &RpcError) {
        count(&self.counters.failed_commits);
        if store::is_unavailable(error) {
            let now = self.options.clock.now();
            let wall = self.options.clock.unix_millis();
            self.health.failed(now, wall, error);
            // The deferred write tries again, which detects free space.
            self.put_off();
            if self.options.max_pages.is_some() {
                // Old output may be all that is in the way.
                self.ticks.tell(now);
            }
        }
    }

    /// Records a successful transaction; one without changes shows nothing about the disk.
    fn note_success(&mut self, changes_before: u64) {
        if self.conn.total_changes() != changes_before {
            self.health.written(self.options.clock.now());
        }
    }

    /// Runs a writing job at once, in a transaction of its own.
    pub(super) fn write_now<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let (reply, mut result) = oneshot::channel();
        let job = Writing {
            work: Some(work),
            result: None,
            reply,
        };
        self.commit_group(&mut vec![Box::new(job)]);
        let ran = result.try_recv();
        ran.unwrap_or_else(|_| Err(RpcError::internal("a job was not answered")))
    }

    /// Runs a transaction of its own; the changes in memory follow it.
    pub(super) fn transact<R>(
        &mut self,
        work: impl FnOnce(&Self) -> rusqlite::Result<R>,
    ) -> Result<R, RpcError> {
        let changes = self.conn.total_changes();
        let outcome = run(&self.conn, "BEGIN IMMEDIATE", ()).and_then(|()| {
            let result = work(self)?;
            run(&self.conn, "COMMIT", ())?;
            Ok(result)
        });
        if !self.conn.is_autocommit() {
            let _ = run(&self.conn, "ROLLBACK", ());
        }
        let limit = self.storage_limit();
        let outcome = outcome.map_err(|error| limit.explain(&self.conn, fault(error)));
        match &outcome {
            Ok(_) => self.note_success(changes),
            Err(error) => self.note_failure(error),
        }
        outcome
    }

    pub(super) fn reader<'a>(&'a self, session: Option<&'a SessionRef>) -> Reader<'a> {
        Reader {
            conn: &self.conn,
            live: &self.live,
            session,
            lived: self.lived.now(),
        }
    }

    /// Delivers a committed event to its sessions: the replay log and every connection.
    fn publish(&mut self, publication: Publication) {
        let Publication { body, to } = publication;
        for (id, seq) in to {
            let Some(session) = self.live.sessions.get_mut(&id) else {
                continue;
            };
            if let Some(durable) = &mut session.durable {
                durable.log.push(Arc::clone(&body));
                let first = durable.log.first_seq();
                durable.untrimmed |= durable.log.trim_to(
                    self.options.replay_bytes,
                    self.options.replay_events,
                    &mut self.live.dead_events,
                );
                let evicted = durable.log.first_seq().saturating_sub(first);
                self.counters
                    .replay_evicted
                    .fetch_add(evicted, Ordering::Relaxed);
                if evicted > 0 && session.links.is_empty() {
                    // Its client cannot resume, and may never come back.
                    self.live.unfollow_all(id);
                    continue;
                }
            }
            if session.links.is_empty() {
                continue;
            }
            let frame = frame(seq, &body.json);
            for link in &session.links {
                // A queue that overflows closes itself; the connection's task then detaches.
                if link.outbound.push(frame.clone()) {
                    count(&self.counters.frames_pushed);
                }
            }
        }
    }
}
