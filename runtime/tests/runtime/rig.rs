//! Shared test support: identities, a runtime in a temporary folder, and bounded waits.

use std::{sync::Arc, time::Duration};

use bowline_machines::Path;
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, Epoch, ItemId, ItemKind, Offer, ServerId, TimelineItem,
    TransportKey,
};
use bowline_runtime::{
    Counters, DirectoryState, HostSnapshot, HostState, Runtime, RuntimeSettings,
    storage::FileStorage, transport::Address,
};
use bowline_testkit::peer::Keys;
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{daemon::Daemon, net::Net};

/// Far longer, in virtual time, than any test step.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) fn server_id() -> ServerId {
    keys().identity.server_id().clone()
}

pub(crate) fn keys() -> Keys {
    Keys::new([7; 32], [8; 32], [1; 16])
}

pub(crate) fn transport_key() -> TransportKey {
    keys().transport
}

pub(crate) fn epoch(n: u8) -> Epoch {
    Epoch::from_uuid(Uuid::from_bytes([n; 16]))
}

pub(crate) fn offer(addresses: &[&str], key: &TransportKey) -> Offer {
    Offer {
        server_id: server_id(),
        transport_key: key.public(),
        token: keys().token,
        name: "offered".into(),
        direct: addresses.iter().map(ToString::to_string).collect(),
        relays: Vec::new(),
    }
}

pub(crate) fn direct(address: &str) -> Address {
    Address {
        path: Path::Direct,
        address: address.into(),
    }
}

pub(crate) fn agent_id(n: u8) -> AgentId {
    AgentId::from_uuid(Uuid::from_bytes([n; 16]))
}

pub(crate) fn agent(n: u8) -> AgentSummary {
    AgentSummary {
        id: agent_id(n),
        title: format!("agent {n}"),
        provider: "shell".into(),
        cwd: "/".into(),
        status: AgentStatus::Idle,
        created_at: i64::from(n),
        updated_at: i64::from(n),
        attention: None,
        intent_id: None,
    }
}

pub(crate) fn item(index: u64, kind: ItemKind, text: &str) -> TimelineItem {
    let id = ItemId::from_uuid(Uuid::from_u64_pair(1, index));
    let mut item = TimelineItem::new(id, index, kind, 0);
    item.text = text.into();
    item
}

/// A runtime, its paired daemon, and the network between them.
pub(crate) struct Rig {
    pub(crate) net: Net,
    pub(crate) daemon: Daemon,
    pub(crate) runtime: Runtime,
    folder: TempDir,
}

impl Rig {
    /// Not paired yet.
    pub(crate) fn new(addresses: &[&str]) -> Self {
        let net = Net::default();
        let daemon = Daemon::new(keys());
        for address in addresses {
            daemon.listen(&net, address);
        }
        let folder = tempfile::tempdir().unwrap();
        let runtime = open(&folder, &net);
        Self {
            net,
            daemon,
            runtime,
            folder,
        }
    }

    /// Paired and online.
    pub(crate) async fn online(addresses: &[&str]) -> Self {
        let rig = Self::new(addresses);
        let offer = offer(addresses, &transport_key());
        rig.runtime.pair(&offer).await.unwrap();
        rig.until("online", is_ready).await;
        rig
    }

    pub(crate) fn counters(&self) -> Counters {
        self.runtime.counters(&server_id()).unwrap()
    }

    /// Restarts the app.
    pub(crate) async fn restart(&mut self) {
        self.runtime.close().await;
        self.runtime = open(&self.folder, &self.net);
    }

    /// Ends the app's runtime, whose folder can then be changed.
    pub(crate) async fn close(&self) {
        self.runtime.close().await;
    }

    /// Starts the app again, with this size of its cache.
    pub(crate) fn start(&mut self, cache_bytes: u64) {
        let storage = Arc::new(FileStorage::open(self.folder.path()).unwrap());
        let settings = RuntimeSettings {
            cache_bytes,
            ..settings()
        };
        self.runtime = Runtime::with(storage, Arc::new(self.net.clone()), settings).unwrap();
    }

    /// Another process of the same app on the same folder.
    pub(crate) fn another_process(&self) -> Runtime {
        open(&self.folder, &self.net)
    }

    /// The folder of its state.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Opens a new runtime right after dropping the current one.
    pub(crate) fn reopen(&mut self) {
        let elsewhere = tempfile::tempdir().unwrap();
        drop(std::mem::replace(
            &mut self.runtime,
            open(&elsewhere, &self.net),
        ));
        self.runtime = open(&self.folder, &self.net);
    }

    /// Waits until the host matches.
    pub(crate) async fn until(
        &self,
        what: &str,
        is: impl Fn(&HostSnapshot) -> bool,
    ) -> Arc<HostSnapshot> {
        let mut snapshots = self.runtime.subscribe();
        let found = async {
            let snapshot = snapshots
                .wait_for(|snapshot| snapshot.hosts.first().is_some_and(|host| is(host)))
                .await;
            Arc::clone(&snapshot.unwrap().hosts[0])
        };
        match timeout(LONG, found).await {
            Ok(host) => host,
            Err(_) => panic!("{what}: {:#?}", self.runtime.subscribe().borrow()),
        }
    }
}

pub(crate) fn is_ready(host: &HostSnapshot) -> bool {
    host.state == HostState::Online && host.directory.state == DirectoryState::Ready
}

pub(crate) fn settings() -> RuntimeSettings {
    let mut settings = RuntimeSettings::new("test", "0");
    settings.seed = Some(1);
    settings
}

fn open(folder: &TempDir, net: &Net) -> Runtime {
    let storage = Arc::new(FileStorage::open(folder.path()).unwrap());
    Runtime::with(storage, Arc::new(net.clone()), settings()).unwrap()
}
