//! Snapshots: immutable values a UI renders. They change only through machine transitions (INV-14).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_machines::{
    Path, directory, host,
    load::LoadError,
    optimistic::{FailedAgent, PendingAgent},
};
use bowline_protocol::{Advice, AgentSummary, IntentId, Reason, ServerId};
use serde::Serialize;
use tokio::sync::watch;

use crate::{error::Failure, intent::Outcome, registry::HostRecord};

/// Everything a UI shows, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Grows with every change; a smaller one is older.
    pub rev: u64,
    /// Every known host, in order of `serverId`.
    pub hosts: Vec<Arc<HostSnapshot>>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostSnapshot {
    /// [`Snapshot::rev`] of the last change of this host.
    #[serde(skip)]
    pub rev: u64,
    /// Stable identity of the daemon.
    pub server_id: ServerId,
    /// Its name, for people.
    pub name: String,
    /// State of the host machine, in snake_case (INV-6: there is no other connection state).
    pub state: &'static str,
    /// Kind of the active path; none while the host is not online.
    pub path: Option<Path>,
    /// Address of the active path; none while the host is not online.
    pub address: Option<String>,
    /// Grows with every client made for this host.
    pub generation: u64,
    /// What went wrong last, until the host is online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorView>,
    /// What is wrong with what is stored of the host, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageView>,
    /// Round trip over the active path in milliseconds, once it was measured.
    #[serde(skip)]
    pub rtt_ms: Option<f64>,
    /// What is known of each path.
    pub probes: Vec<ProbeView>,
    /// The host's agents.
    pub directory: DirectoryView,
    /// Intents of this app.
    pub intents: IntentsView,
}

impl HostSnapshot {
    /// A host as it is known from the disk, before its driver has done anything.
    pub(crate) fn of_record(
        record: &HostRecord,
        pending: usize,
        storage: Option<StorageView>,
    ) -> Self {
        Self {
            rev: 0,
            server_id: record.server_id.clone(),
            name: record.name.clone(),
            state: host::State::Booting.name(),
            path: None,
            address: None,
            generation: 0,
            last_error: None,
            storage,
            rtt_ms: None,
            probes: Vec::new(),
            directory: DirectoryView {
                state: directory::State::Idle.name(),
                agents: Arc::default(),
                creating: Arc::default(),
                failed: Arc::default(),
                error: None,
                truncated: false,
                left_out: 0,
            },
            intents: IntentsView {
                pending,
                recent: Arc::default(),
            },
        }
    }
}

/// An error with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorView {
    /// The closed reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What the host app should do.
    pub advice: Advice,
}

impl From<Failure> for ErrorView {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.reason,
            advice: failure.reason.advice(),
            message: failure.message,
        }
    }
}

/// Trouble with what is stored of a host. Its connection is not concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageView {
    /// What kind of trouble.
    pub kind: StorageTrouble,
    /// For people; names the file.
    pub message: String,
}

/// Kinds of [`StorageView`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageTrouble {
    /// The outbox was damaged: it was set aside, and what could be read of it goes on. Intents may be lost. Stays until the
    /// next start.
    Damaged,
    /// The outbox cannot be used now, so no intent is taken. It is tried again every few seconds.
    Unavailable,
}

impl StorageView {
    pub(crate) fn damaged(lines: usize, aside: &std::path::Path) -> Self {
        Self {
            kind: StorageTrouble::Damaged,
            message: format!(
                "{lines} lines of the outbox do not read, intents may be lost; as it was it is kept in {}",
                aside.display()
            ),
        }
    }

    pub(crate) fn unavailable(problem: &str) -> Self {
        Self {
            kind: StorageTrouble::Unavailable,
            message: problem.to_owned(),
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeView {
    /// Kind of path.
    pub path: Path,
    /// Its address.
    pub address: String,
    /// Round trip in milliseconds, if it was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The agents of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectoryView {
    /// State of the directory machine, in snake_case (DS: skeletons derive from this alone).
    pub state: &'static str,
    /// Oldest first.
    pub agents: Arc<[Arc<AgentSummary>]>,
    /// Agents that are being created from here and have no row yet, in the order they were sent (UX-3).
    #[serde(skip)]
    pub creating: Arc<[Arc<PendingAgent>]>,
    /// Agents that could not be created, with the error; the newest few, until dismissed.
    #[serde(skip)]
    pub failed: Arc<[Arc<FailedAgent>]>,
    /// Why the rows may be old, or are missing (UX-4).
    #[serde(skip)]
    pub error: Option<LoadError>,
    /// Whether the host has more agents than are held.
    #[serde(skip)]
    pub truncated: bool,
    /// How many more: the newest are held, and older ones that something happened to since the list was loaded.
    #[serde(skip_serializing_if = "is_none")]
    pub left_out: u64,
}

/// The intents of one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IntentsView {
    /// How many have no outcome yet.
    pub pending: usize,
    /// The latest outcomes, oldest first; bounded.
    pub recent: Arc<[(IntentId, Outcome)]>,
}

/// What one host's driver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Events applied, each once and in order.
    pub events_applied: u64,
    /// Events received again (from a second connection, or replayed) and not applied again.
    pub events_repeated: u64,
    /// Events that came with a hole before them. Anything but zero is a defect.
    pub event_gaps: u64,
    /// Attaches of a session that went on where it was.
    pub resumed: u64,
    /// Attaches after which everything shown was fetched again.
    pub reset: u64,
    /// Times another client became the active one.
    pub switches: u64,
    /// Candidates that failed before they could become active.
    pub switches_failed: u64,
    /// Stale results dropped by the machines.
    pub stale_dropped: u64,
    /// Last event applied.
    pub last_seq: u64,
}

/// Where host drivers publish and UIs subscribe. Publishing happens under one lock, so that revisions reach
/// subscribers in order.
pub(crate) struct SnapshotHub {
    shown: Mutex<Shown>,
    /// What subscribers are copied from.
    subscriber: watch::Receiver<Arc<Snapshot>>,
}

struct Shown {
    hosts: BTreeMap<ServerId, Place>,
    last: Publisher,
    /// None when the runtime is closed: with it the subscribers' channel ends.
    current: Option<watch::Sender<Arc<Snapshot>>>,
}

/// A host's place: only the driver that it belongs to fills it.
struct Place {
    publisher: Publisher,
    host: Arc<HostSnapshot>,
    /// Counted apart: nobody is woken for them.
    counters: Counters,
}

/// A driver, as the hub knows it. One that was replaced may still be ending when its successor begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publisher(u64);

impl SnapshotHub {
    pub(crate) fn new() -> Self {
        let (current, subscriber) = watch::channel(Arc::default());
        let shown = Shown {
            hosts: BTreeMap::new(),
            last: Publisher::default(),
            current: Some(current),
        };
        Self {
            shown: Mutex::new(shown),
            subscriber,
        }
    }

    /// Makes a place for a host and shows it as it is known from the disk, until the driver that is given the answer
    /// publishes.
    pub(crate) fn register(&self, host: HostSnapshot) -> Publisher {
        let mut given = Publisher::default();
        self.change(|shown, rev| {
            given = Publisher(shown.last.0 + 1);
            shown.last = given;
            let server_id = host.server_id.clone();
            let place = Place {
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

    /// Shows that nobody keeps a host any more, because its driver died.
    pub(crate) fn broken(&self, publisher: Publisher) {
        let defect = || {
            let words = "a defect ended what keeps this host; open it anew, and please report it";
            Failure::new(Reason::Defect, words)
        };
        self.change(|shown, rev| {
            let mut places = shown.hosts.values_mut();
            let Some(place) = places.find(|place| place.publisher == publisher) else {
                return false;
            };
            place.host = Arc::new(HostSnapshot {
                rev,
                state: "error",
                path: None,
                address: None,
                last_error: Some(defect().into()),
                ..HostSnapshot::clone(&place.host)
            });
            true
        });
    }

    /// Forgets a host; what its driver still publishes is dropped.
    pub(crate) fn remove(&self, server_id: &ServerId) {
        self.change(|shown, _| shown.hosts.remove(server_id).is_some());
    }

    /// What a host's driver has counted.
    pub(crate) fn counters(&self, server_id: &ServerId) -> Option<Counters> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.hosts.get(server_id).map(|place| place.counters)
    }

    /// Publishes if the change says that there is anything new. It is given the revision that would be.
    fn change(&self, change: impl FnOnce(&mut Shown, u64) -> bool) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let rev = self.subscriber.borrow().rev + 1;
        if change(&mut shown, rev) {
            let hosts = shown.hosts.values();
            let hosts = hosts.map(|place| Arc::clone(&place.host)).collect();
            if let Some(current) = &shown.current {
                current.send_replace(Arc::new(Snapshot { rev, hosts }));
            }
        }
    }

    /// Begins with the newest snapshot as seen, as a subscription of a channel does.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        let mut subscriber = self.subscriber.clone();
        subscriber.mark_unchanged();
        subscriber
    }

    /// Nothing is published any more: whoever has seen the last snapshot is told that it was the last.
    pub(crate) fn close(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.current = None;
    }
}
