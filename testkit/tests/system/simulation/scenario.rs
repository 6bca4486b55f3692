//! The events of one seed's run, and its invariants.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_protocol::{AgentId, IntentId, identity::InstallSecret};
use bowline_runtime::{
    DirectoryState, HostSnapshot, HostState, Intent, Outcome, Receipt, Runtime, RuntimeSettings,
    machines::Path, storage::Storage, transport::Address,
};
use bowline_testkit::{
    random::Random,
    world::{Follower, Notes},
};
use serde_json::json;
use tokio::time::{Instant, advance, sleep, timeout};

use super::{
    daemon::{Daemon, offer, server_id},
    network::{LinkConditions, Network, SimConnector},
    storage::MemoryStorage,
};

/// The two direct paths.
const PATHS: [&str; 2] = ["one:1", "two:1"];
/// Faults and other events of one run.
const EVENTS: usize = 14;
/// Time to recovery after the last fault, in simulated time: the longest backoff (30 s), a connect
/// (15 s), a load (30 s), and pending work.
const CONVERGED: Duration = Duration::from_secs(150);
/// Longest answer time of a call that only needs a healthy network.
const PROMPT: Duration = Duration::from_secs(60);

type Checked<T = ()> = Result<T, String>;

struct Run {
    random: Random,
    network: Arc<Network>,
    daemon: Arc<Daemon>,
    storage: MemoryStorage,
    settings: RuntimeSettings,
    runtime: Runtime,
    follower: Option<Follower>,
    /// Intents of the app's current run.
    sent: Vec<Receipt>,
    /// Every intent ever sent.
    all: Vec<IntentId>,
    /// Those that end a turn: a late one must not end another.
    cancels: BTreeSet<IntentId>,
    made: usize,
}

/// Runs a seed.
pub(super) async fn run(seed: u64) -> Checked {
    let mut run = Run::begin(seed).await?;
    for _ in 0..EVENTS {
        let pause = run.random.below(2_000);
        run.live(Duration::from_millis(pause)).await?;
        run.event().await?;
    }
    run.heal();
    run.converge().await
}

pub(super) fn profile(storage: &MemoryStorage, seed: u64) {
    let mut bytes = [3; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let secret = InstallSecret::from_bytes(bytes).to_string();
    let profile = json!({ "version": 2, "secret": secret });
    storage
        .write("profile.json", profile.to_string().as_bytes())
        .unwrap();
}

impl Run {
    async fn begin(seed: u64) -> Checked<Self> {
        let mut random = Random::new(seed);
        // Sometimes a small log, so that resets occur.
        let replay = [8, 64, 4_096][usize::try_from(random.below(3)).unwrap()];
        let daemon = Arc::new(Daemon::new(replay));
        let network = Arc::new(Network::new(random.next_u64(), &PATHS, Arc::clone(&daemon)));
        let storage = MemoryStorage::default();
        profile(&storage, seed);
        // The default settings: simulated time is free.
        let mut settings = RuntimeSettings::new("simulation", "0");
        settings.seed = Some(seed);
        let runtime = open(&storage, &network, &settings)?;
        runtime
            .pair(&offer(&PATHS))
            .await
            .map_err(|error| error.to_string())?;
        let mut run = Self {
            random,
            network,
            daemon,
            storage,
            settings,
            runtime,
            follower: None,
            sent: Vec::new(),
            all: Vec::new(),
            cancels: BTreeSet::new(),
            made: 0,
        };
        run.daemon.model(|model| model.create("the first".into()));
        run.follow(None).await?;
        Ok(run)
    }

    fn host(&self) -> Option<Arc<HostSnapshot>> {
        self.runtime.subscribe().borrow().hosts.first().cloned()
    }

    fn first_agent(&self) -> AgentId {
        self.daemon
            .model(|model| model.agents[0].summary.id.clone())
    }

    async fn follow(&mut self, notes: Option<Notes>) -> Checked {
        let stream = self
            .runtime
            .timeline(&server_id(), &self.first_agent())
            .await
            .map_err(|error| error.to_string())?;
        let agent = self.first_agent();
        self.follower = Some(match notes {
            Some(notes) => Follower::go_on(stream, &agent, notes),
            None => Follower::of(stream, &agent),
        });
        Ok(())
    }

    /// Time passes: agents work, and sometimes the user or another client sends a request.
    async fn live(&mut self, time: Duration) -> Checked {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(Duration::from_millis(20 + self.random.below(500))).await;
            if self.daemon.is_up() {
                self.daemon.model(super::model::Model::work);
            }
            match self.random.below(12) {
                0 | 1 => self.intent()?,
                2 if self.daemon.is_up() => self.somebody_else(1),
                _ => {}
            }
            self.hold()?;
        }
        Ok(())
    }

    fn intent(&mut self) -> Checked {
        let intent = match self.random.below(6) {
            0 => {
                self.made += 1;
                Intent::CreateAgent {
                    provider: "model".into(),
                    cwd: "/".into(),
                    title: Some(format!("agent {}", self.made)),
                    prompt: None,
                }
            }
            1 => Intent::Cancel {
                agent_id: self.first_agent(),
            },
            _ => Intent::SendPrompt {
                agent_id: self.first_agent(),
                text: "x".repeat(usize::try_from(self.random.below(12)).unwrap() + 1),
            },
        };
        let is_cancel = matches!(intent, Intent::Cancel { .. });
        let sent = self
            .runtime
            .send(&server_id(), intent)
            .map_err(|error| error.to_string())?;
        if is_cancel {
            self.cancels.insert(sent.id);
        }
        self.all.push(sent.id);
        self.sent.push(sent);
        Ok(())
    }

    /// Other clients of the daemon cause events too.
    fn somebody_else(&mut self, times: u64) {
        for _ in 0..times {
            let (agent, length) = (self.random.below(3), self.random.below(9));
            self.daemon.model(|model| {
                let place = usize::try_from(agent).unwrap().min(model.agents.len() - 1);
                model.prompt(place, &"y".repeat(usize::try_from(length).unwrap()), None);
                model.work();
            });
        }
    }

    async fn event(&mut self) -> Checked {
        let path = PATHS[usize::try_from(self.random.below(2)).unwrap()];
        let long = Duration::from_millis(self.random.below(13_000));
        match self.random.below(17) {
            0 | 1 => self.network.change(path, |conditions| conditions.cuts += 1),
            2 => self.network.change_all(|conditions| conditions.cuts += 1),
            3 => self
                .network
                .change(path, |conditions| conditions.holes += 1),
            4 => {
                self.network.change_all(|conditions| conditions.holes += 1);
                self.runtime.network_changed();
            }
            5 => {
                self.broken(path, long, |conditions, on| conditions.frozen = on)
                    .await?
            }
            6 => {
                self.network.change(path, |conditions| conditions.cuts += 1);
                self.broken(path, long, |conditions, on| conditions.refusing = on)
                    .await?;
            }
            7 => {
                self.network
                    .change(path, |conditions| conditions.holes += 1);
                self.broken(path, long, |conditions, on| conditions.dead = on)
                    .await?;
            }
            8 => {
                self.network
                    .change_all(|conditions| conditions.frozen = true);
                self.live(long).await?;
                self.network
                    .change_all(|conditions| conditions.frozen = false);
            }
            9 => {
                let most = self.random.below(600);
                self.network
                    .change(path, |conditions| conditions.latency = (most / 2, most));
            }
            10 | 11 => self.restart_daemon(long).await?,
            12 => self.restart_app().await?,
            13 => self.jump().await,
            14 => self.platform(),
            15 => {
                // Offline for too long, or long enough for the log to overflow.
                self.network.change_all(|conditions| {
                    conditions.cuts += 1;
                    conditions.refusing = true;
                });
                sleep(Duration::from_secs(1)).await;
                if self.daemon.is_up() {
                    self.somebody_else(30);
                }
                if self.random.below(2) == 0 {
                    self.daemon.model(super::model::Model::expire);
                }
                self.live(long).await?;
                self.network
                    .change_all(|conditions| conditions.refusing = false);
            }
            _ => {
                let address = Address {
                    path: Path::Direct,
                    address: path.to_owned(),
                };
                let choice = (self.random.below(2) == 0).then_some(address);
                self.runtime.select_path(&server_id(), choice);
            }
        }
        Ok(())
    }

    async fn broken(
        &mut self,
        path: &str,
        long: Duration,
        set: fn(&mut LinkConditions, bool),
    ) -> Checked {
        self.network
            .change(path, |conditions| set(conditions, true));
        self.live(long).await?;
        self.network
            .change(path, |conditions| set(conditions, false));
        Ok(())
    }

    async fn restart_daemon(&mut self, long: Duration) -> Checked {
        self.daemon.kill();
        if self.random.below(3) == 0 {
            // Its machine lost power: connections end silently.
            self.network.change_all(|conditions| conditions.holes += 1);
        } else {
            self.network.change_all(|conditions| conditions.cuts += 1);
        }
        self.live(long / 3).await?;
        self.daemon.start();
        Ok(())
    }

    async fn restart_app(&mut self) -> Checked {
        if self.random.below(2) == 0 {
            // No close messages are delivered.
            self.network.change_all(|conditions| conditions.cuts += 1);
        }
        let notes = self.follower.take().map(Follower::end);
        self.runtime.close().await;
        for sent in std::mem::take(&mut self.sent) {
            let id = sent.id;
            if let Some(outcome) = sent.outcome().await {
                self.done(id, &outcome)?;
            }
        }
        self.runtime = open(&self.storage, &self.network, &self.settings)?;
        // A screen starts fresh; a program with a stored position continues.
        let notes = notes.filter(|_| self.random.below(2) == 0);
        self.follow(notes).await
    }

    /// The device slept: all timers are late at once.
    async fn jump(&mut self) {
        advance(Duration::from_millis(1_000 + self.random.below(300_000))).await;
        if self.random.below(2) == 0 {
            self.runtime.foreground();
        }
    }

    fn platform(&mut self) {
        match self.random.below(4) {
            0 => self.runtime.background(),
            1 => self.runtime.foreground(),
            2 => self.runtime.network_changed(),
            _ => self.runtime.refresh(),
        }
    }

    fn heal(&mut self) {
        self.network.change_all(|conditions| {
            *conditions = LinkConditions {
                cuts: conditions.cuts,
                holes: conditions.holes,
                ..LinkConditions::FINE
            };
        });
        self.daemon.start();
        self.runtime.foreground();
        self.runtime.select_path(&server_id(), None);
    }

    /// Invariants at every time.
    fn hold(&self) -> Checked {
        if let Some(counters) = self.runtime.counters(&server_id())
            && counters.event_gaps != 0
        {
            return Err(format!("events were missed: {counters:?}"));
        }
        let twice = self.daemon.model(|model| {
            let mut runs = model.runs.iter();
            runs.find(|(_, times)| **times != 1).map(|(id, _)| *id)
        });
        if let Some(id) = twice {
            return Err(format!("intent {id} ran twice"));
        }
        if let Some(wrong) = self.follower.as_ref().and_then(Follower::wrong) {
            return Err(format!("the follower: {wrong}"));
        }
        Ok(())
    }

    /// An intent is done; only a cancel that could not be sent for a minute may have expired.
    fn done(&self, id: IntentId, outcome: &Outcome) -> Checked {
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Expired if self.cancels.contains(&id) => Ok(()),
            other => Err(format!("intent {id} came to {other:?}")),
        }
    }

    /// Final state, within the bound.
    async fn converge(mut self) -> Checked {
        let deadline = Instant::now() + CONVERGED;
        while let Err(wrong) = self.settled() {
            if Instant::now() > deadline {
                return Err(format!("not within {CONVERGED:?}: {wrong}"));
            }
            self.daemon.model(super::model::Model::work);
            sleep(Duration::from_millis(100)).await;
            self.hold()?;
        }
        for sent in std::mem::take(&mut self.sent) {
            let id = sent.id;
            match timeout(PROMPT, sent.outcome()).await {
                Ok(Some(outcome)) => self.done(id, &outcome)?,
                Ok(None) => return Err(format!("the outcome of {id} is lost")),
                Err(_) => return Err(format!("intent {id} has no outcome")),
            }
        }
        let runs = self.daemon.model(|model| model.runs.clone());
        let must_run = |id: &&IntentId| !self.cancels.contains(id) && !runs.contains_key(id);
        if let Some(lost) = self.all.iter().find(must_run) {
            return Err(format!("intent {lost} was lost"));
        }
        if let Some(stranger) = runs.keys().find(|id| !self.all.contains(id)) {
            return Err(format!("intent {stranger} ran and was not sent"));
        }
        let sessions = self.daemon.model(|model| model.sessions());
        if sessions != 1 {
            return Err(format!("{sessions} sessions of one client (INV-1)"));
        }
        self.hold()?;
        self.runtime.close().await;
        Ok(())
    }

    /// Whether everything shown matches the daemon.
    fn settled(&self) -> Checked {
        let host = self.host().ok_or("no host")?;
        if host.state != HostState::Online
            || host.intents.pending != 0
            || host.directory.state != DirectoryState::Ready
        {
            return Err(format!("{host:?}"));
        }
        let (working, rows, items) = self.daemon.model(|model| {
            let rows: Vec<_> = model
                .agents
                .iter()
                .map(|agent| agent.summary.clone())
                .collect();
            (model.is_working(), rows, model.agents[0].items.clone())
        });
        if working {
            return Err("agents are working".into());
        }
        let shown: Vec<_> = host
            .directory
            .agents
            .iter()
            .map(|row| (**row).clone())
            .collect();
        if shown != rows {
            return Err(format!("the directory shows {shown:?} of {rows:?}"));
        }
        match &self.follower {
            Some(follower) => follower.compare(&items),
            None => Err("no follower".into()),
        }
    }
}

pub(super) fn open(
    storage: &MemoryStorage,
    network: &Arc<Network>,
    settings: &RuntimeSettings,
) -> Checked<Runtime> {
    let connector = Arc::new(SimConnector(Arc::clone(network)));
    Runtime::with(Arc::new(storage.clone()), connector, settings.clone())
        .map_err(|error| error.to_string())
}
