//! Snapshots: immutable values a UI renders. They change only through machine transitions (INV-14).

mod hub;

use std::sync::Arc;

use bowline_machines::{
    Path,
    client::paths::HostState,
    data::directory::DirectoryState,
    data::load::LoadError,
    data::optimistic::{FailedAgent, PendingAgent},
};
use bowline_protocol::{
    Advice, AgentSummary, Grant, IntentId, Reason, ServerId, session_event::PairedDevice,
};
use serde::Serialize;

pub(crate) use self::hub::{Pairing, Publisher, SnapshotHub};
use crate::{error::Failure, intent::Outcome, registry::HostRecord};

/// The complete state for a UI, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Increases with every change; a smaller one is older.
    pub rev: u64,
    /// Every known host, ordered by `serverId`.
    pub hosts: Vec<Arc<HostSnapshot>>,
    /// Pairings in progress, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pairings: Vec<PairingSnapshot>,
}

/// A pairing in progress (TR-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingSnapshot {
    /// Tells pairings with one daemon apart.
    #[serde(skip)]
    pub(crate) number: u64,
    /// The daemon.
    pub server_id: ServerId,
    /// Its name, as in the offer.
    pub name: String,
    /// Six digits, once the daemon asks its owner. It shows the same ones; the owner compares them
    /// and says yes or no.
    pub code: Option<String>,
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
    /// Display name.
    pub name: String,
    /// State of the host machine (INV-6: there is no other connection state).
    pub state: HostState,
    /// Kind of the active path; none while the host is not online.
    pub path: Option<Path>,
    /// Address of the active path; none while the host is not online.
    pub address: Option<String>,
    /// What this device may do there, as of the last welcome; `None` before the first (TR-4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Arc<Grant>>,
    /// The device that paired with the daemon last, of those that did while this app followed the
    /// session: for a notice (TR-3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_paired: Option<Arc<PairedDevice>>,
    /// Increases with every client created for this host.
    pub generation: u64,
    /// The last error, until the host is online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorView>,
    /// Storage fault of the host, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageView>,
    /// Round trip over the active path in milliseconds, once measured.
    #[serde(skip)]
    pub rtt_ms: Option<f64>,
    /// Probe results of each path.
    pub probes: Vec<ProbeView>,
    /// The host's agents.
    pub directory: DirectoryView,
    /// Intents of this app.
    #[serde(skip)]
    pub intents: IntentsView,
}

impl HostSnapshot {
    /// A stored host before its driver has started.
    pub(crate) fn of_record(
        record: &HostRecord,
        pending: usize,
        storage: Option<StorageView>,
    ) -> Self {
        Self {
            rev: 0,
            server_id: record.server_id.clone(),
            name: record.name.clone(),
            state: HostState::Booting,
            path: None,
            address: None,
            grant: None,
            last_paired: None,
            generation: 0,
            last_error: None,
            storage,
            rtt_ms: None,
            probes: Vec::new(),
            directory: DirectoryView::default(),
            intents: IntentsView {
                pending,
                recent: Arc::default(),
            },
        }
    }
}

/// An error with advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorView {
    /// The closed reason.
    pub reason: Reason,
    /// Text for people.
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

/// A storage fault of a host. Its connection is unaffected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageView {
    /// Kind of the fault.
    pub kind: StorageTrouble,
    /// Text for people; names the file.
    pub message: String,
}

/// Kinds of [`StorageView`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageTrouble {
    /// The outbox was damaged: it was set aside, and its readable part is in use. Intents may be
    /// lost. Stays until the next start.
    Damaged,
    /// The outbox is unavailable, so intents are refused. Retried every few seconds.
    Unavailable,
}

impl StorageView {
    pub(crate) fn damaged(lines: usize, aside: &std::path::Path) -> Self {
        Self {
            kind: StorageTrouble::Damaged,
            message: format!(
                "{lines} lines of the outbox are unreadable, intents may be lost; the damaged file is kept as {}",
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

/// Result of a probe.
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
    /// Why the probe failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The agents of one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DirectoryView {
    /// State of the directory machine (DS-3: skeletons derive from this alone).
    pub state: DirectoryState,
    /// Oldest first.
    pub agents: Arc<[Arc<AgentSummary>]>,
    /// Agents being created by this client that have no row yet, in the order of submission (UX-3).
    #[serde(skip)]
    pub creating: Arc<[Arc<PendingAgent>]>,
    /// Failed creations with their errors: the newest few, until dismissed.
    #[serde(skip)]
    pub failed: Arc<[Arc<FailedAgent>]>,
    /// Why the rows may be outdated or missing (UX-4).
    #[serde(skip)]
    pub error: Option<LoadError>,
    /// Whether the host has more agents than the list holds.
    #[serde(skip)]
    pub truncated: bool,
    /// Number of agents not held: the list holds the newest, and older ones with activity since it
    /// was loaded.
    #[serde(skip_serializing_if = "is_none")]
    pub left_out: u64,
}

/// The intents of one host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntentsView {
    /// Number of intents without an outcome.
    pub pending: usize,
    /// The latest outcomes, oldest first; bounded.
    pub recent: Arc<[(IntentId, Outcome)]>,
}

/// Counters of one host's driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Events applied, each once and in order.
    pub events_applied: u64,
    /// Events received again (on a second connection, or replayed) and not applied again.
    pub events_repeated: u64,
    /// Events preceded by a gap. Any value but zero is a defect.
    pub event_gaps: u64,
    /// Attaches that resumed the session.
    pub resumed: u64,
    /// Attaches after which all displayed state was loaded again.
    pub reset: u64,
    /// Changes of the active client.
    pub switches: u64,
    /// Candidates that failed before they could become active.
    pub switches_failed: u64,
    /// Stale results dropped by the machines.
    pub stale_dropped: u64,
    /// Last event applied.
    pub last_seq: u64,
}
