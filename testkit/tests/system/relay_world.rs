//! One daemon, one relay, and a proxy on each of the three paths between them and a client.
//!
//! ```text
//!   client ── direct ────────────────────► daemon
//!      └───── near ────► relay ◄── far ──────┘
//! ```

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bowline_protocol::AgentId;
use bowline_runtime::{
    DirectoryState, HostSnapshot, HostState, RuntimeSettings, machines::Path, transport::Address,
};
use bowline_testkit::{
    Proxy,
    world::{Client, DaemonProcess, RelayOptions, RelayProcess, WorldError},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    log,
    world::{LONG, Plan, options, rows},
};

/// Configuration of the world.
pub(crate) struct RelayPlan {
    /// Whether the client has the direct address.
    pub(crate) direct: bool,
    /// Silence after which relay and daemon ping each other.
    pub(crate) heartbeat: Duration,
    /// Log filter of relay and daemon.
    pub(crate) log: &'static str,
    pub(crate) settings: RuntimeSettings,
}

impl Default for RelayPlan {
    fn default() -> Self {
        Self {
            direct: true,
            heartbeat: Duration::from_millis(500),
            log: "warn",
            settings: Plan::default().settings,
        }
    }
}

impl RelayPlan {
    pub(crate) fn relay_only() -> Self {
        Self {
            direct: false,
            ..Self::default()
        }
    }
}

pub(crate) struct RelayWorld {
    pub(crate) relay: RelayProcess,
    pub(crate) daemon: DaemonProcess,
    pub(crate) direct: Proxy,
    pub(crate) near: Proxy,
    pub(crate) far: Proxy,
    pub(crate) client: Client,
    /// Last, so that it outlives the daemon that uses it.
    root: TempDir,
}

impl RelayWorld {
    pub(crate) async fn with(plan: RelayPlan) -> Result<Self, WorldError> {
        let root = tempfile::tempdir().unwrap();
        let options = RelayOptions {
            heartbeat: plan.heartbeat,
            log: plan.log.to_owned(),
            log_file: Some(root.path().join("relay.log")),
            ..RelayOptions::default()
        };
        let far = Proxy::ahead().await.unwrap();
        let relay = RelayProcess::start(options.dialled_at(far.addr())).await?;
        far.lead_to(relay.address());
        Self::within(root, plan, relay, far.clone(), far.addr()).await
    }

    /// As [`RelayWorld::with`], with `relay_at` as the relay's address for the daemon.
    pub(crate) async fn behind(
        plan: RelayPlan,
        relay: RelayProcess,
        far: Proxy,
        relay_at: SocketAddr,
    ) -> Result<Self, WorldError> {
        Self::within(tempfile::tempdir().unwrap(), plan, relay, far, relay_at).await
    }

    async fn within(
        root: TempDir,
        plan: RelayPlan,
        relay: RelayProcess,
        far: Proxy,
        relay_at: SocketAddr,
    ) -> Result<Self, WorldError> {
        log::keep();
        std::fs::create_dir(root.path().join("work")).unwrap();
        let plan_of_daemon = Plan {
            log: plan.log,
            ..Plan::default()
        };
        let mut daemon = options(root.path(), "", &plan_of_daemon)?;
        daemon.args = vec!["--relay".to_owned(), format!("ws://{relay_at}")];
        let daemon = DaemonProcess::start(daemon).await?;
        let direct = Proxy::start(daemon.address()).await.unwrap();
        let near = Proxy::start(relay.address()).await.unwrap();
        let client = Client::open(root.path().join("client"), plan.settings)?;
        let mut world = Self {
            relay,
            daemon,
            direct,
            near,
            far,
            client,
            root,
        };
        world.registered().await?;
        let addresses: Vec<_> = plan
            .direct
            .then(|| world.direct.addr())
            .into_iter()
            .collect();
        let relays = [world.near.addr()];
        world
            .client
            .pair_over(&world.daemon, &addresses, &relays)
            .await?;
        world
            .client
            .until("the first load", LONG, |host| {
                host.state == HostState::Online && host.directory.state == DirectoryState::Ready
            })
            .await?;
        if plan.direct {
            world.on(Path::Direct).await?;
        }
        Ok(world)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The daemon's relay status.
    pub(crate) async fn link(&self) -> Result<Value, WorldError> {
        let status: Value = self.daemon.ask("status").await?;
        Ok(status["relays"][0].clone())
    }

    /// Waits until the daemon is registered.
    pub(crate) async fn registered(&self) -> Result<(), WorldError> {
        self.daemon.registered().await
    }

    /// Waits until the client is online on a path.
    pub(crate) async fn on(&self, path: Path) -> Result<std::sync::Arc<HostSnapshot>, WorldError> {
        let what = format!("online, {path}");
        self.client
            .until(&what, LONG, |host| {
                host.state == HostState::Online && host.path == Some(path)
            })
            .await
    }

    pub(crate) fn address(&self, path: Path) -> Address {
        let address = match path {
            Path::Relay => format!("ws://{}", self.near.addr()),
            Path::Direct | Path::Local => self.direct.addr().to_string(),
        };
        Address { path, address }
    }

    /// An agent that prints this many lines at once.
    pub(crate) async fn streamer(&self, lines: usize) -> Result<AgentId, WorldError> {
        let lines = lines.to_string();
        self.client
            .agent("stream", &self.work(), Some(&lines))
            .await
    }

    /// The direct path fails: open connections are cut, new ones refused.
    pub(crate) fn cut_direct(&self) {
        self.direct.refuse(true);
        self.direct.cut();
    }

    /// `bowline-daemon sessions`.
    pub(crate) async fn sessions(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon.ask("sessions").await?;
        Ok(rows(&listing, "sessions"))
    }

    /// The connections that hold a session.
    pub(crate) async fn attached(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon.ask("connections").await?;
        let mut rows = rows(&listing, "connections");
        rows.retain(|row| row["kind"] == "session");
        Ok(rows)
    }

    /// Nothing was lost, and the session was not reset.
    pub(crate) async fn unbroken(&self) -> Result<(), WorldError> {
        self.client.online().await?;
        let counters = self.client.counters();
        assert_eq!(
            (counters.event_gaps, counters.reset),
            (0, 1),
            "{counters:?}"
        );
        Ok(())
    }

    /// Effects of the agent `append`: its lines.
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.path().join("effects.txt"));
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What client, daemon and relay logged so far, by time.
    pub(crate) fn logs(&self) -> Vec<String> {
        let read = |name| std::fs::read_to_string(self.root.path().join(name)).unwrap_or_default();
        let (daemon, relay) = (read("daemon.log"), read("relay.log"));
        log::merge(&[
            ("client", log::look()),
            ("daemon", daemon),
            ("relay", relay),
        ])
    }

    /// Ends a test: neither side logged an error.
    pub(crate) async fn done(self) -> super::Outcome {
        self.client.runtime().close().await;
        let theirs = std::fs::read_to_string(self.root.path().join("daemon.log"))?;
        assert_eq!(log::errors(&theirs), Vec::<String>::new());
        assert_eq!(log::errors(&log::take()), Vec::<String>::new());
        Ok(())
    }
}
