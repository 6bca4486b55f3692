//! The hosts with a driver, and the changes that start, update and stop them.

use std::{collections::BTreeMap, time::Instant};

use bowline_machines::client::paths::HostState;
use bowline_protocol::ServerId;
use tokio::sync::watch;

use super::{Inner, Phase};
use crate::{
    error::PairError,
    host::{Flushed, Host},
    registry::{self, HostRecord},
    settings::CACHE_FLUSH,
    storage::StorageError,
};

/// The hosts with a driver.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) known: BTreeMap<ServerId, Known>,
    /// End signals of stopping drivers: true once the driver has ended.
    pub(super) ending: Vec<watch::Receiver<bool>>,
}

/// A host with its driver.
pub(super) struct Known {
    pub(super) host: Host,
    /// The stored record.
    pub(super) record: HostRecord,
}

impl Hosts {
    /// Records that a driver is stopping.
    pub(super) fn note_ending(&mut self, host: &Host) {
        self.ending.retain(|stopped| !*stopped.borrow());
        self.ending.push(host.stopped());
    }
}

/// These are all changes: one at a time, possibly slow.
impl Inner {
    /// Whether files may be changed.
    pub(super) fn check_running(&self) -> Result<(), StorageError> {
        match *self.phase.borrow() {
            Phase::Running => Ok(()),
            Phase::Paused => Err(StorageError::Paused),
            Phase::Closed => Err(StorageError::Closed),
        }
    }

    pub(super) fn keep(&self, record: HostRecord) -> Result<(), PairError> {
        self.check_running().map_err(refused)?;
        registry::add(self.context.storage.as_ref(), &record)?;
        if self.update(&record) {
            return Ok(());
        }
        let server_id = record.server_id.clone();
        let started = self.start(record);
        // If the runtime was closed meanwhile, the host is stored for the next one; a host that
        // cannot be stored is dropped.
        if let Err(error) = &started
            && !matches!(error, StorageError::Closed)
            && let Err(error) = registry::remove(self.context.storage.as_ref(), &server_id)
        {
            tracing::warn!(%error, "a host that cannot be started stays stored");
        }
        started.map_err(refused)
    }

    /// Sends a host's driver its new record. False if it has no driver.
    fn update(&self, record: &HostRecord) -> bool {
        let mut hosts = self.hosts();
        let Some(known) = hosts.known.get_mut(&record.server_id) else {
            return false;
        };
        known.record.clone_from(record);
        let record = record.clone();
        known.host.set(|control| control.paired = Some(record));
        true
    }

    /// Starts the driver of a stored host.
    fn start(&self, record: HostRecord) -> Result<(), StorageError> {
        let opened = Host::open(&self.context, &record)?;
        // Before the lock is released, a snapshot shows the host: whoever sees it there can use it.
        let mut hosts = self.hosts();
        let host = Host::start(&self.context, record.clone(), opened);
        if *self.phase.borrow() == Phase::Closed {
            host.stop(false);
            hosts.note_ending(&host);
            return Err(StorageError::Closed);
        }
        let server_id = record.server_id.clone();
        hosts.known.insert(server_id, Known { host, record });
        Ok(())
    }

    /// Stops the driver of a host that is no longer stored. True if there was one.
    pub(super) fn remove(&self, server_id: &ServerId) -> bool {
        let Some(known) = self.hosts().known.remove(server_id) else {
            return false;
        };
        self.context.hub.remove(server_id);
        known.host.stop(true);
        self.hosts().note_ending(&known.host);
        true
    }

    pub(super) fn all(&self) -> Vec<Host> {
        let hosts = self.hosts();
        let known = hosts.known.values();
        known.map(|known| known.host.clone()).collect()
    }

    pub(super) fn pause(&self) {
        if *self.phase.borrow() != Phase::Paused {
            // A later call replaced this one.
            return;
        }
        let hosts = self.all();
        let flushes: Vec<Flushed> = hosts.iter().map(Host::flush).collect();
        let deadline = Instant::now() + CACHE_FLUSH;
        for flushed in flushes {
            flushed.wait(deadline);
        }
        self.context.cache.pause();
        for host in hosts {
            host.pause();
        }
    }

    pub(super) fn resume(&self) -> Result<(), StorageError> {
        self.check_running()?;
        self.context.cache.resume();
        // Connections do not wait for files.
        for host in self.all() {
            host.set(|control| control.platform.foreground());
        }
        let mut result = self.reread();
        for host in self.all() {
            self.check_running()?;
            result = result.and(host.resume());
        }
        result
    }

    /// Hosts whose daemons use another name than the stored one.
    pub(super) fn renamed(&self) -> Vec<(ServerId, String)> {
        let snapshot = self.context.hub.subscribe().borrow().clone();
        let hosts = self.hosts();
        let shown = snapshot.hosts.iter().filter_map(|host| {
            let known = hosts.known.get(&host.server_id)?;
            let is_new = host.state == HostState::Online && known.record.name != host.name;
            is_new.then(|| (host.server_id.clone(), host.name.clone()))
        });
        shown.collect()
    }

    /// Stores the new names of daemons.
    pub(super) fn store_names(&self) -> Result<(), StorageError> {
        for (server_id, name) in self.renamed() {
            registry::rename(self.context.storage.as_ref(), &server_id, &name)?;
            if let Some(known) = self.hosts().known.get_mut(&server_id) {
                known.record.name = name;
            }
        }
        Ok(())
    }

    /// Applies the stored list of hosts.
    pub(super) fn reread(&self) -> Result<(), StorageError> {
        // A missing registry does not mean that hosts were forgotten.
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

/// The reason a pairing is refused while files must not change.
pub(super) fn refused(error: StorageError) -> PairError {
    match error {
        StorageError::Closed => PairError::Closed,
        error => PairError::Storage(error),
    }
}
