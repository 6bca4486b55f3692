//! Every open connection, for listings (SV-5), shutdown and the sweep for silent peers.
//!
//! A connection's task writes a few relaxed atomics as it goes; nobody waits for anybody.

mod entry;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_machines::{Moment, Path};
use bowline_protocol::Reason;

pub use entry::{ConnectionInfo, Entry, Kind, Who};

/// All connections of one kind of path, those that have ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub opened: u64,
    /// Bytes received, sealed as they are.
    pub bytes_in: u64,
    /// Bytes sent, sealed as they are.
    pub bytes_out: u64,
}

/// All open connections, and what is left of those that have ended.
#[derive(Debug, Default)]
pub struct Registry {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Arc<Entry>>,
    /// Of those that have ended.
    totals: BTreeMap<Path, Totals>,
    closed: BTreeMap<Reason, u64>,
    turned_away: BTreeMap<Path, u64>,
}

impl State {
    /// Forgets a connection, but not what it has moved.
    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        entry.add_to(self.totals.entry(entry.handle().path).or_default());
        if let Some(reason) = entry.reason() {
            *self.closed.entry(reason).or_default() += 1;
        }
    }
}

/// Keeps a connection listed; dropping it ends that.
#[derive(Debug)]
pub struct Listed {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
}

impl Listed {
    /// The entry.
    pub const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.lock().remove(self.entry.handle().id);
    }
}

impl Registry {
    /// Lists a new connection.
    pub fn open(self: &Arc<Self>, path: Path, peer: Option<SocketAddr>, now: Moment) -> Listed {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let entry = Arc::new(Entry::new(id, path, peer, now));
        self.lock().entries.insert(id, Arc::clone(&entry));
        Listed {
            registry: Arc::clone(self),
            entry,
        }
    }

    /// Every connection, oldest first.
    pub fn list(&self, now: Moment) -> Vec<ConnectionInfo> {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        entries.iter().map(|entry| entry.row(now)).collect()
    }

    /// How many there are, and how many there ever were.
    pub fn counts(&self) -> (usize, u64) {
        (self.lock().entries.len(), self.next.load(Relaxed))
    }

    /// What all connections so far have moved, by path.
    pub fn totals(&self) -> BTreeMap<Path, Totals> {
        let state = self.lock();
        let mut totals = state.totals.clone();
        for entry in state.entries.values() {
            entry.add_to(totals.entry(entry.handle().path).or_default());
        }
        totals
    }

    /// Notes a socket that found no place.
    pub fn turned_away(&self, path: Path) {
        *self.lock().turned_away.entry(path).or_default() += 1;
    }

    /// How many sockets have found no place, by path.
    pub fn turned_away_so_far(&self) -> BTreeMap<Path, u64> {
        self.lock().turned_away.clone()
    }

    /// How many connections have ended, by reason.
    pub fn closed(&self) -> BTreeMap<Reason, u64> {
        self.lock().closed.clone()
    }

    /// Asks every connection to close.
    pub fn close_all(&self, reason: Reason) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            entry.outbound().close(reason);
        }
    }

    /// Closes who is silent or takes nothing, and wakes who has rested for too long: as each entry judges.
    pub fn sweep(&self, now: Moment, silence: Option<Duration>, stall: Duration) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            entry.sweep(now, silence, stall);
        }
    }

    /// Blames nobody for the time this machine slept or this process stood still, `lost` (lesson 5).
    pub fn forgive(&self, now: Moment, lost: Duration) {
        for entry in self.lock().entries.values() {
            entry.forgive(now, lost);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned one still holds a valid map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
