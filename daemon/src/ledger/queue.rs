//! The bounded queue of jobs before the ledger's thread.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::core::{Core, WriteJob};

/// One thing to do on the ledger's thread.
pub(super) enum Job {
    /// Reads, or changes memory only. Runs before the turn's transactions, on the state as committed.
    Now(Box<dyn FnOnce(&mut Core) + Send>),
    /// Has a transaction of its own, in its place among the writing jobs.
    Solo(Box<dyn FnOnce(&mut Core) + Send>),
    /// Shares the turn's transaction.
    Write(Box<dyn WriteJob>),
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// Too many wait.
    Full,
    /// The ledger has stopped.
    Stopped,
}

/// Shared by every handle and the thread.
pub(super) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    waiting: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Adds a job, if there is room.
    pub(super) fn push(&self, job: Job) -> Result<(), PushError> {
        let state = self.lock();
        if state.jobs.len() >= self.capacity && !state.closed {
            return Err(PushError::Full);
        }
        self.add(state, job)
    }

    /// Adds a job that must not be lost. Only for what is bounded by itself: one detach a connection, one
    /// shutdown.
    pub(super) fn push_always(&self, job: Job) -> Result<(), PushError> {
        self.add(self.lock(), job)
    }

    fn add(&self, mut state: MutexGuard<'_, State>, job: Job) -> Result<(), PushError> {
        if state.closed {
            return Err(PushError::Stopped);
        }
        state.jobs.push_back(job);
        let waiting = state.waiting;
        drop(state);
        if waiting {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves up to `max` jobs to `out`, waiting for the first one at most `timeout`. `false` once the queue
    /// is closed and empty.
    pub(super) fn drain(&self, out: &mut Vec<Job>, max: usize, timeout: Option<Duration>) -> bool {
        let mut state = self.lock();
        if state.jobs.is_empty() && !state.closed {
            state.waiting = true;
            state = match timeout {
                Some(timeout) => {
                    self.wake
                        .wait_timeout(state, timeout)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            state.waiting = false;
        }
        let count = state.jobs.len().min(max);
        out.extend(state.jobs.drain(..count));
        count > 0 || !state.closed
    }

    /// Jobs waiting.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Takes no more jobs; what waits is still drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes no more jobs and drops those that wait: their callers learn that the ledger has stopped.
    pub(super) fn close_and_clear(&self) {
        let mut state = self.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing runs under this lock that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
