//! The daemon as a whole: what is started in which order, and how it ends.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bowline_local::Endpoint;
use bowline_machines::{Moment, Path};
use bowline_program::{Vital, watch::kept};
use bowline_protocol::{Reason, ServerId};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use crate::{
    agents::{Agents, AgentsError, AgentsOptions},
    belonging::{Belonging, BelongingError},
    clock::Clock,
    config::Settings,
    connection::{Environment, Registry, list, serve},
    control::{About, ControlError, ControlService, ControlSocket, OfferMaker},
    identity::{Identity, IdentityFileError},
    ledger::{Ledger, LedgerOptions, StoreError},
    listener::{Accepted, BindError, Listener},
    metrics::Endpoint as MetricsEndpoint,
    relay::{RelayBoard, RelayPlan, RelayTlsError, Relays},
    service::{CancelOnDrop, Cancellation, MethodError, Router, ServiceError, Services, Setup},
    state_dir::{StateDir, StateDirError},
    store,
    system::System,
    vigil::Vigil,
};

/// How long a shutdown may take before what is left is dropped.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The part of it that is kept for the store.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// So many connections having left, their memory is given back to the system.
const BURST: u64 = 64;
/// Longest pause between two sweeps for silent connections.
const SWEEP: Duration = Duration::from_secs(5);

/// Milliseconds by which the wall clock is ahead of the other one after a sleep that counts.
const WOKEN: i64 = 10_000;

/// Output kept of one turn of an agent, in bytes; the rest is dropped, and the timeline says so.
const MAX_OUTPUT: usize = 4 << 20;
/// Turns running at once; further ones wait.
const MAX_RUNS: usize = 32;
/// Agents kept; a new one over it is answered with `overloaded`.
const MAX_AGENTS: u64 = 100_000;

/// Why a daemon did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is the error it wraps")]
pub enum StartError {
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    #[error(transparent)]
    Belonging(#[from] BelongingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Agents(#[from] AgentsError),
    #[error(transparent)]
    Methods(#[from] MethodError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    RelayTls(#[from] RelayTlsError),
}

impl StartError {
    /// Whether a file of the state directory could not be used at all, so that its owner, its mode or its disk is the reason.
    pub(crate) const fn is_of_files(&self) -> bool {
        matches!(
            self,
            Self::StateDir(StateDirError::Io { .. })
                | Self::Identity(IdentityFileError::Io { .. })
                | Self::Belonging(BelongingError::Io { .. })
                | Self::Store(StoreError::Unavailable { .. })
        )
    }
}

/// A running daemon.
pub struct Daemon {
    environment: Arc<Environment>,
    agents: Agents,
    sessions: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    socket: PathBuf,
    places: Arc<Semaphore>,
    local_places: Arc<Semaphore>,
    tasks: Vec<JoinHandle<()>>,
    relays: Relays,
    vital: Vital,
    /// Tells services when it goes.
    running: CancelOnDrop,
    vigil: Option<Vigil>,
    _state_dir: StateDir,
}

impl Daemon {
    /// Starts a daemon; it accepts when this returns. `services` are an app author's own. Runs on the current tokio
    /// runtime, of either kind.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(settings: Settings, services: Services) -> Result<Self, StartError> {
        Self::start_with_clock(settings, services, Clock::system()).await
    }

    /// As [`Daemon::start`], by another clock.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with_clock(
        settings: Settings,
        services: Services,
        clock: Clock,
    ) -> Result<Self, StartError> {
        // Before anything is made: what no socket can be called is known by its name.
        Endpoint::new(&settings.socket).map_err(ControlError::from)?;
        let state_dir = StateDir::open(&settings.state_dir)?;
        let relays = RelayPlan::new(settings.relay.clone(), &settings.relay_root)?;
        let mut listeners = Vec::with_capacity(settings.listen.len());
        for address in &settings.listen {
            listeners.push(Listener::bind(*address).await?);
        }
        let metrics = match settings.metrics {
            Some(address) => Some(MetricsEndpoint::bind(address).await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(MetricsEndpoint::address);
        let sessions: Vec<_> = listeners.iter().map(Listener::address).collect();
        let belonging = Belonging::check(state_dir.path())?;
        let identity = Identity::load_or_create(state_dir.path())?;
        belonging.confirm(identity.server_id())?;
        let vital = Vital::default();
        let ledger = Ledger::open(LedgerOptions {
            vital: vital.clone(),
            ..ledger_options(&settings, &identity, clock.clone())
        })?;
        belonging.mark(identity.server_id());
        let vigil = Vigil::begin(state_dir.path())
            .inspect_err(
                |error| warn!(%error, "a state folder that is removed will not be noticed"),
            )
            .ok();
        let control = ControlSocket::bind(&settings.socket)?;
        let agents = Agents::start(ledger.clone(), agents_options(&settings)).await?;

        let registry = Arc::new(Registry::default());
        let board = RelayBoard::new(&settings.relay);
        let mut router = Router::new();
        router.add(System::new(
            identity.server_id().clone(),
            settings.name.clone(),
            clock.clone(),
        ))?;
        router.add(agents.clone())?;
        let about = about(&settings, &identity, &sessions, metrics_address);
        let offers = offers(&settings, &identity, &sessions);
        router.add(ControlService::new(
            about,
            offers,
            Arc::clone(&registry),
            board.clone(),
            router.stats().clone(),
            clock,
        ))?;
        let (running, shutdown) = Cancellation::new();
        let setup = Setup {
            ledger: ledger.clone(),
            settings: Arc::new(settings.clone()),
            server_id: identity.server_id().clone(),
            shutdown,
        };
        services.link(&setup, &mut router).await?;

        let places = Arc::new(Semaphore::new(settings.limits.max_connections as usize));
        let local_places = Arc::new(Semaphore::new(
            settings.limits.max_local_connections as usize,
        ));
        let socket = control.path().to_owned();
        let environment = Arc::new(Environment::new(
            identity,
            settings.name,
            ledger,
            router,
            settings.limits,
            registry,
            board,
        ));
        let mut tasks = vec![
            tokio::spawn(vital.clone().task(
                "local socket",
                control.serve(Arc::clone(&environment), Arc::clone(&local_places)),
            )),
            tokio::spawn({
                let environment = Arc::clone(&environment);
                async move { kept("sweep", || sweep(Arc::clone(&environment))).await }
            }),
        ];
        tasks.extend(metrics.map(|endpoint| {
            let serving = endpoint.serve(Arc::clone(&environment));
            tokio::spawn(vital.clone().task("metrics endpoint", serving))
        }));
        for listener in listeners {
            tasks.push(listen(listener, &environment, &places, &vital));
        }
        let relays = relays.start(&environment, &places);
        info!(
            server_id = environment.identity.server_id().as_str(),
            "started"
        );
        Ok(Self {
            environment,
            agents,
            sessions,
            metrics: metrics_address,
            socket,
            places,
            local_places,
            tasks,
            relays,
            vital,
            running,
            vigil,
            _state_dir: state_dir,
        })
    }

    /// Addresses of the session listeners, as bound.
    pub fn sessions(&self) -> &[SocketAddr] {
        &self.sessions
    }

    /// Where `GET /metrics` is answered, as bound.
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The local socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Who it is.
    pub fn server_id(&self) -> &ServerId {
        self.environment.identity.server_id()
    }

    /// What its connections share: the way in for other sources of sockets, with [`crate::connection::serve`].
    pub const fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }

    /// Waits for what leaves the daemon of no use: its store or one of its listeners has ended by a panic, its folder was removed, or
    /// its database replaced, so that nothing it stores can be found again. The text is for people. Whoever runs the daemon shuts it
    /// down then, and says that it failed. For ever while all is well.
    pub async fn failed(&mut self) -> String {
        let vigil = &mut self.vigil;
        let lost = async {
            match vigil {
                Some(vigil) => vigil.lost().await.to_string(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            defect = self.vital.failed() => defect,
            lost = lost => lost,
        }
    }

    /// Ends the daemon within a few seconds: no more sockets, every connection closed with `reason`, running
    /// programs ended, everything on disk.
    pub async fn shutdown(mut self, reason: Reason) {
        for task in self.tasks.drain(..) {
            task.abort();
            // A task that is gone has dropped its listener, so the port is free when this returns.
            let _ = task.await;
        }
        drop(self.running);
        self.relays.stop(reason);
        self.environment.registry.close_all(reason);
        let limits = &self.environment.limits;
        let connections = async {
            // Every connection holds a place until its socket has ended.
            let _ = self.places.acquire_many(limits.max_connections).await;
            let local = limits.max_local_connections;
            let _ = self.local_places.acquire_many(local).await;
        };
        let deadline = Instant::now() + SHUTDOWN;
        let ended = timeout_at(deadline - CHECKPOINT, async {
            tokio::join!(connections, self.relays.ended(), self.agents.shutdown());
        });
        if ended.await.is_err() {
            warn!("not everything ended in time");
        }
        if timeout_at(deadline, self.environment.ledger.shutdown())
            .await
            .is_err()
        {
            warn!("the store did not close in time; it is consistent all the same");
        }
        info!("stopped");
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Daemon({})", self.server_id())
    }
}

fn listen(
    listener: Listener,
    environment: &Arc<Environment>,
    places: &Arc<Semaphore>,
    vital: &Vital,
) -> JoinHandle<()> {
    let deadline = environment.limits.handshake_timeout;
    let registry = Arc::clone(&environment.registry);
    let environment = Arc::clone(environment);
    let accept = move |accepted| {
        let Accepted {
            socket,
            peer,
            accepted_at,
            permit,
        } = accepted;
        let environment = Arc::clone(&environment);
        let listed = list(&environment, Path::Direct, Some(peer));
        // One deadline from the accepted socket to `session.ready`; the upgrade has used some of it.
        let used = u64::try_from(accepted_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = environment.clock.now().as_millis();
        let accepted_at = Moment::from_millis(now.saturating_sub(used));
        // A task of its own, so that what the upgrade needed is gone.
        tokio::spawn(async move {
            serve(environment, socket, listed, accepted_at).await;
            drop(permit);
        });
    };
    let full = move || registry.turned_away(Path::Direct);
    let serving = listener.serve(Arc::clone(places), deadline, accept, full);
    tokio::spawn(vital.clone().task("listener", serving))
}

/// Looks for silent and stuck connections; one timer for all of them.
async fn sweep(environment: Arc<Environment>) {
    let silence = environment.limits.heartbeat_timeout;
    let stall = environment.limits.write_timeout;
    let idle = environment.limits.idle_timeout;
    let shortest = [silence, idle]
        .into_iter()
        .flatten()
        .fold(stall, Duration::min);
    let pause = (shortest / 4).clamp(Duration::from_millis(50), SWEEP);
    let mut last = environment.clock.now();
    let mut last_wall = environment.clock.unix_millis();
    let mut given_back = 0;
    loop {
        tokio::time::sleep(pause).await;
        let now = environment.clock.now();
        // Much later than asked for: this machine slept, or the process stood still (lesson 5). Less than this
        // is at most half of the silence allowed, which a living peer's pings leave room for.
        let lost = now.since(last).saturating_sub(pause);
        if lost > pause {
            environment.registry.forgive(now, lost);
        }
        // Where the clock for deadlines stands still in sleep, the other one tells: relays are tried at once after it.
        let wall = environment.clock.unix_millis();
        let went_on = i64::try_from(now.since(last).as_millis()).unwrap_or(i64::MAX);
        if lost > pause || (wall - last_wall).saturating_sub(went_on) > WOKEN {
            environment.relays.hurry();
        }
        (last, last_wall) = (now, wall);
        environment.registry.sweep(now, silence, stall);
        let (open, ever) = environment.registry.counts();
        let left = ever.saturating_sub(open as u64);
        if left.saturating_sub(given_back) >= BURST {
            given_back = left;
            let returned = bowline_heap::give_back();
            tracing::debug!(open, returned, "many connections have left");
        }
    }
}

fn ledger_options(settings: &Settings, identity: &Identity, clock: Clock) -> LedgerOptions {
    let path = settings.state_dir.join(store::FILE);
    LedgerOptions {
        clock,
        session_grace: settings.limits.session_grace.unwrap_or_default(),
        replay_bytes: settings.limits.replay_bytes,
        replay_events: settings.limits.replay_events,
        max_message_bytes: settings.limits.max_message_bytes,
        ..LedgerOptions::new(path, identity.server_id().clone())
    }
}

fn agents_options(settings: &Settings) -> AgentsOptions {
    AgentsOptions {
        providers: settings.providers.clone(),
        max_output_bytes: MAX_OUTPUT,
        max_runs: MAX_RUNS,
        max_agents: MAX_AGENTS,
        launcher: settings.launcher.clone(),
    }
}

fn about(
    settings: &Settings,
    identity: &Identity,
    listen: &[SocketAddr],
    metrics: Option<SocketAddr>,
) -> About {
    About {
        server_id: identity.server_id().clone(),
        name: settings.name.clone(),
        version: crate::VERSION,
        pid: std::process::id(),
        state_dir: settings.state_dir.clone(),
        listen: listen.to_vec(),
        socket: settings.socket.clone(),
        metrics,
    }
}

fn offers(settings: &Settings, identity: &Identity, bound: &[SocketAddr]) -> OfferMaker {
    OfferMaker {
        server_id: identity.server_id().clone(),
        transport_key: identity.transport.public(),
        name: settings.name.clone(),
        advertise: settings.advertise.clone(),
        bound: bound.to_vec(),
        relays: settings.relay.iter().map(ToString::to_string).collect(),
    }
}
