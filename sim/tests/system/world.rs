//! One daemon, a proxy in front of each of its listeners, and a client that knows only the proxies.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_protocol::{AgentId, TimelineItem};
use bowline_runtime::{Intent, RuntimeSettings, Submitted};
use bowline_sim::{
    Proxy,
    world::{Client, DaemonOptions, DaemonProcess, WorldError, history, program, quick_settings},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::log;

/// For waits that only a broken system exceeds, however slow the machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// How a world is to be.
pub(crate) struct Plan {
    pub(crate) paths: usize,
    /// Lines of `[limits]`.
    pub(crate) limits: String,
    pub(crate) settings: RuntimeSettings,
    pub(crate) log: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            paths: 1,
            limits: String::new(),
            settings: quick_settings(seed()),
            log: "warn",
        }
    }
}

/// The seed of this run: `BOWLINE_SEED`, or a fixed one.
pub(crate) fn seed() -> u64 {
    std::env::var("BOWLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1)
}

pub(crate) struct World {
    daemon: Option<DaemonProcess>,
    stopped: Option<DaemonOptions>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) client: Client,
    pub(crate) settings: RuntimeSettings,
    /// Last, so that it outlives the daemon that works in it.
    root: TempDir,
}

impl World {
    /// A world with one path, and a client that is online.
    pub(crate) async fn new() -> Result<Self, WorldError> {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Result<Self, WorldError> {
        log::keep();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        let daemon = DaemonProcess::start(options(root.path(), "", &plan)?).await?;
        let mut proxies = Vec::new();
        for address in daemon.addresses() {
            proxies.push(Proxy::start(*address).await.unwrap());
        }
        let mut client = Client::open(root.path().join("client"), plan.settings.clone())?;
        let addresses: Vec<_> = proxies.iter().map(Proxy::addr).collect();
        client.pair(&daemon, &addresses).await?;
        // A client may be online by the welcome alone. With an answer the attach is known to have happened.
        client
            .until("the first load", LONG, |host| {
                host.state == "online" && host.directory.state == "ready"
            })
            .await?;
        Ok(Self {
            daemon: Some(daemon),
            stopped: None,
            proxies,
            client,
            settings: plan.settings,
            root,
        })
    }

    /// Another device, attached without any proxy.
    pub(crate) async fn other_device(&self) -> Result<Client, WorldError> {
        let mut client = Client::open(
            self.root.path().join("other"),
            quick_settings(seed() ^ 0xff),
        )?;
        client
            .pair(self.daemon(), &[self.daemon().address()])
            .await?;
        client.online().await?;
        Ok(client)
    }

    /// Another daemon, with other keys.
    pub(crate) async fn other_daemon(&self) -> Result<DaemonProcess, WorldError> {
        DaemonProcess::start(options(self.root.path(), "other-", &Plan::default())?).await
    }

    /// Pairs the client once more.
    pub(crate) async fn pair_again(&mut self, addresses: &[SocketAddr]) -> Result<(), WorldError> {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        self.client.pair(daemon, addresses).await
    }

    pub(crate) fn daemon(&self) -> &DaemonProcess {
        self.daemon.as_ref().expect("the daemon runs")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// kill -9.
    pub(crate) async fn kill_daemon(&mut self) -> Result<(), WorldError> {
        let daemon = self.daemon.take().expect("the daemon runs");
        self.stopped = Some(daemon.kill().await?);
        Ok(())
    }

    /// Starts the daemon again: same state, same ports.
    pub(crate) async fn start_daemon(&mut self) -> Result<(), WorldError> {
        let options = self.stopped.take().expect("the daemon is stopped");
        self.daemon = Some(DaemonProcess::start(options).await?);
        Ok(())
    }

    /// SIGTERM.
    pub(crate) async fn stop_daemon(&mut self) -> Result<DaemonOptions, WorldError> {
        self.daemon.take().expect("the daemon runs").stop().await
    }

    pub(crate) async fn start_with(&mut self, options: DaemonOptions) -> Result<(), WorldError> {
        self.stopped = Some(options);
        self.start_daemon().await
    }

    /// Every path is dead: what there is gets cut, nothing new gets through.
    pub(crate) fn offline(&self) {
        for proxy in &self.proxies {
            proxy.refuse(true);
            proxy.cut();
        }
    }

    pub(crate) fn healthy(&self) {
        for proxy in &self.proxies {
            proxy.refuse(false);
            proxy.thaw();
            proxy.delay(Duration::ZERO);
        }
    }

    /// The proxy of the active path, and another one if there is one.
    pub(crate) fn active(&self) -> Option<&Proxy> {
        let address = self.client.host()?.address.clone()?;
        self.proxies
            .iter()
            .find(|proxy| proxy.addr().to_string() == address)
    }

    /// An agent whose prompts each append a line to [`World::effects`].
    pub(crate) async fn appender(&self) -> Result<AgentId, WorldError> {
        self.client.agent("append", &self.work(), None).await
    }

    /// Asks for one line of effect.
    pub(crate) fn effect(&self, agent: &AgentId, line: &str) -> Result<Submitted, WorldError> {
        self.client.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: line.to_owned(),
        })
    }

    /// What the prompts did, outside of daemon and client: how often each line was appended.
    pub(crate) fn effects(&self) -> BTreeMap<String, usize> {
        let text =
            std::fs::read_to_string(self.root.path().join("effects.txt")).unwrap_or_default();
        let mut effects = BTreeMap::new();
        for line in text.lines() {
            *effects.entry(line.to_owned()).or_default() += 1;
        }
        effects
    }

    /// Waits for that many different effects, then checks that none was there twice.
    pub(crate) async fn until_effects(&self, wanted: usize) -> Result<(), WorldError> {
        eventually(&format!("{wanted} effects"), || async {
            self.effects().len() >= wanted
        })
        .await?;
        let effects = self.effects();
        assert_eq!(effects.len(), wanted, "{effects:?}");
        let repeated: Vec<_> = effects.iter().filter(|(_, times)| **times != 1).collect();
        assert!(repeated.is_empty(), "run more than once: {repeated:?}");
        Ok(())
    }

    /// `bowline-daemon sessions`.
    pub(crate) async fn sessions(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon().ask("sessions").await?;
        Ok(rows(&listing, "sessions"))
    }

    /// `bowline-daemon connections`, without the one that asks.
    pub(crate) async fn connections(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon().ask("connections").await?;
        let mut rows = rows(&listing, "connections");
        rows.retain(|row| row["kind"] != "local");
        Ok(rows)
    }

    /// The whole durable timeline, as the daemon keeps it.
    pub(crate) async fn history(&self, agent: &AgentId) -> Result<Vec<TimelineItem>, WorldError> {
        history(&self.client, agent).await
    }

    /// The connections that hold a session, of all that there are.
    pub(crate) async fn attached(&self) -> Result<Vec<Value>, WorldError> {
        let mut rows = self.connections().await?;
        rows.retain(|row| row["kind"] == "session");
        Ok(rows)
    }

    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.root.path().join("daemon.log")
    }

    /// The end of a test: neither side logged an error.
    pub(crate) async fn done(self) -> super::Outcome {
        self.client.runtime().close().await;
        let theirs = std::fs::read_to_string(self.daemon_log())?;
        assert_eq!(log::errors(&theirs), Vec::<String>::new());
        assert_eq!(log::errors(&log::take()), Vec::<String>::new());
        Ok(())
    }
}

pub(crate) fn options(root: &Path, name: &str, plan: &Plan) -> Result<DaemonOptions, WorldError> {
    let config = root.join(format!("{name}daemon.toml"));
    let actor = program("bowline-sim-actor")?;
    std::fs::write(&config, configuration(&actor, root, &plan.limits)).unwrap();
    let mut options = DaemonOptions::new(root.join(format!("{name}state")));
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)); plan.paths];
    options.config = Some(config);
    options.log = plan.log.to_owned();
    options.log_file = Some(root.join(format!("{name}daemon.log")));
    Ok(options)
}

fn configuration(actor: &Path, root: &Path, limits: &str) -> String {
    let actor = actor.display();
    let effects = root.join("effects.txt");
    let effects = effects.display();
    format!(
        "[limits]\n{limits}\n\n\
         [[provider]]\nname = 'append'\nkind = 'command'\ncommand = ['{actor}', 'append', '{effects}']\n\n\
         [[provider]]\nname = 'stream'\nkind = 'command'\ncommand = ['{actor}', 'stream', '5']\n\n\
         [[provider]]\nname = 'burst'\nkind = 'command'\ncommand = ['{actor}', 'burst']\n"
    )
}

pub(crate) fn rows(listing: &Value, name: &str) -> Vec<Value> {
    listing[name].as_array().cloned().unwrap_or_default()
}

/// Waits for a condition that only can be asked for.
pub(crate) async fn eventually<F>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<(), WorldError>
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + LONG;
    while !condition().await {
        if Instant::now() > deadline {
            return Err(WorldError::Unexpected(format!(
                "not within {LONG:?}: {what}"
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
