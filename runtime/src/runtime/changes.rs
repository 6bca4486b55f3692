//! Changes of files or of the list of hosts: pairing, forgetting, pausing, resuming, closing. They
//! run one at a time, on blocking threads, and complete even if the caller stops waiting.
//!
//! The requested [`Phase`] is recorded at the call, and each change acts on the phase current when
//! it runs, so that of a concurrent pause and resume the later call wins. The list of hosts is
//! locked only briefly, since UIs wait for it.

use std::{
    future::Future,
    panic::resume_unwind,
    sync::{Arc, Weak},
};

use bowline_protocol::{Offer, ServerId};

use tokio::{sync::oneshot, time::sleep};

use super::{Inner, Phase, Runtime, hosts::refused};
use crate::{
    blocking::blocking,
    client::Cursor,
    error::PairError,
    pairing,
    registry::{self, HostRecord},
    settings::REGISTRY_LOOK,
    storage::StorageError,
};

impl Runtime {
    /// Pairs with the daemon of an offer and adds it as a host, with every address of the offer.
    /// Returns once the daemon has proved its identity and its owner has accepted this device
    /// (TR-3); [`crate::Snapshot::pairings`] shows the code to compare meanwhile. Dropping the
    /// future gives up.
    ///
    /// An offer works once. A host that has proved itself is therefore kept even if this call is
    /// cancelled then; if the runtime is paused meanwhile, the host is stored, and the call
    /// returns, on resume.
    ///
    /// # Errors
    /// [`PairError`]; nothing is stored then. While the runtime is paused it is
    /// [`StorageError::Paused`] and nothing is tried. An offer for a known host with another key is
    /// [`PairError::KeyChanged`], and nothing is sent (TR-1).
    pub async fn pair(&self, offer: &Offer) -> Result<HostRecord, PairError> {
        let mut phase = self.inner.phase.subscribe();
        self.inner.check_running().map_err(refused)?;
        let context = &self.inner.context;
        let mut record = HostRecord::from_offer(offer);
        if let Some(known) = self.known(&offer.server_id)
            && known.transport_key != offer.transport_key
        {
            return Err(PairError::KeyChanged { name: known.name });
        }
        let dialers = record
            .addresses
            .iter()
            .filter(|address| context.allows(address))
            .map(|address| {
                let dialer = context.dialer(&record, address, Cursor::default());
                (address.clone(), dialer)
            })
            .collect();
        let paired = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => return Err(PairError::Closed),
            paired = pairing::pair(offer, dialers, &context.hub) => paired?,
        };
        record.psk = Some(paired.psk);
        if !paired.name.is_empty() {
            record.name = paired.name;
        }
        self.keep(record).await
    }

    /// The record of a known host.
    fn known(&self, server_id: &ServerId) -> Option<HostRecord> {
        let hosts = self.inner.hosts();
        hosts.known.get(server_id).map(|known| known.record.clone())
    }

    /// Stores a proved host, now or on resume. Holds no strong reference to the runtime, which
    /// would keep it alive.
    fn keep(
        &self,
        record: HostRecord,
    ) -> impl Future<Output = Result<HostRecord, PairError>> + Send + use<> {
        let mut phase = self.inner.phase.subscribe();
        let runtime = Arc::downgrade(&self.inner);
        let keeping = self.inner.executor.spawn(async move {
            loop {
                // An error means that the runtime has ended.
                let running = phase.wait_for(|phase| *phase != Phase::Paused).await;
                running.map_err(|_| PairError::Closed)?;
                let inner = runtime.upgrade().ok_or(PairError::Closed)?;
                let kept = {
                    let record = record.clone();
                    Self { inner }.change(move |inner| inner.keep(record))
                };
                match kept.await {
                    None => return Err(PairError::Closed),
                    Some(Err(PairError::Storage(StorageError::Paused))) => {}
                    Some(kept) => return kept.map(|()| record),
                }
            }
        });
        async move { keeping.await.unwrap_or(Err(PairError::Closed)) }
    }

    /// Forgets a host: its key, its addresses and its pending intents. True if it was known.
    ///
    /// # Errors
    /// The registry cannot be written; the host then stays known. [`StorageError::Paused`] while
    /// paused, [`StorageError::Closed`] after a close.
    pub async fn forget(&self, server_id: &ServerId) -> Result<bool, StorageError> {
        self.inner.check_running()?;
        let server_id = server_id.clone();
        let forgotten = self.change(move |inner| {
            inner.check_running()?;
            registry::remove(inner.context.storage.as_ref(), &server_id)?;
            Ok(inner.remove(&server_id))
        });
        forgotten.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Prepares for suspension of the app: waits for pending writes and releases every file and
    /// lock, so that the system has no reason to end the app (LS-14). Connections stay as long as
    /// the system allows. Until [`Runtime::resume`] nothing is written: intents, pairing and
    /// forgetting are refused with [`StorageError::Paused`].
    ///
    /// Starts with the call, not with the first poll: of a concurrent pause and resume the later
    /// call wins.
    pub fn pause(&self) -> impl Future<Output = ()> + Send + use<> {
        self.want(Phase::Paused);
        let runtime = self.clone();
        let paused = self.change(Inner::pause);
        async move {
            paused.await;
            if runtime.is_closed() {
                // Stopping drivers may have files open until they have ended.
                runtime.close().await;
            }
        }
    }

    /// Resumes after a suspension: opens files and locks, and checks every connection at once. Also
    /// picks up changes of other processes on the same profile: paired and forgotten hosts, and
    /// intents left behind. Starts with the call, like [`Runtime::pause`].
    ///
    /// # Errors
    /// [`StorageError`] of the registry, or of the first host whose outbox could not be opened.
    /// Such a host refuses intents ([`StorageError::Unavailable`]) until a retry succeeds, every
    /// few seconds. [`StorageError::Paused`] if a later pause came before the end,
    /// [`StorageError::Closed`] after a close.
    pub fn resume(&self) -> impl Future<Output = Result<(), StorageError>> + Send + use<> {
        self.want(Phase::Running);
        let resumed = self.change(Inner::resume);
        async move { resumed.await.unwrap_or(Err(StorageError::Closed)) }
    }

    /// Ends every connection, pairing and subscription, and waits until the drivers have ended, a
    /// few seconds at most. Intents without an outcome stay stored. Every later call reports that
    /// the runtime is closed; another close waits for the same end.
    pub async fn close(&self) {
        // The last chance to store new names.
        if self.inner.check_running().is_ok() && !self.inner.renamed().is_empty() {
            let stored =
                self.change(|inner| inner.check_running().and_then(|()| inner.store_names()));
            if let Some(Err(error)) = stored.await {
                tracing::debug!(%error, "a daemon's new name is not stored");
            }
        }
        {
            let mut hosts = self.inner.hosts();
            self.inner.phase.send_replace(Phase::Closed);
            for known in std::mem::take(&mut hosts.known).into_values() {
                // Without `forget` this touches no file.
                known.host.stop(false);
                hosts.note_ending(&known.host);
            }
        }
        // Waits for the running change; none follows it.
        let _changes = self.inner.changes.lock().await;
        let ending = self.inner.hosts().ending.clone();
        for mut stopped in ending {
            // A driver's end is bounded by its own deadlines. A dropped sender also means that it
            // has ended.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        // The next runtime on the folder takes it over.
        self.inner.context.cache.pause();
        self.inner.context.hub.close();
    }

    /// Records the requested phase. A closed runtime stays closed.
    fn want(&self, wanted: Phase) {
        let _hosts = self.inner.hosts();
        self.inner.phase.send_if_modified(|phase| {
            let is_new = *phase != Phase::Closed && *phase != wanted;
            if is_new {
                *phase = wanted;
            }
            is_new
        });
    }

    /// Starts a change after earlier ones. `None` if the executor is gone.
    fn change<T, W>(&self, work: W) -> impl Future<Output = Option<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Inner) -> T + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let executor = inner.executor.clone();
        let changed = executor.spawn(async move {
            let changing = Arc::clone(&inner.changes).lock_owned().await;
            let work = move || {
                let done = work(&inner);
                drop(changing);
                done
            };
            let (told, hears) = oneshot::channel();
            let started = blocking(move || {
                // The caller may have stopped waiting.
                let _ = told.send(work());
            });
            // Without a thread it runs as soon as one is available.
            if let Some(working) = started {
                working.await?;
            }
            Ok(hears.await.ok())
        });
        async move {
            match changed.await.and_then(|done| done) {
                Ok(done) => done,
                Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                Err(_) => None,
            }
        }
    }
}

/// Picks up hosts that other processes on the same folder pair or forget, within seconds (C51).
/// Ends with the runtime. `stamp` is that of the registry as last read.
pub(super) async fn follow_registry(runtime: Weak<Inner>, mut stamp: u128) {
    loop {
        sleep(REGISTRY_LOOK).await;
        let Some(inner) = runtime.upgrade() else {
            return;
        };
        let phase = *inner.phase.borrow();
        match phase {
            Phase::Running => {}
            // A resume rereads the registry itself.
            Phase::Paused => continue,
            Phase::Closed => return,
        }
        let storage = Arc::clone(&inner.context.storage);
        let Some(looked) = blocking(move || storage.stamp(registry::FILE)) else {
            continue;
        };
        let Ok(Some(now)) = looked.await else {
            continue;
        };
        if now == stamp && inner.renamed().is_empty() {
            continue;
        }
        let taken = Runtime { inner }.change(|inner| {
            inner.check_running()?;
            inner.reread()?;
            inner.store_names()
        });
        match taken.await {
            Some(Ok(())) => stamp = now,
            // Retried.
            Some(Err(error)) => tracing::debug!(%error, "the list of hosts cannot be read"),
            None => return,
        }
    }
}
