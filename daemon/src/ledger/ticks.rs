//! Tells services when to look after what they keep, and of a store that comes near its limit
//! (TR-12).

use std::{sync::Arc, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::error::RpcError;
use tokio::sync::watch;

use super::{
    Ledger, Tx,
    core::Core,
    queue::Job,
    storage::{PAGE, full, used},
};
use crate::store::{self, fault};

/// Time between two ticks.
const INTERVAL: Duration = Duration::from_secs(60);
/// Part of the database's limit that services keep free by dropping what is old: an eighth, begun
/// when less than a sixteenth is free.
const FREE: u32 = 8;
/// Pages by which a job that frees space may grow a database at its limit, for what it notes.
const GROWTH: u32 = 16;

/// When services are told next.
#[derive(Debug)]
pub(super) struct Ticks {
    at: MonotonicTime,
    sender: Arc<watch::Sender<()>>,
}

impl Ticks {
    pub(super) fn new(at: MonotonicTime) -> Self {
        Self {
            at,
            sender: Arc::new(watch::Sender::new(())),
        }
    }

    pub(super) fn sender(&self) -> Arc<watch::Sender<()>> {
        Arc::clone(&self.sender)
    }

    pub(super) const fn due(&self) -> MonotonicTime {
        self.at
    }

    /// Tells them now.
    pub(super) fn tell(&mut self, now: MonotonicTime) {
        self.at = now + INTERVAL;
        self.sender.send_replace(());
    }
}

impl Core {
    /// Bytes to free for the database to stay below its limit, if it comes near.
    fn storage_pressure(&self) -> Result<Option<u64>, RpcError> {
        let Some(limit) = self.options.max_pages else {
            return Ok(None);
        };
        let pages = store::pages(&self.conn).map_err(fault)?;
        let used = pages.saturating_sub(store::free_pages(&self.conn).map_err(fault)?);
        let most = limit - limit / FREE;
        let is_near = used > limit - limit / (2 * FREE);
        Ok(is_near.then(|| u64::from(used - most) * PAGE))
    }
}

impl Ledger {
    /// Changes when a service should look after what it keeps, such as what has become too old:
    /// once a minute by the ledger's clock, and when a write has failed at a limit of the
    /// database's size ([`Ledger::storage_pressure`]). The work is done in short jobs, so that
    /// others run between them.
    pub fn ticks(&self) -> watch::Receiver<()> {
        self.0.ticks.subscribe()
    }

    /// Bytes that services should free for the database to stay well below its limit
    /// (`limits.storage_limit`); `None` while it is not near.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn storage_pressure(&self) -> Result<Option<u64>, RpcError> {
        self.ask(Job::Now, |core| core.storage_pressure()).await
    }

    /// Runs a writing job of the daemon itself that frees space: it also runs in a database that is
    /// at its limit, within a reserve. It must be short.
    ///
    /// # Errors
    /// As [`Ledger::write`]; `storage_unavailable` if the database is at its limit and the job
    /// needs more than 16 pages of 4 KiB.
    pub async fn write_freeing<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let freeing = |core: &mut Core| {
            let limit = core.options.max_pages;
            core.write_now(move |tx| {
                let before = used(tx)?;
                let result = job(tx)?;
                let after = used(tx)?;
                if limit.is_some_and(|limit| after > limit.max(before.saturating_add(GROWTH))) {
                    return Err(fault(full()));
                }
                Ok(result)
            })
        };
        self.ask(Job::Solo, |core| core.with_reserve(freeing)).await
    }
}
