//! The runtime as used by commands: selects the host, bounds the wait for it, and shows progress.

use std::{path::Path, sync::Arc, time::Duration};

use bowline_runtime::{
    CallError, HostRecord, HostSnapshot, HostState, Intent, Outcome, Receipt, Runtime,
    RuntimeSettings, Snapshot,
    protocol::{
        Advice, AgentSummary,
        methods::{AgentsPage, ListAgents, name},
    },
    transport::WebSocketConnector,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    commands::Progress,
    config::Settings,
    failure::CliError,
    find,
    output::Output,
    text,
    waiting::{Reachability, Spinner, missing, note, until, view},
};

/// Delay before repeating a query that the daemon could not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// Page size of a search in a daemon's agent list.
const PAGE: u32 = 500;
/// Shortest end of an id accepted in that search.
const SHORTEST_END: usize = 8;
/// Time for deliveries and connections to end when the command ends.
const CLOSE: Duration = Duration::from_secs(1);

/// The runtime of one command.
pub(crate) struct Client<'a> {
    pub(crate) runtime: Runtime,
    pub(crate) settings: &'a Settings,
    pub(crate) output: &'a Output,
    known: Vec<HostRecord>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl<'a> Client<'a> {
    /// Opens the runtime on the state directory; its hosts start connecting.
    pub(crate) fn open(settings: &'a Settings, output: &'a Output) -> Result<Self, CliError> {
        let mut config = RuntimeSettings::new("bowline", env!("CARGO_PKG_VERSION"));
        config.device_name.clone_from(&settings.device_name);
        config.only = settings.only.map(Into::into);
        // A command shows what the daemon has now, or nothing.
        config.cache_bytes = 0;
        let roots = settings.relay_root.iter().map(|path| root(path));
        config.extra_roots = roots.collect::<Result<_, _>>()?;
        let proxy = settings.proxy.as_ref();
        config.proxy = proxy.map(|proxy| proxy.reveal().to_owned());
        let runtime = Runtime::open(settings.state_dir.clone(), config)?;
        Ok(Self {
            known: runtime.known_hosts()?,
            snapshots: runtime.subscribe(),
            runtime,
            settings,
            output,
        })
    }

    /// Gives unanswered requests of earlier commands a short time to be delivered.
    pub(crate) async fn deliver(&self) {
        let mut snapshots = self.snapshots();
        let delivered = snapshots.wait_for(|snapshot| {
            let mut hosts = snapshot.hosts.iter();
            hosts.all(|host| host.state != HostState::Online || host.intents.pending == 0)
        });
        let _ = timeout(CLOSE, delivered).await;
    }

    /// Closes the connections within a bounded time.
    pub(crate) async fn close(&self) {
        let _ = timeout(CLOSE, self.runtime.close()).await;
    }

    /// Every paired host.
    pub(crate) fn known(&self) -> &[HostRecord] {
        &self.known
    }

    /// Snapshots, starting with the newest.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The host selected by the user; without a selection the one in the file, or the only one.
    pub(crate) fn host(&self, asked: Option<&str>) -> Result<&HostRecord, CliError> {
        find::host(&self.known, asked.or(self.settings.host.as_deref()))
    }

    /// The hosts in which to search for an agent.
    pub(crate) fn hosts(&self, asked: Option<&str>) -> Result<Vec<&HostRecord>, CliError> {
        let named = asked.or(self.settings.host.as_deref()).is_some();
        if named || self.known.is_empty() {
            return Ok(vec![self.host(asked)?]);
        }
        Ok(self.known.iter().collect())
    }

    /// Waits until the host is online, at most `--timeout`.
    pub(crate) async fn online(&self, host: &HostRecord) -> Result<(), CliError> {
        self.wait(host, self.settings.timeout, "connecting").await
    }

    async fn wait(
        &self,
        host: &HostRecord,
        bound: Option<Duration>,
        doing: &str,
    ) -> Result<(), CliError> {
        let mut snapshots = self.snapshots();
        let mut spinner = Spinner::new(self.output);
        let deadline = bound.map(|bound| Instant::now() + bound);
        loop {
            let standing =
                Reachability::of(host, view(&snapshots.borrow_and_update(), &host.server_id));
            let problem = match standing {
                Reachability::Online => return Ok(()),
                Reachability::Over(error) => return Err(error),
                Reachability::Away(problem) => problem,
            };
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() {
                    return Err(CliError::runtime_ended());
                },
                () = spinner.turn(|| note(doing, host, problem.as_ref())) => {}
                () = until(deadline) => return Err(CliError::unreachable(host, problem.as_ref())),
            }
        }
    }

    /// Waits until the host is lost for good. Retries as long as the runtime does, up to
    /// `--give-up`.
    pub(crate) async fn until_lost(&self, host: &HostRecord) -> CliError {
        let mut snapshots = self.snapshots();
        loop {
            if let Err(error) = self.wait(host, self.settings.give_up, "reconnecting").await {
                return error;
            }
            let away = |snapshot: &Arc<Snapshot>| {
                view(snapshot, &host.server_id).is_none_or(|host| host.state != HostState::Online)
            };
            if snapshots.wait_for(away).await.is_err() {
                return CliError::runtime_ended();
            }
        }
    }

    /// Sends an intent, and notes that it is on its way.
    pub(crate) fn send(
        &self,
        progress: &Progress,
        host: &HostRecord,
        intent: Intent,
    ) -> Result<Receipt, CliError> {
        let submitted = self.runtime.send(&host.server_id, intent)?;
        progress.sent(host);
        Ok(submitted)
    }

    /// The outcome of an intent; waits across disconnects.
    pub(crate) async fn outcome<R: DeserializeOwned>(
        &self,
        host: &HostRecord,
        submitted: Receipt,
    ) -> Result<R, CliError> {
        let outcome = tokio::select! {
            outcome = submitted.outcome() => outcome,
            error = self.until_lost(host) => return Err(error),
        };
        match outcome {
            Some(Outcome::Done { result }) => serde_json::from_str(&result)
                .map_err(|error| CallError::Malformed(error.to_string()).into()),
            Some(Outcome::Refused { error }) => Err(CliError::answered(&error)),
            Some(Outcome::Expired) => Err(CliError::failed(
                "expired",
                "the request could not be delivered for a day and is no longer tried",
            )),
            Some(Outcome::Abandoned) | None => Err(CliError::failed(
                "cancelled",
                "the host was forgotten while the request waited",
            )),
        }
    }

    /// Sends a read-only query to the host; repeats it if the path fails before the answer.
    pub(crate) async fn query<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        host: &HostRecord,
        method: &'static str,
        params: &P,
    ) -> Result<R, CliError> {
        loop {
            let asked = tokio::select! {
                asked = self.runtime.query(&host.server_id, method, params) => asked,
                error = self.until_lost(host) => return Err(error),
            };
            match asked {
                Err(error) if should_retry(&error) => sleep(RETRY_PAUSE).await,
                asked => return Ok(asked?),
            }
        }
    }

    /// The agent selected by the user and its host, after every reachable host has listed its
    /// agents. An exact id matches as soon as it appears.
    pub(crate) async fn agent(
        &self,
        on: Option<&str>,
        asked: &str,
    ) -> Result<(HostRecord, Arc<AgentSummary>), CliError> {
        let hosts = self.hosts(on)?;
        let settled = self
            .settled(&hosts, |snapshot| {
                let rows = agents_of(&hosts, snapshot);
                rows.iter().any(|(_, agent)| agent.id.as_str() == asked)
            })
            .await;
        let snapshot = settled.snapshot;
        let rows = agents_of(&hosts, &snapshot);
        let agents: Vec<_> = rows.iter().map(|(_, agent)| agent.as_ref()).collect();
        if let Some(found) = find::agent(&agents, asked)?
            && let Some((host, agent)) = rows.iter().find(|(_, agent)| agent.id == found.id)
        {
            return Ok(((*host).clone(), Arc::clone(agent)));
        }
        // Hosts with more agents than the directory holds are queried for the rest.
        for host in &hosts {
            let more =
                view(&snapshot, &host.server_id).is_some_and(|host| host.directory.left_out > 0);
            if more && let Some(agent) = self.left_out(host, asked).await? {
                return Ok(((*host).clone(), Arc::new(agent)));
            }
        }
        // The agent may be on a host that did not answer.
        match settled.missing.into_iter().next() {
            Some(error) => Err(error),
            None => {
                let asked = text::one_line(asked);
                let problem = format!("no agent `{asked}`; `bowline agents` lists them");
                Err(CliError::usage("not_found", problem))
            }
        }
    }

    /// Finds an agent by id or end of id in the daemon's full list, oldest first, since the
    /// directory lacks the oldest.
    async fn left_out(
        &self,
        host: &HostRecord,
        asked: &str,
    ) -> Result<Option<AgentSummary>, CliError> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if asked.len() < SHORTEST_END || !asked.chars().all(is_id) {
            return Ok(None);
        }
        let mut wanted = ListAgents {
            limit: Some(PAGE),
            ..ListAgents::default()
        };
        loop {
            let page: AgentsPage = self.query(host, name::AGENTS_LIST, &wanted).await?;
            let found = page
                .agents
                .into_iter()
                .find(|agent| agent.id.as_str().ends_with(asked));
            if found.is_some() || page.next_cursor.is_none() {
                return Ok(found);
            }
            wanted.cursor = page.next_cursor;
        }
    }

    /// Waits until each of these hosts has listed its agents or failed, or until `enough`. After
    /// the first host has answered, failed hosts are no longer waited for.
    pub(crate) async fn settled(
        &self,
        hosts: &[&HostRecord],
        enough: impl Fn(&Snapshot) -> bool,
    ) -> Settled {
        let mut snapshots = self.snapshots();
        let mut spinner = Spinner::new(self.output);
        let deadline = self.settings.timeout.map(|bound| Instant::now() + bound);
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let live = |host: &HostRecord| view(&snapshot, &host.server_id);
            let has_listed = |live: &HostSnapshot| live.directory.state.is_loaded();
            let any_loaded = hosts.iter().any(|host| live(host).is_some_and(has_listed));
            let away: Vec<_> = hosts
                .iter()
                .copied()
                .filter(|host| !live(host).is_some_and(has_listed))
                .collect();
            let is_settled = |host: &&HostRecord| match Reachability::of(host, live(host)) {
                Reachability::Over(_) => true,
                Reachability::Away(problem) => any_loaded && problem.is_some(),
                Reachability::Online => false,
            };
            let first_away = away.iter().copied().find(|host| !is_settled(host));
            let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            let Some(waited_for) = first_away.filter(|_| !over && !enough(&snapshot)) else {
                let missing = away.iter().map(|host| missing(host, live(host))).collect();
                return Settled { snapshot, missing };
            };
            let problem = live(waited_for).and_then(|live| live.last_error.clone());
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() {
                    return Settled { snapshot: Arc::default(), missing: Vec::new() };
                },
                () = spinner.turn(|| note("connecting", waited_for, problem.as_ref())) => {}
                () = until(deadline) => {}
            }
        }
    }
}

/// The certificates in a file.
fn root(path: &Path) -> Result<Vec<u8>, CliError> {
    let wrong = |problem: String| {
        let path = path.display();
        CliError::usage("config", format!("`relay_root`: {path}: {problem}"))
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    WebSocketConnector::new(std::slice::from_ref(&text))
        .map_err(|failure| wrong(failure.message))?;
    Ok(text)
}

/// Whether to repeat a query without a message. A defect of the daemon may be transient too, but is
/// reported.
fn should_retry(error: &CallError) -> bool {
    let is_defect = matches!(error, CallError::Rpc(error) if error.advice() == Advice::Report);
    error.is_transient() && !is_defect
}

/// The result of a wait for hosts.
pub(crate) struct Settled {
    pub(crate) snapshot: Arc<Snapshot>,
    /// One error per host that listed nothing.
    pub(crate) missing: Vec<CliError>,
}

/// The agents of these hosts, each with its host.
pub(crate) fn agents_of<'s>(
    hosts: &[&'s HostRecord],
    snapshot: &'s Snapshot,
) -> Vec<(&'s HostRecord, &'s Arc<AgentSummary>)> {
    hosts
        .iter()
        .filter_map(|host| Some((*host, view(snapshot, &host.server_id)?)))
        .flat_map(|(host, live)| live.directory.agents.iter().map(move |agent| (host, agent)))
        .collect()
}
