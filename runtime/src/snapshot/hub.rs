//! The publishing side of snapshots: host drivers publish, UIs subscribe.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_machines::client::paths::HostState;
use bowline_protocol::{Reason, ServerId};
use tokio::sync::watch;

use super::{Counters, HostSnapshot, PairingSnapshot, Snapshot};
use crate::error::Failure;

/// Publishing side of snapshots: host drivers publish, UIs subscribe. One lock keeps revisions in
/// order for subscribers.
pub(crate) struct SnapshotHub {
    shown: Mutex<Shown>,
    /// Template for new subscriptions.
    subscriber: watch::Receiver<Arc<Snapshot>>,
}

struct Shown {
    hosts: BTreeMap<ServerId, HostEntry>,
    pairings: Vec<PairingSnapshot>,
    last: Publisher,
    /// `None` once the runtime is closed, which closes the subscribers' channel.
    current: Option<watch::Sender<Arc<Snapshot>>>,
}

/// The entry of a host; only its current driver updates it.
struct HostEntry {
    publisher: Publisher,
    host: Arc<HostSnapshot>,
    /// Kept separately: changes do not wake subscribers.
    counters: Counters,
}

/// Identifies a driver. A replaced driver may still be stopping when its successor starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publisher(u64);

/// A shown pairing.
pub(crate) struct Pairing {
    hub: Arc<SnapshotHub>,
    number: u64,
}

impl Pairing {
    /// Shows the code to compare.
    pub(crate) fn show(&self, code: &str) {
        self.hub.change(|shown, _| {
            let mut pairings = shown.pairings.iter_mut();
            let mine = pairings.find(|one| one.number == self.number);
            match mine {
                Some(mine) if mine.code.as_deref() != Some(code) => {
                    mine.code = Some(code.to_owned());
                    true
                }
                Some(_) | None => false,
            }
        });
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        self.hub.change(|shown, _| {
            let before = shown.pairings.len();
            shown.pairings.retain(|one| one.number != self.number);
            shown.pairings.len() != before
        });
    }
}

impl SnapshotHub {
    pub(crate) fn new() -> Self {
        // Apps hold revision 0 before the first snapshot.
        let first = Snapshot {
            rev: 1,
            ..Snapshot::default()
        };
        let (current, subscriber) = watch::channel(Arc::new(first));
        let shown = Shown {
            hosts: BTreeMap::new(),
            pairings: Vec::new(),
            last: Publisher::default(),
            current: Some(current),
        };
        Self {
            shown: Mutex::new(shown),
            subscriber,
        }
    }

    /// Adds an entry for a host from its stored record, until the driver with the returned
    /// publisher publishes.
    pub(crate) fn register(&self, host: HostSnapshot) -> Publisher {
        let mut given = Publisher::default();
        self.change(|shown, rev| {
            given = Publisher(shown.last.0 + 1);
            shown.last = given;
            let server_id = host.server_id.clone();
            let place = HostEntry {
                publisher: given,
                host: Arc::new(HostSnapshot { rev, ..host }),
                counters: Counters::default(),
            };
            shown.hosts.insert(server_id, place);
            true
        });
        given
    }

    pub(crate) fn publish(&self, publisher: Publisher, host: HostSnapshot, counters: Counters) {
        self.change(|shown, rev| {
            let place = shown.hosts.get_mut(&host.server_id);
            let Some(place) = place.filter(|place| place.publisher == publisher) else {
                return false;
            };
            place.counters = counters;
            let rev_before = place.host.rev;
            let host = HostSnapshot {
                rev: rev_before,
                ..host
            };
            if *place.host == host {
                return false;
            }
            place.host = Arc::new(HostSnapshot { rev, ..host });
            true
        });
    }

    /// Shows that a host's driver has died.
    pub(crate) fn broken(&self, publisher: Publisher) {
        let defect = || {
            let words = "a defect ended the driver of this host; reopen the runtime, and please report this";
            Failure::new(Reason::Defect, words)
        };
        self.change(|shown, rev| {
            let mut places = shown.hosts.values_mut();
            let Some(place) = places.find(|place| place.publisher == publisher) else {
                return false;
            };
            place.host = Arc::new(HostSnapshot {
                rev,
                state: HostState::Error,
                path: None,
                address: None,
                last_error: Some(defect().into()),
                ..HostSnapshot::clone(&place.host)
            });
            true
        });
    }

    /// Removes a host; later updates of its driver are dropped.
    pub(crate) fn remove(&self, server_id: &ServerId) {
        self.change(|shown, _| shown.hosts.remove(server_id).is_some());
    }

    /// Shows a pairing until the guard is dropped.
    pub(crate) fn begin_pairing(self: &Arc<Self>, server_id: &ServerId, name: &str) -> Pairing {
        let mut number = 0;
        self.change(|shown, rev| {
            number = rev;
            shown.pairings.push(PairingSnapshot {
                number,
                server_id: server_id.clone(),
                name: name.to_owned(),
                code: None,
            });
            true
        });
        Pairing {
            hub: Arc::clone(self),
            number,
        }
    }

    /// Counters of a host's driver.
    pub(crate) fn counters(&self, server_id: &ServerId) -> Option<Counters> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.hosts.get(server_id).map(|place| place.counters)
    }

    /// Applies a change and publishes if it returns true. The closure receives the next revision.
    fn change(&self, change: impl FnOnce(&mut Shown, u64) -> bool) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let rev = self.subscriber.borrow().rev + 1;
        if change(&mut shown, rev) {
            let hosts = shown.hosts.values();
            let hosts = hosts.map(|place| Arc::clone(&place.host)).collect();
            if let Some(current) = &shown.current {
                current.send_replace(Arc::new(Snapshot {
                    rev,
                    hosts,
                    pairings: shown.pairings.clone(),
                }));
            }
        }
    }

    /// Marks the newest snapshot as seen, like a new channel subscription.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        let mut subscriber = self.subscriber.clone();
        subscriber.mark_unchanged();
        subscriber
    }

    /// Ends publishing: subscribers see the last snapshot and then the end of the channel.
    pub(crate) fn close(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.current = None;
    }
}
