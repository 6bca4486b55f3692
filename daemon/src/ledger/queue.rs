//! The bounded queue of jobs for the ledger's thread, fair among those who send them (TR-12).
//!
//! Accounts with jobs are served in turn, one job at a time, so that a job waits for at most one
//! batch and one job of every other account, however many another has sent. The jobs of an account
//! keep their order.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    core::{Core, WriteJob},
    owner::Owner,
};

/// Jobs of an account that may wait even if the whole queue is full: whoever sends little is heard.
const GUARANTEED: usize = 16;

/// The code of a job.
pub(super) type Work = Box<dyn FnOnce(&mut Core) + Send>;

/// One job for the ledger's thread.
pub(super) enum Job {
    /// Reads, or changes memory only. Runs before the batch's transactions, on the committed state.
    Now(Work),
    /// Runs in a transaction of its own, in order with the writing jobs.
    Solo(Work),
    /// Shares the batch's transaction.
    Write(Box<dyn WriteJob>),
}

/// Why a job was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// The queue is full.
    Full,
    /// As many jobs of the account wait as may.
    Account,
    /// The ledger has stopped.
    Stopped,
}

/// The queue, shared by every handle and the thread.
pub(super) struct Queue {
    capacity: usize,
    /// Waiting jobs of one account; zero = no bound but the capacity.
    share: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Of the accounts that have any.
    jobs: HashMap<Owner, VecDeque<Job>>,
    /// Those accounts in the order in which they are served.
    turns: VecDeque<Owner>,
    len: usize,
    /// Runs once nothing else waits.
    last: Vec<Job>,
    closed: bool,
    waiting: bool,
}

impl State {
    fn waiting(&self, owner: Owner) -> usize {
        self.jobs.get(&owner).map_or(0, VecDeque::len)
    }

    /// Takes a job of the account whose turn it is.
    fn take(&mut self) -> Option<Job> {
        let owner = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&owner)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        self.len = self.len.saturating_sub(1);
        job
    }
}

impl Queue {
    pub(super) fn new(capacity: usize, share: usize) -> Self {
        Self {
            capacity,
            share,
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Adds a job, if there is room for it, and for one more of its account.
    pub(super) fn push(&self, owner: Owner, job: Job) -> Result<(), PushError> {
        let state = self.lock();
        let waiting = state.waiting(owner);
        if !state.closed {
            if owner.has_quota() && self.share > 0 && waiting >= self.share {
                return Err(PushError::Account);
            }
            if state.len >= self.capacity && waiting >= GUARANTEED {
                return Err(PushError::Full);
            }
        }
        self.add(state, owner, job)
    }

    /// Adds a job that must not be lost, even over the bound. Only for jobs bounded otherwise: one
    /// detach per connection.
    pub(super) fn push_always(&self, owner: Owner, job: Job) -> Result<(), PushError> {
        self.add(self.lock(), owner, job)
    }

    /// Adds a job that runs after all others, of which no more are accepted.
    pub(super) fn push_last(&self, job: Job) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.closed && state.last.is_empty() {
            return Err(PushError::Stopped);
        }
        state.closed = true;
        state.last.push(job);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn add(
        &self,
        mut state: MutexGuard<'_, State>,
        owner: Owner,
        job: Job,
    ) -> Result<(), PushError> {
        if state.closed {
            return Err(PushError::Stopped);
        }
        let jobs = state.jobs.entry(owner).or_default();
        jobs.push_back(job);
        if jobs.len() == 1 {
            state.turns.push_back(owner);
        }
        state.len += 1;
        let waiting = state.waiting;
        drop(state);
        if waiting {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves up to `max` jobs to `out`; waits at most `timeout` for the first one. `false` once the
    /// queue is closed and empty.
    pub(super) fn drain(&self, out: &mut Vec<Job>, max: usize, timeout: Option<Duration>) -> bool {
        let mut state = self.lock();
        if state.len == 0 && !state.closed {
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
        let before = out.len();
        let room = before.saturating_add(max);
        while out.len() < room
            && let Some(job) = state.take()
        {
            out.push(job);
        }
        if state.len == 0 {
            out.append(&mut state.last);
        }
        out.len() > before || !state.closed
    }

    /// Number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.lock().len
    }

    /// Refuses further jobs; waiting jobs are still drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Refuses further jobs and drops the waiting ones; their callers get the error that the ledger
    /// has stopped.
    pub(super) fn close_and_clear(&self) {
        let mut state = self.lock();
        let cleared = std::mem::take(&mut *state);
        state.closed = true;
        drop(state);
        drop(cleared);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as Log};

    use super::*;

    /// A queue whose jobs are known by their numbers.
    struct Rig {
        queue: Queue,
        /// Dropping a job shows which it was.
        log: Arc<Log<Vec<u32>>>,
    }

    struct Tell(u32, Arc<Log<Vec<u32>>>);

    impl Drop for Tell {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    impl Rig {
        fn new(capacity: usize, share: usize) -> Self {
            Self {
                queue: Queue::new(capacity, share),
                log: Arc::default(),
            }
        }

        fn job(&self, n: u32) -> Job {
            let tell = Tell(n, Arc::clone(&self.log));
            Job::Now(Box::new(move |_| drop(tell)))
        }

        fn push(&self, owner: i64, n: u32) -> Result<(), PushError> {
            self.queue.push(Owner(owner), self.job(n))
        }

        fn drain(&self, max: usize) -> Vec<u32> {
            let mut out = Vec::new();
            self.queue.drain(&mut out, max, Some(Duration::ZERO));
            self.log.lock().unwrap().clear();
            for job in out {
                drop(job);
            }
            std::mem::take(&mut *self.log.lock().unwrap())
        }
    }

    #[test]
    fn tr_12_whoever_sends_much_waits_for_whoever_sends_little() {
        let rig = Rig::new(100, 0);
        for n in 0..10 {
            rig.push(7, n).unwrap();
        }
        rig.push(8, 80).unwrap();
        rig.push(9, 90).unwrap();
        rig.push(8, 81).unwrap();
        assert_eq!(rig.drain(5), [0, 80, 90, 1, 81]);
        assert_eq!(rig.drain(100), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(rig.queue.len(), 0);
    }

    #[test]
    fn tr_12_an_account_has_a_bound_and_a_full_queue_hears_the_quiet() {
        let rig = Rig::new(40, 30);
        for n in 0..30 {
            rig.push(7, n).unwrap();
        }
        assert_eq!(rig.push(7, 30), Err(PushError::Account));
        for n in 0..30 {
            let outcome = rig.push(8, n);
            let has_room = n < GUARANTEED as u32;
            assert_eq!(outcome.is_ok(), has_room, "{n}: {outcome:?}");
        }
        assert_eq!(rig.push(9, 0), Ok(()), "a third one is heard");
        rig.drain(100);
        assert_eq!(rig.push(7, 0), Ok(()));
    }

    #[test]
    fn the_last_job_is_the_last_and_nothing_follows_it() {
        let rig = Rig::new(100, 0);
        for n in 0..3 {
            rig.push(7, n).unwrap();
        }
        rig.queue.push_last(rig.job(99)).unwrap();
        assert_eq!(rig.push(7, 4), Err(PushError::Stopped));
        assert_eq!(rig.drain(2), [0, 1]);
        assert_eq!(rig.drain(2), [2, 99]);
        assert!(!rig.queue.drain(&mut Vec::new(), 1, None));
    }
}
