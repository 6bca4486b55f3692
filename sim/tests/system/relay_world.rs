//! One daemon, one relay, and a proxy on each of the three ways between them and a client.
//!
//! ```text
//!   client ── direct ────────────────────► daemon
//!      └───── near ────► relay ◄── far ──────┘
//! ```

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bowline_protocol::AgentId;
use bowline_runtime::{HostSnapshot, RuntimeSettings, machines::Path, transport::Address};
use bowline_sim::{
    Proxy,
    world::{Client, DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, WorldError},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    log,
    world::{LONG, Plan, eventually, options, rows},
};

/// How such a world is to be.
pub(crate) struct RelayPlan {
    /// Whether the client knows the direct way.
    pub(crate) direct: bool,
    /// Silence after which relay and daemon ask each other.
    pub(crate) heartbeat: Duration,
    pub(crate) settings: RuntimeSettings,
}

impl Default for RelayPlan {
    fn default() -> Self {
        Self {
            direct: true,
            heartbeat: Duration::from_millis(500),
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
    relay: Option<RelayProcess>,
    stopped_relay: Option<RelayOptions>,
    daemon: Option<DaemonProcess>,
    stopped_daemon: Option<DaemonOptions>,
    pub(crate) direct: Proxy,
    pub(crate) near: Proxy,
    pub(crate) far: Proxy,
    pub(crate) client: Client,
    /// Last, so that it outlives the daemon that works in it.
    root: TempDir,
}

impl RelayWorld {
    pub(crate) async fn with(plan: RelayPlan) -> Result<Self, WorldError> {
        let options = RelayOptions {
            heartbeat: plan.heartbeat,
            ..RelayOptions::default()
        };
        let relay = RelayProcess::start(options).await?;
        let far = Proxy::start(relay.address()).await.unwrap();
        Self::behind(plan, relay, far.clone(), far.addr()).await
    }

    /// As [`RelayWorld::with`], where the daemon believes the relay to be at `relay_at`.
    pub(crate) async fn behind(
        plan: RelayPlan,
        relay: RelayProcess,
        far: Proxy,
        relay_at: SocketAddr,
    ) -> Result<Self, WorldError> {
        log::keep();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        let mut daemon = options(root.path(), "", &Plan::default())?;
        daemon.args = vec!["--relay".to_owned(), format!("ws://{relay_at}")];
        let daemon = DaemonProcess::start(daemon).await?;
        let direct = Proxy::start(daemon.address()).await.unwrap();
        let near = Proxy::start(relay.address()).await.unwrap();
        let client = Client::open(root.path().join("client"), plan.settings)?;
        let mut world = Self {
            relay: Some(relay),
            stopped_relay: None,
            daemon: Some(daemon),
            stopped_daemon: None,
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
        let daemon = world.daemon.as_ref().expect("the daemon runs");
        let relays = [world.near.addr()];
        world.client.pair_over(daemon, &addresses, &relays).await?;
        world
            .client
            .until("the first load", LONG, |host| {
                host.state == "online" && host.directory.state == "ready"
            })
            .await?;
        if plan.direct {
            world.on(Path::Direct).await?;
        }
        Ok(world)
    }

    pub(crate) fn daemon(&self) -> &DaemonProcess {
        self.daemon.as_ref().expect("the daemon runs")
    }

    pub(crate) fn relay(&self) -> &RelayProcess {
        self.relay.as_ref().expect("the relay runs")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// What the daemon says about its relay.
    pub(crate) async fn link(&self) -> Result<Value, WorldError> {
        let status: Value = self.daemon().ask("status").await?;
        Ok(status["relays"][0].clone())
    }

    /// Waits until the daemon is registered.
    pub(crate) async fn registered(&self) -> Result<(), WorldError> {
        eventually("the daemon is registered", || async {
            self.link()
                .await
                .is_ok_and(|link| link["state"] == "registered")
        })
        .await
    }

    /// Waits until the client is online that way.
    pub(crate) async fn on(&self, path: Path) -> Result<std::sync::Arc<HostSnapshot>, WorldError> {
        let what = format!("online, {path}");
        self.client
            .until(&what, LONG, |host| {
                host.state == "online" && host.path == Some(path)
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

    /// An agent that streams so many lines at once.
    pub(crate) async fn streamer(&self, lines: usize) -> Result<AgentId, WorldError> {
        let lines = lines.to_string();
        self.client
            .agent("stream", &self.work(), Some(&lines))
            .await
    }

    /// The direct way is dead: what there is gets cut, nothing new gets through.
    pub(crate) fn cut_direct(&self) {
        self.direct.refuse(true);
        self.direct.cut();
    }

    /// kill -9 of the relay.
    pub(crate) async fn kill_relay(&mut self) -> Result<(), WorldError> {
        let relay = self.relay.take().expect("the relay runs");
        self.stopped_relay = Some(relay.kill().await?);
        Ok(())
    }

    /// SIGTERM to the relay.
    pub(crate) async fn stop_relay(&mut self) -> Result<(), WorldError> {
        let relay = self.relay.take().expect("the relay runs");
        self.stopped_relay = Some(relay.stop().await?);
        Ok(())
    }

    /// Starts the relay again on its port.
    pub(crate) async fn start_relay(&mut self) -> Result<(), WorldError> {
        let options = self.stopped_relay.take().expect("the relay is stopped");
        self.relay = Some(RelayProcess::start(options).await?);
        Ok(())
    }

    /// kill -9 of the daemon.
    pub(crate) async fn kill_daemon(&mut self) -> Result<(), WorldError> {
        let daemon = self.daemon.take().expect("the daemon runs");
        self.stopped_daemon = Some(daemon.kill().await?);
        Ok(())
    }

    /// SIGTERM to the daemon.
    pub(crate) async fn stop_daemon(&mut self) -> Result<(), WorldError> {
        let daemon = self.daemon.take().expect("the daemon runs");
        self.stopped_daemon = Some(daemon.stop().await?);
        Ok(())
    }

    /// Starts the daemon again: same state, same ports.
    pub(crate) async fn start_daemon(&mut self) -> Result<(), WorldError> {
        let options = self.stopped_daemon.take().expect("the daemon is stopped");
        self.daemon = Some(DaemonProcess::start(options).await?);
        Ok(())
    }

    /// `bowline-daemon sessions`.
    pub(crate) async fn sessions(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon().ask("sessions").await?;
        Ok(rows(&listing, "sessions"))
    }

    /// The connections that hold a session.
    pub(crate) async fn attached(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon().ask("connections").await?;
        let mut rows = rows(&listing, "connections");
        rows.retain(|row| row["kind"] == "session");
        Ok(rows)
    }

    /// Nothing was lost, and nothing begun anew.
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

    /// What the prompts of the agent `append` did: how often each line was appended.
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.path().join("effects.txt"));
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The end of a test: neither side logged an error.
    pub(crate) async fn done(self) -> super::Outcome {
        self.client.runtime().close().await;
        let theirs = std::fs::read_to_string(self.root.path().join("daemon.log"))?;
        assert_eq!(log::errors(&theirs), Vec::<String>::new());
        assert_eq!(log::errors(&log::take()), Vec::<String>::new());
        Ok(())
    }
}
