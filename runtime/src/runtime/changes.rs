//! What changes files or the list of hosts: pairing, forgetting, pausing, resuming, closing. One at a time, where waiting is
//! allowed, and through to its end even if its caller stops waiting.
//!
//! What the app wants ([`Phase`]) is noted when it says so and each change acts on what is wanted then, so that a pause and a
//! resume at the same time end as the later of them says. The list of hosts is locked for moments only: UIs wait for it.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::resume_unwind,
    sync::{Arc, Weak},
};

use bowline_protocol::{Offer, ServerId};

use tokio::{sync::oneshot, time::sleep};

use super::{Hosts, Inner, Known, Phase, Runtime};
use crate::{
    blocking::blocking,
    client::Cursor,
    error::PairError,
    host::Host,
    pairing,
    registry::{self, HostRecord},
    settings::REGISTRY_LOOK,
    storage::StorageError,
};

impl Runtime {
    /// Pairs with the daemon of an offer and adds it as a host, with every address of the offer. Returns once
    /// the daemon has proved its identity and taken this device.
    ///
    /// An offer works once. So a host that has proved itself is kept even if this call is given up then, and if the runtime is
    /// paused meanwhile it is stored, and this returns, when it is resumed.
    ///
    /// # Errors
    /// [`PairError`]; nothing is stored then. While the runtime is paused it is [`StorageError::Paused`] and nothing is tried.
    pub async fn pair(&self, offer: &Offer) -> Result<HostRecord, PairError> {
        let mut phase = self.inner.phase.subscribe();
        self.inner.check_running().map_err(refused)?;
        let context = &self.inner.context;
        let mut record = HostRecord::from_offer(offer);
        let dialers = record
            .addresses
            .iter()
            .filter(|address| context.allows(address))
            .map(|address| {
                let mut dialer = context.dialer(&record, address, Cursor::default());
                dialer.pairing_token = Some(offer.token.to_string());
                (address.clone(), dialer)
            })
            .collect();
        let name = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => return Err(PairError::Closed),
            paired = pairing::pair(dialers) => paired?,
        };
        if !name.is_empty() {
            record.name = name;
        }
        self.keep(record).await
    }

    /// Stores a proved host, now or when the runtime is resumed. Not with a hold on the runtime: that would keep it alive.
    fn keep(
        &self,
        record: HostRecord,
    ) -> impl Future<Output = Result<HostRecord, PairError>> + Send + use<> {
        let mut phase = self.inner.phase.subscribe();
        let runtime = Arc::downgrade(&self.inner);
        let keeping = self.inner.executor.spawn(async move {
            loop {
                // An error means that the runtime is gone.
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

    /// Forgets a host: its key, its addresses and the intents that wait for it. True if it was known.
    ///
    /// # Errors
    /// When the registry cannot be written; the host is then still known. [`StorageError::Paused`] in a pause,
    /// [`StorageError::Closed`] after a close.
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

    /// The app is about to be suspended: waits for what is being written and lets go of every file and lock, so that the
    /// system has no reason to end the app (lesson 14). Connections stay as long as the system lets them. Until
    /// [`Runtime::resume`] nothing is written: intents, pairing and forgetting are refused with [`StorageError::Paused`].
    ///
    /// It begins with the call, not when it is first waited for: of a pause and a resume at the same time the one called last
    /// counts.
    pub fn pause(&self) -> impl Future<Output = ()> + Send + use<> {
        self.want(Phase::Paused);
        let runtime = self.clone();
        let paused = self.change(Inner::pause);
        async move {
            paused.await;
            if runtime.is_closed() {
                // Its drivers may have files open until they have ended.
                runtime.close().await;
            }
        }
    }

    /// The app runs again: takes up files and locks, and looks after every connection at once. What another process on the
    /// same profile did meanwhile is taken into account: hosts that it paired or forgot, and intents that it left behind.
    /// Begins with the call, as [`Runtime::pause`] does.
    ///
    /// # Errors
    /// [`StorageError`] of the registry, or of the first host whose outbox could not be opened. Such a host takes no intents
    /// ([`StorageError::Unavailable`]) until that works, which is tried every few seconds. [`StorageError::Paused`] when a
    /// later pause came before this was through, [`StorageError::Closed`] after a close.
    pub fn resume(&self) -> impl Future<Output = Result<(), StorageError>> + Send + use<> {
        self.want(Phase::Running);
        let resumed = self.change(Inner::resume);
        async move { resumed.await.unwrap_or(Err(StorageError::Closed)) }
    }

    /// Ends every connection, pairing and subscription, and waits until the drivers are done, a few seconds at most. Intents
    /// without an outcome stay kept. Every later call says that the runtime is closed; another close waits for the same end.
    pub async fn close(&self) {
        // A program that ends soon would never get to it otherwise.
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
                // Without forgetting this touches no file.
                known.host.stop(false);
                hosts.note_ending(&known.host);
            }
        }
        // What is being changed comes to its end; nothing is changed after it.
        let _changes = self.inner.changes.lock().await;
        let ending = self.inner.hosts().ending.clone();
        for mut stopped in ending {
            // A driver's end is bounded by its own deadlines. One that is gone with its executor has ended too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        self.inner.context.hub.close();
    }

    /// Notes what the app wants. What is closed stays so.
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

    /// Begins a change after those that have begun. `None` when the executor is gone.
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
                // Whoever asked may have stopped waiting.
                let _ = told.send(work());
            });
            // Without one, it is done as soon as there is a thread for it.
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

/// Takes over what other processes on the same folder pair and forget, seconds after they did (C51). Ends with the runtime.
/// `stamp` is of the registry as it was read.
pub(super) async fn follow_registry(runtime: Weak<Inner>, mut stamp: u128) {
    loop {
        sleep(REGISTRY_LOOK).await;
        let Some(inner) = runtime.upgrade() else {
            return;
        };
        let phase = *inner.phase.borrow();
        match phase {
            Phase::Running => {}
            // A resume looks itself.
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
            // Looked at again.
            Some(Err(error)) => tracing::debug!(%error, "the list of hosts cannot be read"),
            None => return,
        }
    }
}

/// Why a pairing is refused when files may not be changed.
fn refused(error: StorageError) -> PairError {
    match error {
        StorageError::Closed => PairError::Closed,
        error => PairError::Storage(error),
    }
}

impl Hosts {
    /// Keeps in mind that a driver is ending.
    fn note_ending(&mut self, host: &Host) {
        self.ending.retain(|stopped| !*stopped.borrow());
        self.ending.push(host.stopped());
    }
}

/// All of these are changes: one at a time, and they may take long.
impl Inner {
    /// Whether files may be changed.
    fn check_running(&self) -> Result<(), StorageError> {
        match *self.phase.borrow() {
            Phase::Running => Ok(()),
            Phase::Paused => Err(StorageError::Paused),
            Phase::Closed => Err(StorageError::Closed),
        }
    }

    fn keep(&self, record: HostRecord) -> Result<(), PairError> {
        self.check_running().map_err(refused)?;
        registry::add(self.context.storage.as_ref(), &record)?;
        if self.update(&record) {
            return Ok(());
        }
        let server_id = record.server_id.clone();
        let started = self.start(record);
        // A runtime that was closed meanwhile has stored it for the next one; a host that cannot be is not kept.
        if let Err(error) = &started
            && !matches!(error, StorageError::Closed)
            && let Err(error) = registry::remove(self.context.storage.as_ref(), &server_id)
        {
            tracing::warn!(%error, "a host that cannot be started stays stored");
        }
        started.map_err(refused)
    }

    /// Tells the driver of a host what is new about it. False when it has none.
    fn update(&self, record: &HostRecord) -> bool {
        let mut hosts = self.hosts();
        let Some(known) = hosts.known.get_mut(&record.server_id) else {
            return false;
        };
        known.record.clone_from(record);
        let record = record.clone();
        known.host.order(|orders| orders.paired = Some(record));
        true
    }

    /// Starts the driver of a host that is stored.
    fn start(&self, record: HostRecord) -> Result<(), StorageError> {
        let host = Host::start(&self.context, record.clone())?;
        let mut hosts = self.hosts();
        if *self.phase.borrow() == Phase::Closed {
            host.stop(false);
            hosts.note_ending(&host);
            return Err(StorageError::Closed);
        }
        let server_id = record.server_id.clone();
        hosts.known.insert(server_id, Known { host, record });
        Ok(())
    }

    /// Ends the driver of a host that is not stored any more. True if there was one.
    fn remove(&self, server_id: &ServerId) -> bool {
        let Some(known) = self.hosts().known.remove(server_id) else {
            return false;
        };
        self.context.hub.remove(server_id);
        known.host.stop(true);
        self.hosts().note_ending(&known.host);
        true
    }

    fn all(&self) -> Vec<Host> {
        let hosts = self.hosts();
        let known = hosts.known.values();
        known.map(|known| known.host.clone()).collect()
    }

    fn pause(&self) {
        if *self.phase.borrow() != Phase::Paused {
            // Another call came later.
            return;
        }
        for host in self.all() {
            host.pause();
        }
    }

    fn resume(&self) -> Result<(), StorageError> {
        self.check_running()?;
        // Connections do not wait for files.
        for host in self.all() {
            host.order(|orders| orders.foreground());
        }
        let mut result = self.reread();
        for host in self.all() {
            self.check_running()?;
            result = result.and(host.resume());
        }
        result
    }

    /// Hosts whose daemons call themselves otherwise than what is stored.
    fn renamed(&self) -> Vec<(ServerId, String)> {
        let snapshot = self.context.hub.subscribe().borrow().clone();
        let hosts = self.hosts();
        let shown = snapshot.hosts.iter().filter_map(|host| {
            let known = hosts.known.get(&host.server_id)?;
            let is_new = host.state == "online" && known.record.name != host.name;
            is_new.then(|| (host.server_id.clone(), host.name.clone()))
        });
        shown.collect()
    }

    /// Writes down the names that daemons were given since.
    fn store_names(&self) -> Result<(), StorageError> {
        for (server_id, name) in self.renamed() {
            registry::rename(self.context.storage.as_ref(), &server_id, &name)?;
            if let Some(known) = self.hosts().known.get_mut(&server_id) {
                known.record.name = name;
            }
        }
        Ok(())
    }

    /// Takes over the hosts as they are stored now.
    fn reread(&self) -> Result<(), StorageError> {
        // Without a registry nobody has forgotten anything.
        let Some(stored) = registry::stored(self.context.storage.as_ref())? else {
            return Ok(());
        };
        let known: BTreeMap<ServerId, HostRecord> = {
            let hosts = self.hosts();
            let known = hosts.known.iter();
            known
                .map(|(server_id, known)| (server_id.clone(), known.record.clone()))
                .collect()
        };
        for server_id in known.keys() {
            if !stored.iter().any(|record| record.server_id == *server_id) {
                self.remove(server_id);
            }
        }
        for record in stored {
            match known.get(&record.server_id) {
                Some(same) if *same == record => {}
                Some(_) => {
                    self.update(&record);
                }
                None => self.start(record)?,
            }
        }
        Ok(())
    }
}
