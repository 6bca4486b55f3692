//! Hosts: connection, paths, and how their lists stand.

use bowline_runtime::{self as runtime, HostRecord, Snapshot, machines};

use super::{
    agent::FailedAgent,
    intent::{IntentOutcome, outcomes},
    mirror, rev, small,
    state::{DirectoryState, HostState},
};
use crate::error::{Advice, Reason};

mirror! {
    /// A way to a daemon.
    Path of machines::Path {
        /// On the daemon's own machine.
        Local,
        /// Straight to a listener of the daemon.
        Direct,
        /// Through a relay.
        Relay,
    }
}

impl Path {
    pub(crate) const fn core(self) -> machines::Path {
        match self {
            Self::Local => machines::Path::Local,
            Self::Direct => machines::Path::Direct,
            Self::Relay => machines::Path::Relay,
        }
    }
}

/// An error with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ErrorInfo {
    /// The closed reason.
    pub reason: Reason,
    /// For people.
    pub detail: String,
    /// What the host app should do.
    pub advice: Advice,
}

impl From<&runtime::ErrorView> for ErrorInfo {
    fn from(error: &runtime::ErrorView) -> Self {
        Self {
            reason: error.reason.into(),
            detail: error.message.clone(),
            advice: error.advice.into(),
        }
    }
}

mirror! {
    /// What is wrong with what is stored of a host.
    StorageTrouble of runtime::StorageTrouble {
        /// The intents that waited were damaged: they were set aside, and what could be read of them goes on. Stays until the
        /// next start.
        Damaged,
        /// No intents can be kept at the moment, so none are taken; tried again by itself.
        Unavailable,
    }
}

/// Trouble with what is stored of a host. Its connection is not concerned.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct StorageInfo {
    /// What kind.
    pub trouble: StorageTrouble,
    /// For people; names the file.
    pub detail: String,
}

impl From<&runtime::StorageView> for StorageInfo {
    fn from(storage: &runtime::StorageView) -> Self {
        Self {
            trouble: storage.kind.into(),
            detail: storage.message.clone(),
        }
    }
}

/// What is known of one path of a host.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Probe {
    /// Its kind.
    pub path: Path,
    /// Its address.
    pub address: String,
    /// Round trip in milliseconds, if it was proved.
    pub rtt_ms: Option<f64>,
    /// Why it was not.
    pub error: Option<Reason>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct HostSnapshot {
    /// Grows when anything of this host changes; a row of the same revision is the same row.
    pub rev: u32,
    /// Stable identity of the daemon.
    pub server_id: String,
    /// Its name, for people.
    pub name: String,
    /// How its connectivity stands.
    pub state: HostState,
    /// Kind of the active path.
    pub path: Option<Path>,
    /// Address of the active path.
    pub address: Option<String>,
    /// Grows with every client made for this host.
    pub generation: u32,
    /// Round trip over the active path in milliseconds, once it was measured.
    pub rtt_ms: Option<f64>,
    /// What went wrong last, until the host is online.
    pub last_error: Option<ErrorInfo>,
    /// What is wrong with what is stored of it, if anything.
    pub storage: Option<StorageInfo>,
    /// What is known of each path.
    pub probes: Vec<Probe>,
    /// How its list of agents stands.
    pub directory: DirectoryState,
    /// How many agents it has; the rows are the directory's.
    pub agents: u32,
    /// Agents that could not be created, until dismissed.
    pub failed_agents: Vec<FailedAgent>,
    /// How many intents have no outcome yet.
    pub pending_intents: u32,
    /// The latest outcomes, oldest first; the newest 64.
    pub recent_intents: Vec<IntentOutcome>,
}

impl From<&runtime::HostSnapshot> for HostSnapshot {
    fn from(host: &runtime::HostSnapshot) -> Self {
        let probe = |probe: &runtime::ProbeView| Probe {
            path: probe.path.into(),
            address: probe.address.clone(),
            rtt_ms: probe.rtt_ms,
            error: probe.error.map(Into::into),
        };
        let failed = host.directory.failed.iter();
        Self {
            rev: rev(host.rev),
            server_id: host.server_id.to_string(),
            name: host.name.clone(),
            state: HostState::named(host.state),
            path: host.path.map(Into::into),
            address: host.address.clone(),
            generation: rev(host.generation),
            rtt_ms: host.rtt_ms,
            last_error: host.last_error.as_ref().map(Into::into),
            storage: host.storage.as_ref().map(Into::into),
            probes: host.probes.iter().map(probe).collect(),
            directory: DirectoryState::named(host.directory.state),
            agents: small(host.directory.agents.len()),
            failed_agents: failed.map(|failed| failed.as_ref().into()).collect(),
            pending_intents: small(host.intents.pending),
            recent_intents: outcomes(&host.intents.recent),
        }
    }
}

/// All hosts.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct HostsSnapshot {
    /// Grows with every change; an older one is to be dropped.
    pub rev: u32,
    /// Every known host, in order of `server_id`.
    pub hosts: Vec<HostSnapshot>,
}

impl From<&Snapshot> for HostsSnapshot {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            rev: rev(snapshot.rev),
            hosts: snapshot
                .hosts
                .iter()
                .map(|host| host.as_ref().into())
                .collect(),
        }
    }
}

/// A host that was paired with.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct HostInfo {
    /// Stable identity of the daemon.
    pub server_id: String,
    /// Its name, for people.
    pub name: String,
}

impl From<HostRecord> for HostInfo {
    fn from(record: HostRecord) -> Self {
        Self {
            server_id: record.server_id.to_string(),
            name: record.name,
        }
    }
}
