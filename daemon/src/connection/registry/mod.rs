//! All open connections, for listings (SV-5), shutdown and the sweep for silent peers.
//!
//! A connection's task writes a few relaxed atomics; no task waits for another.

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

use bowline_machines::{MonotonicTime, Path};
use bowline_program::Stranger;
use bowline_protocol::{DeviceId, Reason};

pub use entry::{ConnectionInfo, Entry, Kind, Who};

/// Totals of one kind of path, closed connections included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub opened: u64,
    /// Bytes received, in sealed form.
    pub bytes_in: u64,
    /// Bytes sent, in sealed form.
    pub bytes_out: u64,
}

/// All open connections, and the totals of closed ones.
#[derive(Debug, Default)]
pub struct ConnectionRegistry {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Arc<Entry>>,
    /// Totals of closed connections.
    totals: BTreeMap<Path, Totals>,
    closed: BTreeMap<Reason, u64>,
    turned_away: BTreeMap<Path, u64>,
}

impl State {
    /// Removes a connection and adds its traffic to the totals.
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

/// Keeps a connection listed until dropped.
#[derive(Debug)]
pub struct Listed {
    registry: Arc<ConnectionRegistry>,
    entry: Arc<Entry>,
    /// Until it has proved a device. Boxed, so that connections of devices stay small.
    stranger: Option<Box<Stranger>>,
}

impl Listed {
    /// The same, among the strangers of its listener until it has proved a device.
    #[must_use]
    pub(crate) fn of_stranger(mut self, stranger: Stranger) -> Self {
        self.stranger = Some(Box::new(stranger));
        self
    }

    /// It is no stranger any more.
    pub(super) fn is_proven(&mut self) {
        self.stranger = None;
    }

    /// Waits until it is dropped for other strangers; for ever, if it is none. Cancel-safe.
    pub(super) async fn dropped(&self) {
        match &self.stranger {
            Some(stranger) => stranger.dropped().await,
            None => std::future::pending().await,
        }
    }

    /// The entry.
    pub const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.lock().remove(self.entry.handle().id);
        // Whoever still has the queue sees that nobody sends what it holds.
        self.entry.outbound().close(Reason::ConnectionLost);
    }
}

impl ConnectionRegistry {
    /// Lists a new connection.
    pub fn open(
        self: &Arc<Self>,
        path: Path,
        peer: Option<SocketAddr>,
        now: MonotonicTime,
    ) -> Listed {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let entry = Arc::new(Entry::new(id, path, peer, now));
        self.lock().entries.insert(id, Arc::clone(&entry));
        Listed {
            registry: Arc::clone(self),
            entry,
            stranger: None,
        }
    }

    /// All connections, oldest first.
    pub fn list(&self, now: MonotonicTime) -> Vec<ConnectionInfo> {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        entries.iter().map(|entry| entry.row(now)).collect()
    }

    /// Number of open connections, and of all so far.
    pub fn counts(&self) -> (usize, u64) {
        (self.lock().entries.len(), self.next.load(Relaxed))
    }

    /// Traffic of all connections so far, by path.
    pub fn totals(&self) -> BTreeMap<Path, Totals> {
        let state = self.lock();
        let mut totals = state.totals.clone();
        for entry in state.entries.values() {
            entry.add_to(totals.entry(entry.handle().path).or_default());
        }
        totals
    }

    /// Counts a socket refused at the connection limit.
    pub fn turned_away(&self, path: Path) {
        *self.lock().turned_away.entry(path).or_default() += 1;
    }

    /// Number of refused sockets, by path.
    pub fn turned_away_so_far(&self) -> BTreeMap<Path, u64> {
        self.lock().turned_away.clone()
    }

    /// Number of closed connections, by reason.
    pub fn closed(&self) -> BTreeMap<Reason, u64> {
        self.lock().closed.clone()
    }

    /// Requests every connection to close.
    pub fn close_all(&self, reason: Reason) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            entry.outbound().close(reason);
        }
    }

    /// Requests every connection of a device to close: sessions, probes and pairings (TR-5).
    pub fn close_device(&self, device: &DeviceId, reason: Reason) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries.iter().filter(|entry| entry.is_of(device)) {
            entry.outbound().close(reason);
        }
    }

    /// Requests every connection that is not of the local socket to close (TR-15).
    pub fn close_devices(&self, reason: Reason) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            if entry.handle().path != Path::Local {
                entry.outbound().close(reason);
            }
        }
    }

    /// Closes silent and stalled connections, and wakes those past their idle deadline
    /// ([`Entry::sweep`]).
    pub fn sweep(&self, now: MonotonicTime, silence: Option<Duration>, stall: Duration) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            entry.sweep(now, silence, stall);
        }
    }

    /// Extends all deadlines by the time `lost` while the machine slept or the process was stopped
    /// (LS-5).
    pub fn extend_deadlines(&self, now: MonotonicTime, lost: Duration) {
        for entry in self.lock().entries.values() {
            entry.extend_deadlines(now, lost);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while the lock is held; a poisoned lock still holds a valid map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
