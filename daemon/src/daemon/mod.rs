//! The daemon as a whole: the order of its start and of its shutdown.

mod offered;
mod options;
mod sweep;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bowline_local::Endpoint;
use bowline_program::{BindError, Listener, Strangers, Vital, WebAccess, watch::kept};
use bowline_protocol::{Reason, ServerId};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

pub(crate) use self::offered::offered;
use crate::{
    belonging::Belonging,
    blobs::{BlobService, BlobStore},
    caller::Callers,
    clock::Clock,
    config::Settings,
    connection::{Acceptor, ConnectionRegistry},
    control::{ControlError, ControlService, ControlSocket},
    files::FileError,
    identity::Identity,
    ledger::{Ledger, LedgerOptions, StoreError},
    listener,
    metrics::{Sources, page},
    relay::{RelayPlan, RelaySettingsError, RelayStatus, Relays},
    service::{CancelOnDrop, Cancellation, Hooks, MethodError, Router},
    setup::{ServiceError, Services, Setup},
    state_dir::StateDir,
    system::System,
    vigil::Vigil,
};

/// Time limit of a shutdown; what is left is dropped after it.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The share of it that is reserved for the store.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// Why a daemon did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is the error it wraps")]
pub enum StartError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Methods(#[from] MethodError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    RelaySettings(#[from] RelaySettingsError),
}

impl StartError {
    /// Whether a file of the state directory could not be used, so that its owner, its mode or its
    /// disk may be the reason.
    pub(crate) const fn is_of_files(&self) -> bool {
        matches!(
            self,
            Self::File(FileError::Io { .. }) | Self::Store(StoreError::Unavailable { .. })
        )
    }
}

/// A running daemon.
pub struct Daemon {
    relay_status: RelayStatus,
    acceptor: Arc<Acceptor>,
    hooks: Hooks,
    blobs: BlobStore,
    sessions: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    socket: PathBuf,
    places: Arc<Semaphore>,
    local_places: Arc<Semaphore>,
    tasks: Vec<JoinHandle<()>>,
    relays: Relays,
    vital: Vital,
    /// Signals the shutdown to services.
    running: CancelOnDrop,
    vigil: Option<Vigil>,
    _state_dir: StateDir,
}

impl Daemon {
    /// Starts a daemon; it accepts connections when this returns. `services` are the app author's
    /// own. Needs a current tokio runtime, of either kind.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(settings: Settings, services: Services) -> Result<Self, StartError> {
        Self::start_with_clock(settings, services, Clock::system()).await
    }

    /// As [`Daemon::start`], with another clock.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with_clock(
        settings: Settings,
        services: Services,
        clock: Clock,
    ) -> Result<Self, StartError> {
        // Before any file is created: an invalid socket name is detected from the name alone.
        Endpoint::new(&settings.socket).map_err(ControlError::from)?;
        let state_dir = StateDir::open(&settings.state_dir)?;
        let relays = RelayPlan::new(&settings)?;
        let mut listeners = Vec::with_capacity(settings.listen.len());
        for address in &settings.listen {
            listeners.push(Listener::bind(*address, "--listen").await?);
        }
        let metrics = match settings.metrics {
            Some(address) => Some(Listener::bind(address, "--metrics").await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(Listener::address);
        let sessions: Vec<_> = listeners.iter().map(Listener::address).collect();
        let belonging = Belonging::check(state_dir.path())?;
        let identity = Identity::load_or_create(state_dir.path())?;
        belonging.confirm(identity.server_id())?;
        let vital = Vital::default();
        let ledger = Ledger::open(LedgerOptions {
            vital: vital.clone(),
            ..options::ledger(&settings, &identity, clock.clone())
        })?;
        belonging.mark(identity.server_id());
        let vigil = Vigil::begin(state_dir.path())
            .inspect_err(
                |error| warn!(%error, "cannot watch the state folder; its removal would not be detected"),
            )
            .ok();
        let control = ControlSocket::bind(&settings.socket)?;
        let blobs = BlobStore::open(
            state_dir.path(),
            ledger.clone(),
            settings.limits.blobs(),
            &vital,
        )
        .await?;

        let registry = Arc::new(ConnectionRegistry::default());
        let relay_status = RelayStatus::new(&settings.relay);
        let mut router = Router::new();
        let started = clock.now();
        router.add(System {
            server_id: identity.server_id().clone(),
            name: settings.name.clone(),
            clock: clock.clone(),
            started,
        })?;
        router.add(BlobService {
            store: blobs.clone(),
            live: router.live().clone(),
        })?;
        let (running, shutdown) = Cancellation::new();
        let setup = Setup {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            settings: Arc::new(settings.clone()),
            server_id: identity.server_id().clone(),
            shutdown,
        };
        // Before any service starts, so that none misses a change of the lock.
        let lock = ledger.lock_changes();
        let hooks = services.link(&setup, &mut router).await?;
        router.add(ControlService {
            about: options::about(&settings, &identity, &sessions, metrics_address),
            offers: options::offers(&settings, &identity, &sessions),
            registry: Arc::clone(&registry),
            relays: relay_status.clone(),
            stats: router.stats().clone(),
            clock: clock.clone(),
            hooks: hooks.clone(),
            started,
        })?;

        let places = Arc::new(Semaphore::new(settings.limits.max_connections as usize));
        let strangers = Strangers::new(listener::STRANGERS);
        let local_places = Arc::new(Semaphore::new(
            settings.limits.max_local_connections as usize,
        ));
        let socket = control.path().to_owned();
        let identity = Arc::new(identity);
        let web = options::web_access(&settings);
        let metrics = metrics.map(|endpoint| {
            let sources = Arc::new(Sources {
                ledger: ledger.clone(),
                registry: Arc::clone(&registry),
                relays: relay_status.clone(),
                requests: router.stats().clone(),
                clock,
                started,
            });
            bowline_program::metrics::serve(endpoint, web.clone(), move || {
                let sources = Arc::clone(&sources);
                async move { page(&sources).await.map_err(|error| error.message) }
            })
        });
        let callers = Callers::new({
            let hooks = hooks.clone();
            Arc::new(move |process: &_, asked: &_| hooks.starter(process, asked))
        });
        let acceptor = Arc::new(Acceptor::new(
            identity,
            settings.name,
            ledger,
            router,
            settings.limits,
            registry,
        ));
        let mut tasks = vec![
            tokio::spawn(vital.clone().task(
                "local socket",
                control.serve(Arc::clone(&acceptor), Arc::clone(&local_places), callers),
            )),
            tokio::spawn({
                let hooks = hooks.clone();
                kept("lock", move || hooks.clone().follow_lock(lock.clone()))
            }),
            tokio::spawn({
                let (acceptor, relays) = (Arc::clone(&acceptor), relay_status.clone());
                kept("sweep", move || {
                    sweep::sweep(Arc::clone(&acceptor), relays.clone())
                })
            }),
        ];
        tasks.extend(
            metrics.map(|serving| tokio::spawn(vital.clone().task("metrics endpoint", serving))),
        );
        for listener in listeners {
            tasks.push(listen(
                listener, &acceptor, &places, &strangers, &web, &vital,
            ));
        }
        let relays = relays.start(&relay_status, &acceptor, &places);
        info!(
            server_id = acceptor.identity.server_id().as_str(),
            "started"
        );
        Ok(Self {
            relay_status,
            acceptor,
            hooks,
            blobs,
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

    /// Address of `GET /metrics`, as bound.
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Path of the local socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// The daemon's id.
    pub fn server_id(&self) -> &ServerId {
        self.acceptor.identity.server_id()
    }

    /// Its keys.
    pub fn identity(&self) -> &Identity {
        &self.acceptor.identity
    }

    /// The ledger: sessions, devices, data of services.
    pub fn ledger(&self) -> &Ledger {
        &self.acceptor.ledger
    }

    /// Its blobs.
    pub const fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Its open connections.
    pub fn registry(&self) -> &ConnectionRegistry {
        &self.acceptor.registry
    }

    /// Status of each relay.
    pub const fn relays(&self) -> &RelayStatus {
        &self.relay_status
    }

    /// The entry point for other sources of sockets, with [`crate::connection::serve`].
    pub const fn acceptor(&self) -> &Arc<Acceptor> {
        &self.acceptor
    }

    /// Waits until the daemon can no longer serve: its store or one of its listeners panicked, its
    /// folder was removed, or its database was replaced, so that further writes would be lost.
    /// Returns a text for people. The caller then shuts the daemon down and reports the failure.
    /// Pending for ever while none of this happens.
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

    /// Shuts the daemon down within a few seconds: stops accepting, closes every connection with
    /// `reason`, ends running programs, and writes everything to disk.
    pub async fn shutdown(mut self, reason: Reason) {
        for task in self.tasks.drain(..) {
            task.abort();
            // An ended task has dropped its listener, so the port is free when this returns.
            let _ = task.await;
        }
        drop(self.running);
        self.relays.stop(reason);
        self.acceptor.registry.close_all(reason);
        let limits = &self.acceptor.limits;
        let connections = async {
            // Every connection holds a permit until its socket is closed.
            let _ = self.places.acquire_many(limits.max_connections).await;
            let local = limits.max_local_connections;
            let _ = self.local_places.acquire_many(local).await;
        };
        let deadline = Instant::now() + SHUTDOWN;
        let ended = timeout_at(deadline - CHECKPOINT, async {
            tokio::join!(connections, self.relays.ended(), self.hooks.shutdown());
        });
        if ended.await.is_err() {
            warn!("some tasks did not end in time");
        }
        if timeout_at(deadline - CHECKPOINT / 2, self.blobs.shutdown())
            .await
            .is_err()
        {
            warn!("the files of blobs did not close in time");
        }
        if timeout_at(deadline, self.acceptor.ledger.shutdown())
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
    acceptor: &Arc<Acceptor>,
    places: &Arc<Semaphore>,
    strangers: &Arc<Strangers>,
    web: &WebAccess,
    vital: &Vital,
) -> JoinHandle<()> {
    let web = web.at(listener.address());
    let serving = listener::serve(
        listener,
        Arc::clone(acceptor),
        Arc::clone(places),
        Arc::clone(strangers),
        web,
    );
    tokio::spawn(vital.clone().task("listener", serving))
}
