//! One daemon, a proxy in front of each of its listeners, and a client that only has the proxies'
//! addresses.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_protocol::{AgentId, TimelineItem};
use bowline_runtime::{DirectoryState, HostState, Intent, Receipt, RuntimeSettings};
use bowline_testkit::{
    Proxy, eventually,
    world::{
        Client, DaemonOptions, DaemonProcess, Wine, WorldError, history, program, quick_settings,
    },
};
use serde_json::Value;
use tempfile::TempDir;

use crate::log;

/// Timeout that only a broken system exceeds, on any machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Configuration of a world.
pub(crate) struct Plan {
    pub(crate) paths: usize,
    /// Lines of `[limits]`.
    pub(crate) limits: String,
    pub(crate) settings: RuntimeSettings,
    pub(crate) log: &'static str,
    /// The daemon is the Windows build.
    pub(crate) wine: Option<Wine>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            paths: 1,
            limits: String::new(),
            settings: quick_settings(seed()),
            log: "warn",
            wine: None,
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
    pub(crate) daemon: DaemonProcess,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) client: Client,
    pub(crate) settings: RuntimeSettings,
    /// Whether the daemon uses Windows paths.
    is_windows: bool,
    /// Last, so that it outlives the daemon that uses it.
    root: TempDir,
}

impl World {
    /// A world with one path and an online client.
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
        // A client may be online with the welcome alone. An answer proves that the attach has
        // happened.
        client
            .until("the first load", LONG, |host| {
                host.state == HostState::Online && host.directory.state == DirectoryState::Ready
            })
            .await?;
        Ok(Self {
            daemon,
            proxies,
            client,
            settings: plan.settings,
            is_windows: plan.wine.is_some(),
            root,
        })
    }

    /// Another device, attached without a proxy.
    pub(crate) async fn other_device(&self) -> Result<Client, WorldError> {
        let mut client = Client::open(
            self.root.path().join("other"),
            quick_settings(seed() ^ 0xff),
        )?;
        client.pair(&self.daemon, &[self.daemon.address()]).await?;
        client.online().await?;
        Ok(client)
    }

    /// Another daemon, with other keys.
    pub(crate) async fn other_daemon(&self) -> Result<DaemonProcess, WorldError> {
        DaemonProcess::start(options(self.root.path(), "other-", &Plan::default())?).await
    }

    /// Pairs the client again.
    pub(crate) async fn pair_again(&mut self, addresses: &[SocketAddr]) -> Result<(), WorldError> {
        self.client.pair(&self.daemon, addresses).await
    }

    /// The agents' work folder, as seen by the daemon's machine.
    pub(crate) fn work(&self) -> PathBuf {
        let work = self.root.path().join("work");
        match self.is_windows {
            true => Wine::path(&work).into(),
            false => work,
        }
    }

    /// Every path fails: open connections are cut, new ones refused.
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

    /// Requests one line of effect.
    pub(crate) fn effect(&self, agent: &AgentId, line: &str) -> Result<Receipt, WorldError> {
        self.client.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: line.to_owned(),
        })
    }

    /// Effects of the prompts, measured outside of daemon and client: how often each line was
    /// appended.
    pub(crate) fn effects(&self) -> BTreeMap<String, usize> {
        let text =
            std::fs::read_to_string(self.root.path().join("effects.txt")).unwrap_or_default();
        let mut effects = BTreeMap::new();
        for line in text.lines() {
            *effects.entry(line.to_owned()).or_default() += 1;
        }
        effects
    }

    /// Waits for this many different effects, then checks that none occurred twice.
    pub(crate) async fn until_effects(&self, wanted: usize) -> Result<(), WorldError> {
        eventually(format!("{wanted} effects"), async || {
            let done = self.effects().len();
            if done >= wanted { Ok(()) } else { Err(done) }
        })
        .await;
        let effects = self.effects();
        assert_eq!(effects.len(), wanted, "{effects:?}");
        let repeated: Vec<_> = effects.iter().filter(|(_, times)| **times != 1).collect();
        assert!(repeated.is_empty(), "run more than once: {repeated:?}");
        Ok(())
    }

    /// `bowline-daemon sessions`.
    pub(crate) async fn sessions(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon.ask("sessions").await?;
        Ok(rows(&listing, "sessions"))
    }

    /// `bowline-daemon connections`, without the querying one.
    pub(crate) async fn connections(&self) -> Result<Vec<Value>, WorldError> {
        let listing: Value = self.daemon.ask("connections").await?;
        let mut rows = rows(&listing, "connections");
        rows.retain(|row| row["kind"] != "local");
        Ok(rows)
    }

    /// The whole stored timeline.
    pub(crate) async fn history(&self, agent: &AgentId) -> Result<Vec<TimelineItem>, WorldError> {
        history(&self.client, agent).await
    }

    /// The connections attached to a session.
    pub(crate) async fn attached(&self) -> Result<Vec<Value>, WorldError> {
        let mut rows = self.connections().await?;
        rows.retain(|row| row["kind"] == "session");
        Ok(rows)
    }

    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.root.path().join("daemon.log")
    }

    /// Ends a test: neither side logged an error.
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
    let (actor, effects) = (program("bowline-testkit-actor"), root.join("effects.txt"));
    let (actor, effects) = match &plan.wine {
        None => (actor?, effects),
        Some(wine) => {
            let actor = Wine::path(&wine.program("bowline-testkit-actor")?);
            (actor.into(), Wine::path(&effects).into())
        }
    };
    let mut text = configuration(&actor, &effects, &plan.limits);
    if plan.wine.is_some() {
        text += CMD;
    }
    std::fs::write(&config, text).unwrap();
    let mut options = DaemonOptions::new(root.join(format!("{name}state")));
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)); plan.paths];
    options.config = Some(config);
    options.log = plan.log.to_owned();
    options.log_file = Some(root.join(format!("{name}daemon.log")));
    options.wine = plan.wine.clone();
    Ok(options)
}

/// The shell of Windows, as the contract writes it.
const CMD: &str = r#"
[[provider]]
name = "shell"
kind = "command"
command = ["cmd.exe", "/D", "/S", "/C", "chcp 65001>nul & {prompt}"]
"#;

fn configuration(actor: &Path, effects: &Path, limits: &str) -> String {
    let (actor, effects) = (actor.display(), effects.display());
    format!(
        "[limits]\n{limits}\n\n\
         [[provider]]\nname = 'append'\nkind = 'command'\ncommand = ['{actor}', 'append', '{effects}']\n\n\
         [[provider]]\nname = 'stream'\nkind = 'command'\ncommand = ['{actor}', 'stream', '5']\n\n\
         [[provider]]\nname = 'burst'\nkind = 'command'\ncommand = ['{actor}', 'burst']\n\n\
         [[provider]]\nname = 'print'\nkind = 'command'\ncommand = ['{actor}', 'print']\n"
    )
}

pub(crate) fn rows(listing: &Value, name: &str) -> Vec<Value> {
    listing[name].as_array().cloned().unwrap_or_default()
}
