//! Hosts: connection, paths, and how their lists stand.

use bowline_runtime::{self as runtime, HostRecord, Snapshot, machines};

use super::{
    agent::FailedAgent,
    intent::{IntentOutcome, outcomes},
    mirror, rev, small,
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

/// Names of states and what stands for them here.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A state that these bindings do not know: a defect.
            Unknown,
        }

        impl $name {
            pub(crate) fn named(name: &str) -> Self {
                match name { $($text => Self::$variant,)* _ => Self::Unknown }
            }
        }
    };
}

states! {
    /// How a host's connectivity stands. There is no other connection state (INV-5, INV-6).
    HostState {
        /// It has only just been taken up.
        Booting "booting",
        /// It has no path.
        NoConnections "no_connections",
        /// Its paths are being measured.
        SelectingActiveConnection "selecting_active_connection",
        /// A path was chosen and is being connected.
        ConnectingActive "connecting_active",
        /// Connected.
        Online "online",
        /// It was connected, and is being connected again.
        Degraded "degraded",
        /// Nothing is tried until someone does something.
        Error "error",
        /// It was forgotten, or the runtime was shut down.
        Stopped "stopped",
    }
}

states! {
    /// How a host's list of agents stands (DS).
    DirectoryState {
        /// Never attached.
        Idle "idle",
        /// The first load runs: show a skeleton.
        InitialLoading "initial_loading",
        /// The rows are what the daemon has.
        Ready "ready",
        /// The rows stay while they are fetched again.
        Revalidating "revalidating",
        /// There never were rows, and the load failed.
        ErrorBeforeFirstSuccess "error_before_first_success",
        /// The rows stay, although fetching them again failed (UX-4).
        ErrorAfterReady "error_after_ready",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bowline_runtime::{
        machines::{
            Generation, Moment,
            directory::State as Directory,
            host::{ConnectionId, State as Host},
            load::LoadError,
        },
        protocol::Reason,
    };

    use super::*;

    const GENERATION: Generation = Generation::ZERO;
    const LOAD: LoadError = LoadError::TimedOut;

    /// The state after that one in a walk over all, with the mirror of the one that was given. One that is added to the
    /// machine does not compile here.
    fn host(state: Host, now: Moment) -> (HostState, Option<Host>) {
        let connection = ConnectionId(0);
        let generation = GENERATION;
        match state {
            Host::Booting => (HostState::Booting, Some(Host::NoConnections)),
            Host::NoConnections => (
                HostState::NoConnections,
                Some(Host::SelectingActiveConnection {
                    cycle: 1,
                    retry_at: None,
                }),
            ),
            Host::SelectingActiveConnection { .. } => (
                HostState::SelectingActiveConnection,
                Some(Host::ConnectingActive {
                    connection,
                    generation,
                    since: now,
                    deadline: now,
                }),
            ),
            Host::ConnectingActive { .. } => (
                HostState::ConnectingActive,
                Some(Host::Online {
                    connection,
                    generation,
                    since: now,
                    candidate: None,
                }),
            ),
            Host::Online { .. } => (
                HostState::Online,
                Some(Host::Degraded {
                    connection,
                    generation,
                    reason: Reason::IdleTimeout,
                    candidate: None,
                }),
            ),
            Host::Degraded { reason, .. } => (HostState::Degraded, Some(Host::Error { reason })),
            Host::Error { .. } => (HostState::Error, Some(Host::Stopped)),
            Host::Stopped => (HostState::Stopped, None),
        }
    }

    /// As [`host`].
    fn directory(state: Directory, now: Moment) -> (DirectoryState, Option<Directory>) {
        let (load, deadline) = (GENERATION, now);
        let (error, retry_at) = (LOAD, None);
        match state {
            Directory::Idle => (
                DirectoryState::Idle,
                Some(Directory::InitialLoading { load, deadline }),
            ),
            Directory::InitialLoading { .. } => {
                (DirectoryState::InitialLoading, Some(Directory::Ready))
            }
            Directory::Ready => (
                DirectoryState::Ready,
                Some(Directory::Revalidating { load, deadline }),
            ),
            Directory::Revalidating { .. } => (
                DirectoryState::Revalidating,
                Some(Directory::ErrorBeforeFirstSuccess { error, retry_at }),
            ),
            Directory::ErrorBeforeFirstSuccess { .. } => (
                DirectoryState::ErrorBeforeFirstSuccess,
                Some(Directory::ErrorAfterReady { error, retry_at }),
            ),
            Directory::ErrorAfterReady { .. } => (DirectoryState::ErrorAfterReady, None),
        }
    }

    #[test]
    fn inv_6_every_state_of_the_host_machine_has_its_own_mirror() {
        let mut names = BTreeSet::new();
        let mut next = Some(Host::Booting);
        while let Some(state) = next {
            let (mirror, after) = host(state, Moment::from_millis(0));
            assert_eq!(HostState::named(state.name()), mirror);
            assert_ne!(mirror, HostState::Unknown);
            names.insert(state.name());
            next = after;
        }
        assert_eq!(
            names.len(),
            HostState::Unknown as usize,
            "no mirror is left over"
        );
    }

    #[test]
    fn every_state_of_the_directory_machine_has_its_own_mirror() {
        let mut names = BTreeSet::new();
        let mut next = Some(Directory::Idle);
        while let Some(state) = next {
            let (mirror, after) = directory(state, Moment::from_millis(0));
            assert_eq!(DirectoryState::named(state.name()), mirror);
            assert_ne!(mirror, DirectoryState::Unknown);
            names.insert(state.name());
            next = after;
        }
        assert_eq!(
            names.len(),
            DirectoryState::Unknown as usize,
            "no mirror is left over"
        );
    }
}
