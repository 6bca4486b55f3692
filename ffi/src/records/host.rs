//! Hosts: connection, paths, and the state of their lists.

use std::time::SystemTime;

use bowline_runtime::{self as runtime, HostRecord, Snapshot, machines, protocol};

use super::{
    agent::FailedAgent,
    all,
    intent::{IntentOutcome, outcomes},
    mirror, rev, small,
    state::{DirectoryState, HostState},
    time,
};
use crate::error::{Advice, Reason};

mirror! {
    /// Kind of a path to a daemon.
    Path of machines::Path {
        /// On the daemon's own machine.
        Local,
        /// Directly to a listener of the daemon.
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

mirror! {
    /// What a device may do with a daemon; each role includes the ones before it.
    Role of protocol::Role {
        /// It reads.
        Viewer,
        /// It also sends prompts and answers to agents that exist.
        Operator,
        /// It does everything that a device can do.
        Owner,
    }
}

mirror! {
    /// What this device may do with a daemon, as its owner decided when they paired, or since.
    Grant of grant: &protocol::Grant {
        /// Its role.
        role: Role = grant.role.into(),
        /// The only providers whose agents it may create, prompt and answer; `None` for all.
        providers: Option<Vec<String>> = grant.providers.clone(),
        /// The only folders, with what is below them, whose agents it may create, prompt and
        /// answer;
        /// `None` for all.
        roots: Option<Vec<String>> = grant.roots.clone(),
        /// When the pairing ends; `None` for never.
        expires_at: Option<SystemTime> = grant.expires_at.map(time),
    }
}

mirror! {
    /// A device that has paired with a daemon.
    PairedDevice of device: &protocol::session_event::PairedDevice {
        /// Its id.
        device_id: String = device.device_id.to_string(),
        /// Name of its client program, as it identified itself.
        name: String = device.name.clone(),
        /// Its platform.
        platform: String = device.platform.clone(),
        /// Its role.
        role: Role = device.role.into(),
        /// When it paired.
        at: SystemTime = time(device.paired_at),
    }
}

mirror! {
    /// An error with the recommended action.
    #[derive(Eq)]
    ErrorInfo of error: &runtime::ErrorView {
        /// The reason from the closed list.
        reason: Reason = error.reason.into(),
        /// Text for people.
        detail: String = error.message.clone(),
        /// Recommended action of the host app.
        advice: Advice = error.advice.into(),
    }
}

mirror! {
    /// Storage fault of a host.
    StorageTrouble of runtime::StorageTrouble {
        /// The file of pending intents was damaged. It was set aside, and all readable intents
        /// continue. Reported until the next start.
        Damaged,
        /// Intents cannot be stored at the moment, so new ones are refused. The library retries by
        /// itself.
        Unavailable,
    }
}

mirror! {
    /// A storage fault of a host. It does not affect the connection.
    #[derive(Eq)]
    StorageInfo of storage: &runtime::StorageView {
        /// The kind of fault.
        trouble: StorageTrouble = storage.kind.into(),
        /// Text for people; names the file.
        detail: String = storage.message.clone(),
    }
}

mirror! {
    /// State of one path of a host.
    Probe of probe: &runtime::ProbeView {
        /// Its kind.
        path: Path = probe.path.into(),
        /// Its address.
        address: String = probe.address.clone(),
        /// Round-trip time in milliseconds, if the probe succeeded.
        rtt_ms: Option<f64> = probe.rtt_ms,
        /// Why the probe failed.
        error: Option<Reason> = probe.error.map(Into::into),
    }
}

mirror! {
    /// One host.
    HostSnapshot of host: &runtime::HostSnapshot {
        /// Revision of this host's row: it grows with each change, and rows of equal revision are
        /// equal.
        rev: u32 = rev(host.rev),
        /// Stable identity of the daemon.
        server_id: String = host.server_id.to_string(),
        /// Its name for people.
        name: String = host.name.clone(),
        /// State of its connectivity.
        state: HostState = host.state.into(),
        /// Kind of the active path.
        path: Option<Path> = host.path.map(Into::into),
        /// Address of the active path.
        address: Option<String> = host.address.clone(),
        /// What this device may do there, once it was online: for what an app offers.
        grant: Option<Grant> = host.grant.as_deref().map(Into::into),
        /// The device that paired with the daemon last, of those that did while this app followed
        /// it: for a notice to the user, who may not have wanted that.
        last_paired: Option<PairedDevice> = host.last_paired.as_deref().map(Into::into),
        /// Grows with each connection opened for this host.
        generation: u32 = rev(host.generation),
        /// Round-trip time over the active path in milliseconds, once measured.
        rtt_ms: Option<f64> = host.rtt_ms,
        /// The last error, until the host is online.
        last_error: Option<ErrorInfo> = host.last_error.as_ref().map(Into::into),
        /// Storage fault of this host, if any.
        storage: Option<StorageInfo> = host.storage.as_ref().map(Into::into),
        /// State of each path.
        probes: Vec<Probe> = host.probes.iter().map(Into::into).collect(),
        /// State of its list of agents.
        directory: DirectoryState = host.directory.state.into(),
        /// Number of its agents; the directory has the rows.
        agents: u32 = small(host.directory.agents.len()),
        /// Agents whose creation failed, until dismissed.
        failed_agents: Vec<FailedAgent> = all(&host.directory.failed),
        /// Number of intents without an outcome.
        pending_intents: u32 = small(host.intents.pending),
        /// The latest 64 outcomes, oldest first.
        recent_intents: Vec<IntentOutcome> = outcomes(&host.intents.recent),
    }
}

mirror! {
    /// All hosts.
    HostsSnapshot of snapshot: &Snapshot {
        /// Grows with each change; drop a snapshot with an older one.
        rev: u32 = rev(snapshot.rev),
        /// Every known host, in order of `server_id`.
        hosts: Vec<HostSnapshot> = all(&snapshot.hosts),
        /// Pairings in progress, oldest first.
        pairings: Vec<Pairing> = snapshot.pairings.iter().map(Into::into).collect(),
    }
}

mirror! {
    /// A pairing in progress: the daemon's owner is asked before it is done.
    #[derive(Eq)]
    Pairing of pairing: &runtime::PairingSnapshot {
        /// Stable identity of the daemon.
        server_id: String = pairing.server_id.to_string(),
        /// Its name for people, as in the offer.
        name: String = pairing.name.clone(),
        /// Six digits to show, once the daemon asks its owner, who sees the same ones there.
        code: Option<String> = pairing.code.clone(),
    }
}

mirror! {
    /// A paired host.
    #[derive(Eq)]
    HostInfo of record: HostRecord {
        /// Stable identity of the daemon.
        server_id: String = record.server_id.to_string(),
        /// Its name for people.
        name: String = record.name,
    }
}
