//! The runtime as the commands use it: which host, until when to wait for it, and what to say meanwhile.

use std::{path::Path, sync::Arc, time::Duration};

use bowline_runtime::{
    CallError, HostRecord, Outcome, Runtime, RuntimeSettings, Snapshot, Submitted,
    protocol::{
        AgentSummary, RpcReason,
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
    failure::CliError,
    find,
    output::Output,
    settings::Settings,
    text,
    waiting::{Spinner, Standing, has_told, missing, note, until, view},
};

/// Pause before a question is asked again that the daemon could not answer.
pub(crate) const AGAIN: Duration = Duration::from_millis(300);
/// Agents asked for at once where they are looked for in a daemon's list.
const PAGE: u32 = 500;
/// The shortest end of an id that an agent is looked for by there.
const SHORTEST_END: usize = 8;
/// How long deliveries and connections get to end when the command has.
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
    /// Opens the runtime on the state directory; its hosts begin to connect.
    pub(crate) fn open(settings: &'a Settings, output: &'a Output) -> Result<Self, CliError> {
        let mut config = RuntimeSettings::new("bowline", env!("CARGO_PKG_VERSION"));
        config.device_name.clone_from(&settings.device_name);
        config.only = settings.only.map(Into::into);
        let roots = settings.relay_root.iter().map(|path| root(path));
        config.extra_roots = roots.collect::<Result<_, _>>()?;
        let runtime = Runtime::open(settings.state_dir.clone(), config)?;
        Ok(Self {
            known: runtime.known_hosts()?,
            snapshots: runtime.subscribe(),
            runtime,
            settings,
            output,
        })
    }

    /// Gives requests of earlier commands that were never answered a moment to be delivered.
    pub(crate) async fn deliver(&self) {
        let mut snapshots = self.snapshots();
        let delivered = snapshots.wait_for(|snapshot| {
            let mut hosts = snapshot.hosts.iter();
            hosts.all(|host| host.state != "online" || host.intents.pending == 0)
        });
        let _ = timeout(CLOSE, delivered).await;
    }

    /// Ends the connections, within a bound.
    pub(crate) async fn close(&self) {
        let _ = timeout(CLOSE, self.runtime.close()).await;
    }

    /// Every paired host.
    pub(crate) fn known(&self) -> &[HostRecord] {
        &self.known
    }

    /// Snapshots, from the newest on.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The host that the user means; without a word of theirs the file's, or the only one.
    pub(crate) fn host(&self, asked: Option<&str>) -> Result<&HostRecord, CliError> {
        find::host(&self.known, asked.or(self.settings.file.host.as_deref()))
    }

    /// The hosts among which an agent is looked for.
    pub(crate) fn hosts(&self, asked: Option<&str>) -> Result<Vec<&HostRecord>, CliError> {
        let named = asked.or(self.settings.file.host.as_deref()).is_some();
        if named || self.known.is_empty() {
            return Ok(vec![self.host(asked)?]);
        }
        Ok(self.known.iter().collect())
    }

    /// Waits until the host is online, for as long as `--timeout` says.
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
                Standing::of(host, view(&snapshots.borrow_and_update(), &host.server_id));
            let problem = match standing {
                Standing::Online => return Ok(()),
                Standing::Over(error) => return Err(error),
                Standing::Away(problem) => problem,
            };
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() {
                    return Err(CliError::failed("internal", "the runtime has ended"));
                },
                () = spinner.turn(|| note(doing, host, problem.as_ref())) => {}
                () = until(deadline) => return Err(CliError::unreachable(host, problem.as_ref())),
            }
        }
    }

    /// Waits until going on with the host has become hopeless. While the runtime tries again, so do we: for
    /// ever, or for as long as `--give-up` says.
    pub(crate) async fn hopeless(&self, host: &HostRecord) -> CliError {
        let mut snapshots = self.snapshots();
        loop {
            if let Err(error) = self.wait(host, self.settings.give_up, "reconnecting").await {
                return error;
            }
            let away = |snapshot: &Arc<Snapshot>| {
                view(snapshot, &host.server_id).is_none_or(|host| host.state != "online")
            };
            if snapshots.wait_for(away).await.is_err() {
                return CliError::failed("internal", "the runtime has ended");
            }
        }
    }

    /// What became of an intent; waits across disconnects.
    pub(crate) async fn outcome<R: DeserializeOwned>(
        &self,
        host: &HostRecord,
        submitted: Submitted,
    ) -> Result<R, CliError> {
        let outcome = tokio::select! {
            outcome = submitted.outcome() => outcome,
            error = self.hopeless(host) => return Err(error),
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

    /// Asks the host something that changes nothing; asks again when the path dies under the question.
    pub(crate) async fn query<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        host: &HostRecord,
        method: &'static str,
        params: &P,
    ) -> Result<R, CliError> {
        loop {
            let asked = tokio::select! {
                asked = self.runtime.query(&host.server_id, method, params) => asked,
                error = self.hopeless(host) => return Err(error),
            };
            match asked {
                Err(error) if is_passing(&error) => sleep(AGAIN).await,
                asked => return Ok(asked?),
            }
        }
    }

    /// The agent that the user means and its host, once every host that is there has told its agents. An
    /// exact id is taken as soon as it is seen.
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
        // Hosts with more agents than are held here tell the rest when asked.
        for host in &hosts {
            let more =
                view(&snapshot, &host.server_id).is_some_and(|host| host.directory.left_out > 0);
            if more && let Some(agent) = self.left_out(host, asked).await? {
                return Ok(((*host).clone(), Arc::new(agent)));
            }
        }
        // It may be on one of those that did not answer.
        match settled.missing.into_iter().next() {
            Some(error) => Err(error),
            None => Err(CliError::usage(
                "not_found",
                format!(
                    "no agent `{}`; `bowline agents` lists them",
                    text::one_line(asked)
                ),
            )),
        }
    }

    /// The agent of that id, or of an id with that end, looked for in the daemon's own list: from its oldest on, since those are not held here.
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

    /// Waits until every one of these hosts has told its agents or cannot, or until `enough`. Once one host
    /// has answered, those that failed are not waited for.
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
            let any_loaded = hosts.iter().any(|host| live(host).is_some_and(has_told));
            let away: Vec<_> = hosts
                .iter()
                .copied()
                .filter(|host| !live(host).is_some_and(has_told))
                .collect();
            let is_settled = |host: &&HostRecord| match Standing::of(host, live(host)) {
                Standing::Over(_) => true,
                Standing::Away(problem) => any_loaded && problem.is_some(),
                Standing::Online => false,
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

/// Whether the same question may well be answered when it is asked again.
pub(crate) fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Disconnected(_) | CallError::NotConnected | CallError::Timeout => true,
        CallError::Rpc(error) => matches!(
            error.reason(),
            Some(RpcReason::Overloaded | RpcReason::Timeout | RpcReason::StorageUnavailable)
        ),
        CallError::Malformed(_) | CallError::Closed => false,
    }
}

/// What there is when the waiting is over.
pub(crate) struct Settled {
    pub(crate) snapshot: Arc<Snapshot>,
    /// One error for each host that told nothing.
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
