//! The façade that apps hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_protocol::{
    AgentId, IntentId, Offer, Reason, ServerId, handshake::ClientInfo, identity::random_bytes,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{oneshot, watch};

use crate::{
    client::{Cursor, Dialer, to_raw},
    clock::unix_millis,
    config::RuntimeConfig,
    directory::DirectorySubscription,
    error::{CallError, Failure, IntentError, OpenError, PairError},
    host::{Host, HostCommand, HostContext},
    intent::{Intent, Outcome},
    outbox::Record,
    pairing,
    profile::Profile,
    registry::{self, HostRecord},
    screen::{ScreenError, ScreenSubscription, ScreenTarget},
    settings::RuntimeSettings,
    snapshot::{Counters, Snapshot, SnapshotHub},
    storage::{FileStorage, Storage, StorageError},
    timeline::{TimelineError, TimelineStream},
    transport::{Address, Connector, Target, WebSocketConnector, link::Credentials},
};

/// Keeps an app attached to its hosts. Cheap to clone; the last clone ends every connection.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    context: HostContext,
    hosts: Mutex<Hosts>,
    /// What the app wants. Changed with the hosts locked, so that whoever holds them knows what they are for.
    phase: watch::Sender<Phase>,
}

/// What the app wants of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is written until it is resumed.
    Paused,
    /// Nothing begins any more.
    Closed,
}

/// The hosts that have a driver.
#[derive(Default)]
struct Hosts {
    known: BTreeMap<ServerId, Host>,
    /// Of the drivers that were told to end: true when one has.
    ending: Vec<watch::Receiver<bool>>,
}

impl Hosts {
    /// Ends a driver and keeps in mind that it is ending.
    fn end(&mut self, host: &Host, forget: bool) {
        host.stop(forget);
        self.ending.retain(|stopped| !*stopped.borrow());
        self.ending.push(host.stopped());
    }
}

/// An intent on its way.
#[derive(Debug)]
pub struct Submitted {
    /// Its name for ever.
    pub id: IntentId,
    outcome: oneshot::Receiver<Outcome>,
}

impl Submitted {
    /// Waits until the intent has an outcome, across disconnects. `None` when the runtime was closed before:
    /// the intent is kept and offered again by the next runtime on the same storage.
    pub async fn outcome(self) -> Option<Outcome> {
        self.outcome.await.ok()
    }
}

impl Runtime {
    /// Creates a runtime for an app. Must be called within a tokio runtime, on which the drivers then run. The hosts as they
    /// are known from the disk are in the first snapshot, which is there when this returns.
    ///
    /// # Errors
    /// [`OpenError`] names the file or entry and says what to do; a missing or corrupt identity is never replaced (INV-9).
    pub fn create(config: &RuntimeConfig) -> Result<Self, OpenError> {
        let settings = config.settings();
        let connector = WebSocketConnector::new(&settings.extra_roots)
            .map_err(|failure| OpenError::Internal(failure.message))?;
        Self::with(config.storage()?, Arc::new(connector), settings)
    }

    /// Opens a runtime with its state in `folder`. Must be called within a tokio runtime, on which the drivers
    /// then run.
    ///
    /// # Errors
    /// [`OpenError`] names the file and says what to do; a corrupt identity is never replaced (INV-9).
    /// [`OpenError::Internal`] outside of a tokio runtime.
    pub fn open(
        folder: impl Into<std::path::PathBuf>,
        settings: RuntimeSettings,
    ) -> Result<Self, OpenError> {
        let storage = Arc::new(FileStorage::open(folder)?);
        let connector = WebSocketConnector::new(&settings.extra_roots)
            .map_err(|failure| OpenError::Internal(failure.message))?;
        Self::with(storage, Arc::new(connector), settings)
    }

    /// [`Runtime::open`] on another storage or network.
    ///
    /// # Errors
    /// As there.
    pub fn with(
        storage: Arc<dyn Storage>,
        connector: Arc<dyn Connector>,
        settings: RuntimeSettings,
    ) -> Result<Self, OpenError> {
        tokio::runtime::Handle::try_current()
            .map_err(|_| OpenError::Internal("opened outside of a tokio runtime".into()))?;
        let known = registry::load(storage.as_ref())?;
        if !known.is_empty() {
            Profile::require(storage.as_ref())?;
        }
        let profile = Profile::load_or_create(storage.as_ref())?;
        let seed = match settings.seed {
            Some(seed) => seed,
            None => u64::from_le_bytes(random_bytes()?),
        };
        let client = ClientInfo {
            name: settings.app_name.clone(),
            version: settings.app_version.clone(),
            platform: std::env::consts::OS.to_owned(),
        };
        let context = HostContext {
            storage,
            connector,
            profile: Arc::new(profile),
            client,
            settings: Arc::new(settings),
            seed,
            hub: Arc::new(SnapshotHub::new()),
        };
        let mut hosts = Hosts::default();
        for record in known {
            let server_id = record.server_id.clone();
            hosts
                .known
                .insert(server_id, Host::start(&context, record)?);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                context,
                hosts: Mutex::new(hosts),
                phase: watch::Sender::new(Phase::Running),
            }),
        })
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.inner
            .hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// Whether [`Runtime::close`] was called: whatever ended since ended for that reason.
    pub fn is_closed(&self) -> bool {
        self.phase() == Phase::Closed
    }

    /// The handle of a host. A runtime that is closed says so, whatever it knew before.
    fn host<E>(
        &self,
        server_id: &ServerId,
        closed: E,
        unknown: impl FnOnce() -> E,
    ) -> Result<Host, E> {
        let hosts = self.hosts();
        if self.is_closed() {
            return Err(closed);
        }
        hosts.known.get(server_id).cloned().ok_or_else(unknown)
    }

    fn known_host(&self, server_id: &ServerId) -> Option<Host> {
        self.hosts().known.get(server_id).cloned()
    }

    /// Who this install is.
    pub fn profile(&self) -> &Profile {
        &self.inner.context.profile
    }

    /// The hosts as they are stored now, oldest first: what a name on a command line may stand for, before
    /// any of them has been heard of.
    ///
    /// # Errors
    /// [`StorageError`] names the file.
    pub fn known_hosts(&self) -> Result<Vec<HostRecord>, StorageError> {
        registry::load(self.inner.context.storage.as_ref())
    }

    /// Snapshots of everything, the newest only: a slow reader gets fewer of them. When the runtime was closed the last one
    /// shows every host as stopped, and then the channel says that it is closed.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.context.hub.subscribe()
    }

    /// Pairs with the daemon of an offer and adds it as a host, with every address of the offer. Returns once
    /// the daemon has proved its identity and taken this device.
    ///
    /// # Errors
    /// [`PairError`]; nothing is stored then.
    pub async fn pair(&self, offer: &Offer) -> Result<HostRecord, PairError> {
        let mut phase = self.inner.phase.subscribe();
        if self.is_closed() {
            return Err(PairError::Closed);
        }
        let context = &self.inner.context;
        let mut record = HostRecord::from_offer(offer);
        let dialers = record
            .addresses
            .iter()
            .filter(|address| context.allows(address))
            .map(|address| {
                let mut dialer = context.dialer(&record, address, Cursor::default());
                dialer.pairing_token = Some(offer.token.to_string());
                (address.clone(), dialer)
            })
            .collect();
        let name = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => return Err(PairError::Closed),
            paired = pairing::pair(dialers) => paired?,
        };
        if !name.is_empty() {
            record.name = name;
        }
        let known = self.keep(&record)?;
        if let Some(host) = known {
            host.paired(record.clone()).await;
        }
        Ok(record)
    }

    /// Stores a proved host and starts its driver; hands out the driver that it has already.
    fn keep(&self, record: &HostRecord) -> Result<Option<Host>, PairError> {
        let context = &self.inner.context;
        let mut hosts = self.hosts();
        match self.phase() {
            Phase::Running => {}
            Phase::Paused => return Err(StorageError::Paused.into()),
            Phase::Closed => return Err(PairError::Closed),
        }
        let known = hosts.known.get(&record.server_id).cloned();
        let new = match known {
            Some(_) => None,
            None => Some(Host::start(context, record.clone())?),
        };
        if let Err(error) = registry::add(context.storage.as_ref(), record) {
            if let Some(new) = new {
                hosts.end(&new, false);
                context.hub.remove(&record.server_id);
            }
            return Err(error.into());
        }
        if let Some(new) = new {
            hosts.known.insert(record.server_id.clone(), new);
        }
        Ok(known)
    }

    /// Forgets a host: its key, its addresses and the intents that wait for it. True if it was known.
    ///
    /// # Errors
    /// When the registry cannot be written; the host is then still known. [`StorageError::Closed`] after a close.
    pub fn forget(&self, server_id: &ServerId) -> Result<bool, StorageError> {
        let context = &self.inner.context;
        // Held throughout, so that a pairing at the same time comes before or after.
        let mut hosts = self.hosts();
        match self.phase() {
            Phase::Running => {}
            Phase::Paused => return Err(StorageError::Paused),
            Phase::Closed => return Err(StorageError::Closed),
        }
        registry::remove(context.storage.as_ref(), server_id)?;
        let removed = hosts.known.remove(server_id);
        if let Some(host) = &removed {
            hosts.end(host, true);
            context.hub.remove(server_id);
        }
        Ok(removed.is_some())
    }

    /// Sends an intent: checks it, keeps it, queues it, and returns. It is offered to the daemon under the same
    /// id until its outcome is known, across disconnects and restarts of this process (BX-1).
    ///
    /// # Errors
    /// [`IntentError`]; nothing is kept then.
    pub fn send(&self, server_id: &ServerId, intent: Intent) -> Result<Submitted, IntentError> {
        let unknown = || IntentError::UnknownHost(server_id.clone());
        let host = self.host(server_id, IntentError::Closed, unknown)?;
        let id = IntentId::from_uuid(uuid::Uuid::now_v7());
        let (method, params) = intent.into_request(id)?;
        let outcome = host.submit(Record {
            id,
            method,
            params,
            at: unix_millis(),
        })?;
        Ok(Submitted { id, outcome })
    }

    /// Asks the host something that changes nothing. If the host is away, waits for as long as a connect may take
    /// (15 s), and not at all while nothing is being tried. At most 30 s in all.
    ///
    /// # Errors
    /// [`CallError`]; `Disconnected` at once when the connection dies under the question (INV-13).
    pub async fn query<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        server_id: &ServerId,
        method: &'static str,
        params: &P,
    ) -> Result<R, CallError> {
        let unknown = || CallError::NotConnected;
        let host = self.host(server_id, CallError::Closed, unknown)?;
        let result = host.query(method, to_raw(params)?).await?;
        serde_json::from_str(result.get()).map_err(|error| CallError::Malformed(error.to_string()))
    }

    /// Opens the timeline of an agent: its newest page, then everything as it happens.
    ///
    /// # Errors
    /// [`TimelineError`] when the host is not known or has its most timelines open.
    pub async fn timeline(
        &self,
        server_id: &ServerId,
        agent_id: &AgentId,
    ) -> Result<TimelineStream, TimelineError> {
        let unknown = || TimelineError::UnknownHost;
        let host = self.host(server_id, TimelineError::Closed, unknown)?;
        host.timeline(agent_id.clone()).await
    }

    /// The agents of all hosts in one list, the newest only (DS).
    pub fn directory(&self) -> DirectorySubscription {
        DirectorySubscription::new(self.subscribe())
    }

    /// Opens an agent's screen, or that of an agent that is being created: [`ScreenTarget`] tells which. Returns at once; the
    /// first snapshot comes through the subscription. All screens and followers of one agent share one subscription at the
    /// daemon, which ends a few seconds after the last of them.
    ///
    /// # Errors
    /// [`ScreenError`]; of those that are found out later the subscription tells.
    pub fn agent_screen(
        &self,
        server_id: &ServerId,
        target: impl Into<ScreenTarget>,
    ) -> Result<ScreenSubscription, ScreenError> {
        let unknown = || ScreenError::UnknownHost;
        let host = self.host(server_id, ScreenError::Closed, unknown)?;
        host.screen(target.into())
    }

    /// Fetches the page before the oldest item of an agent's open timeline. What became of it is in the view
    /// ([`Older`](crate::Older)); asked for while one is being fetched it does nothing.
    pub fn load_older(&self, server_id: &ServerId, agent_id: &AgentId) {
        if let Some(host) = self.known_host(server_id) {
            host.command(HostCommand::LoadOlder(agent_id.clone()));
        }
    }

    /// The user has seen that a message or a creation failed: it is shown no more.
    pub fn dismiss(&self, server_id: &ServerId, intent_id: IntentId) {
        if let Some(host) = self.known_host(server_id) {
            host.command(HostCommand::Dismiss(intent_id));
        }
    }

    /// What a host's driver has counted so far, for measuring and tests. Nothing is published when it changes.
    pub fn counters(&self, server_id: &ServerId) -> Option<Counters> {
        self.inner.context.hub.counters(server_id)
    }

    /// Fetches the directories of all hosts again: the one refresh path of every surface (DS).
    pub fn refresh(&self) {
        self.tell_all(|| HostCommand::Refresh);
    }

    /// The user wants that path, or the best one with `None`. A path that the host does not have changes nothing.
    pub fn select_path(&self, server_id: &ServerId, address: Option<Address>) {
        if let Some(host) = self.known_host(server_id) {
            host.command(HostCommand::Select(address));
        }
    }

    /// Platform event: the app came to the foreground (INV-7: sent by the binding layer, not by views).
    pub fn foreground(&self) {
        self.tell_all(|| HostCommand::Foreground);
    }

    /// Platform event: the app went to the background.
    pub fn background(&self) {
        self.tell_all(|| HostCommand::Background);
    }

    /// Platform event: the network changed.
    pub fn network_changed(&self) {
        self.tell_all(|| HostCommand::NetworkChanged);
    }

    fn tell_all(&self, command: impl Fn() -> HostCommand) {
        for host in self.hosts().known.values() {
            host.command(command());
        }
    }

    /// The app is about to be suspended: waits for what is being written and lets go of every file and lock, so that the
    /// system has no reason to end the app (lesson 14). Connections stay as long as the system lets them. Until
    /// [`Runtime::resume`] nothing is written: intents, pairing and forgetting are refused with [`StorageError::Paused`].
    pub async fn pause(&self) {
        let hosts: Vec<Host> = {
            let hosts = self.hosts();
            if self.is_closed() {
                return;
            }
            self.inner.phase.send_replace(Phase::Paused);
            hosts.known.values().cloned().collect()
        };
        let release = move || {
            for host in &hosts {
                host.pause();
            }
        };
        if tokio::task::spawn_blocking(release).await.is_err() {
            tracing::error!("pausing was given up");
        }
    }

    /// The app runs again: takes up files and locks, and looks after every connection at once. What another process on the
    /// same profile did meanwhile is taken into account.
    ///
    /// # Errors
    /// [`StorageError`] of the first host whose outbox could not be opened; it takes no intents until a later call succeeds.
    /// [`StorageError::Closed`] after a close.
    pub async fn resume(&self) -> Result<(), StorageError> {
        let hosts: Vec<Host> = {
            let hosts = self.hosts();
            if self.is_closed() {
                return Err(StorageError::Closed);
            }
            self.inner.phase.send_replace(Phase::Running);
            hosts.known.values().cloned().collect()
        };
        let mut result = Ok(());
        for host in hosts {
            let resumed = host.resume().await;
            result = result.and(resumed);
        }
        result
    }

    /// Ends every connection, pairing and subscription, and waits until the drivers are done, a few seconds at most. Intents
    /// without an outcome stay kept. Every later call says that the runtime is closed; another close waits for the same end.
    pub async fn close(&self) {
        let ending = {
            let mut hosts = self.hosts();
            self.inner.phase.send_replace(Phase::Closed);
            for host in std::mem::take(&mut hosts.known).into_values() {
                hosts.end(&host, false);
            }
            hosts.ending.clone()
        };
        for mut stopped in ending {
            // A driver's end is bounded by its own deadlines. One that is gone with its executor has ended too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        self.inner.context.hub.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for host in self
            .hosts
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .values()
        {
            host.stop(false);
        }
    }
}

impl HostContext {
    /// Whether the settings allow this kind of path.
    pub(crate) fn allows(&self, address: &Address) -> bool {
        self.settings.only.is_none_or(|only| only == address.path)
    }

    /// What dials that address of that host.
    pub(crate) fn dialer(&self, record: &HostRecord, address: &Address, cursor: Cursor) -> Dialer {
        Dialer {
            connector: Arc::clone(&self.connector),
            target: Target {
                address: address.clone(),
                server_id: record.server_id.clone(),
                route_key: self.profile.client_session_key.route_key(&record.server_id),
            },
            credentials: Credentials {
                device_key: self.profile.device_key.clone(),
                transport_key: record.transport_key,
            },
            client_session_key: self.profile.client_session_key.clone(),
            client: self.client.clone(),
            cursor,
            pairing_token: None,
        }
    }
}

impl From<OpenError> for PairError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(error) => Self::Storage(error),
            OpenError::Identity(error) => {
                Self::Refused(Failure::new(Reason::IdentityMissing, error.to_string()))
            }
            OpenError::IdentityMissing { .. } | OpenError::NoStorage => {
                Self::Refused(Failure::new(Reason::IdentityMissing, error.to_string()))
            }
            OpenError::Internal(message) => {
                Self::Refused(Failure::new(Reason::BadRequest, message))
            }
        }
    }
}
