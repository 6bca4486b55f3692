//! The ledger: the single writer that owns the store and every session (persist, then answer).
//!
//! One OS thread runs jobs in batches. A batch runs all waiting jobs in one transaction, each job
//! in its own savepoint; after the commit it publishes events and sends replies in job order.
//! Nothing is sent before it is on disk, and there is no second writer.

mod admission;
mod attachment;
mod audit;
mod blobs;
mod core;
mod counters;
mod data;
mod devices;
mod emit;
mod follow;
mod handle;
mod health;
mod intent;
mod live;
mod lived;
mod log;
mod owner;
mod pairing;
mod queue;
mod replay;
mod restore;
mod starts;
mod storage;
mod subject;
#[cfg(test)]
mod tests;
mod ticks;
mod tx;
mod types;
mod upkeep;
mod usage;

use std::sync::Arc;

use bowline_program::metrics::HistogramSnapshot;
use bowline_protocol::{identity::random_bytes, model::UnixMillis};
use tokio::sync::watch;

pub use self::{
    attachment::{Attached, Attachment},
    blobs::MAX_BLOBS,
    counters::LedgerCounters,
    data::{ByteTable, Entry, MAX_KEY, MAX_VALUE, Source, Stored, Table},
    devices::Revoked,
    emit::MAX_EVENT,
    follow::Topic,
    log::{Log, LogState, MAX_ITEM},
    owner::Owner,
    pairing::{OfferedGrant, OpenOffer, PairingRequest},
    subject::Subject,
    tx::{Reader, Tx},
    types::{
        Admission, Audience, LedgerOptions, NewPairing, SealedRefusal, SessionCounts, SessionInfo,
        SessionRef,
    },
    usage::{Holding, Quotas},
};
use self::{
    audit::RefusedAttempts,
    core::Core,
    counters::Counters,
    health::{FailingSince, Health},
    pairing::Pairings,
    queue::Queue,
    ticks::Ticks,
};
pub(crate) use self::{
    blobs::{Via, blob_charge, over_all},
    core::{guarded, panicked},
    follow::{Answered, Asked, FindScope, Held, Part, Source as LiveSource, Wanted},
};
use crate::{clock::Clock, store};
pub use crate::{
    rpc::PAGE_BYTES,
    store::{StoreError, audit::AuditEntry, devices::DeviceInfo, offers::OfferInfo},
};

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
    /// Services look after what they keep.
    ticks: Arc<watch::Sender<()>>,
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
        let random = random_bytes().map_err(StoreError::Randomness)?;
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
        let ticks = Ticks::new(options.clock.now());
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
            ticks: ticks.sender(),
        };
        let mut live = restored.live;
        live.locked_at = locked_at;
        // 52 bits, so that a client in JavaScript can hold it.
        live.last_follow = u64::from_le_bytes(random) >> 12;
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
            ticks,
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
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ledger").field(&self.counters()).finish()
    }
}
