//! The ledger's thread: turns of jobs, commits, publication.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bowline_machines::Moment;
use bowline_protocol::{RpcReason, error::RpcError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    counters::{Counters, count},
    health::{FailingSince, Health},
    live::Live,
    lived::Lived,
    queue::{Job, Queue},
    replay::frame,
    starts::Starts,
    tx::{Caller, Publication, Reader, Staged, Tx, run},
    types::{LedgerOptions, SessionRef},
};
use crate::store::{self, fault};

/// Jobs of one turn. More wait for the next, so that no caller waits for an endless transaction.
const TURN: usize = 256;

/// Everything the ledger owns.
pub(super) struct Core {
    pub(super) conn: Connection,
    pub(super) live: Live,
    pub(super) options: LedgerOptions,
    pub(super) counters: Arc<Counters>,
    pub(super) queue: Arc<Queue>,
    pub(super) lived: Lived,
    pub(super) starts: Starts,
    pub(super) health: Health,
    pub(super) failing_since: Arc<FailingSince>,
    /// When what was put off is to be written.
    pub(super) lazy_at: Option<Moment>,
    /// When old intents are to be forgotten.
    pub(super) sweep_at: Moment,
    /// Who waits for the end.
    pub(super) stopping: Vec<oneshot::Sender<()>>,
}

/// A job that changes something; the change is committed between its two halves.
pub(super) trait WriteJob: Send {
    /// Does it; an error says that its changes are not to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), RpcError>;
    /// Replies. An error says that the commit failed and nothing happened.
    fn finish(self: Box<Self>, committed: Result<(), RpcError>);
}

/// The usual writing job: a closure and where its result goes.
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
            Some(work) => guarded(|| work(tx)),
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
        // A caller that has gone away loses its reply, nothing else.
        let _ = self.reply.send(result);
    }
}

/// Runs a job's own code. A panic in an app's service is that request's failure, not the daemon's.
pub(crate) fn guarded<R>(work: impl FnOnce() -> Result<R, RpcError>) -> Result<R, RpcError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

/// What a request is told whose code panicked.
pub(crate) fn panicked() -> RpcError {
    tracing::error!("a request's code panicked");
    RpcError::internal("the request's code panicked")
}

/// However the thread ends, nobody waits for it in vain.
struct TellCallers(Arc<Queue>);

impl Drop for TellCallers {
    fn drop(&mut self) {
        self.0.close_and_clear();
    }
}

impl Core {
    /// The thread's whole life.
    pub(super) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let _told = TellCallers(Arc::clone(&queue));
        let mut jobs = Vec::with_capacity(TURN);
        while queue.drain(&mut jobs, TURN, self.next_wait()) {
            self.turn(&mut jobs);
            if !self.stopping.is_empty() {
                break;
            }
            self.upkeep();
        }
        // From here on callers are told at once that the ledger has stopped.
        queue.close_and_clear();
        self.write_lazily();
        let lived = self.lived.clone();
        let _ = self.transact(|conn| lived.save(conn));
        if let Err(error) = store::checkpoint(&self.conn) {
            tracing::warn!(%error, "no checkpoint at the end; the next start does it");
        }
        let stopping = std::mem::take(&mut self.stopping);
        drop(self);
        for waiting in stopping {
            let _ = waiting.send(());
        }
    }

    /// One turn: first what only reads, then the writing jobs in their order.
    fn turn(&mut self, jobs: &mut Vec<Job>) {
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

    /// Runs jobs in one transaction, commits, publishes, replies.
    fn commit_group(&mut self, group: &mut Vec<Box<dyn WriteJob>>) {
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
                tracing::debug!(jobs = group.len(), %error, "a turn was undone");
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
        if let Err(error) = run(&self.conn, "BEGIN IMMEDIATE").map_err(fault) {
            if !store::is_unavailable(&error) {
                return Err(error);
            }
            // What has nothing to write can be done all the same; the rest is told so one by one.
            run(&self.conn, "BEGIN").map_err(fault)?;
        }
        let mut tx = Tx {
            conn: &self.conn,
            live: &mut self.live,
            staged,
            counters: &self.counters,
            now,
            lived: self.lived.now(),
            failing: self.health.is_failing(),
            caller: Caller::default(),
        };
        for job in group {
            tx.caller = Caller::default();
            // The job keeps its own error; here it matters that its changes are undone, and whether the disk is to blame.
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
        if let Err(error) = run(&self.conn, "COMMIT") {
            if !self.conn.is_autocommit() {
                let _ = run(&self.conn, "ROLLBACK");
            }
            return Err(fault(error));
        }
        Ok(refused)
    }

    /// Every path that a transaction may fail on comes by here.
    fn note_failure(&mut self, error: &RpcError) {
        count(&self.counters.failed_commits);
        if store::is_unavailable(error) {
            let now = self.options.clock.now();
            let wall = self.options.clock.unix_millis();
            self.health.failed(now, wall, &self.failing_since, error);
            // Tries again by itself, so that it is noticed when there is space.
            self.put_off();
        }
    }

    /// A transaction has ended well; if it had nothing to write, that says nothing of the disk.
    fn note_success(&mut self, changes_before: u64) {
        if self.conn.total_changes() != changes_before {
            let now = self.options.clock.now();
            self.health.written(now, &self.failing_since);
        }
    }

    /// A transaction of its own, for a solo job; what it does in memory comes after.
    pub(super) fn transact<R>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, RpcError> {
        let changes = self.conn.total_changes();
        let outcome = run(&self.conn, "BEGIN IMMEDIATE").and_then(|()| {
            let result = work(&self.conn)?;
            run(&self.conn, "COMMIT")?;
            Ok(result)
        });
        if !self.conn.is_autocommit() {
            let _ = run(&self.conn, "ROLLBACK");
        }
        let outcome = outcome.map_err(fault);
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
        }
    }

    /// Hands a committed event to its sessions: to the replay log and to every connection.
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
            }
            if session.links.is_empty() {
                continue;
            }
            let frame = frame(seq, &body.json);
            for link in &session.links {
                // A queue that overflows closes itself; its connection's task then detaches.
                if link.outbound.push(frame.clone()) {
                    count(&self.counters.frames_pushed);
                }
            }
        }
    }
}
