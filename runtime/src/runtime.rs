//! The façade that apps hold.

mod changes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_protocol::{
    AgentId, IntentId, ServerId, handshake::ClientInfo, identity::random_bytes,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{oneshot, watch};

use crate::{
    client::{Cursor, Dialer, to_raw},
    clock::unix_millis,
    config::RuntimeConfig,
    directory::DirectorySubscription,
    error::{CallError, IntentError, OpenError},
    host::{Host, HostCommand, HostContext, Orders},
    intent::{Intent, Outcome},
    outbox::Record,
    profile::Profile,
    registry::{self, HostRecord},
    screen::{ScreenError, ScreenSubscription, ScreenTarget},
    settings::RuntimeSettings,
    snapshot::{Counters, Snapshot, SnapshotHub},
    storage::{FileStorage, Storage, StorageError},
    timeline::{TimelineError, TimelineStream},
    transport::{Address, Connector, Target, link::Credentials},
};

/// Keeps an app attached to its hosts. Cheap to clone; the last clone ends every connection.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    context: HostContext,
    /// Locked for moments: UIs wait for it.
    hosts: Mutex<Hosts>,
    /// What the app wants. Changed with the hosts locked, so that whoever holds them knows what they are for.
    phase: watch::Sender<Phase>,
    /// Held by whoever changes files or the list of hosts.
    changes: Arc<tokio::sync::Mutex<()>>,
    executor: tokio::runtime::Handle,
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
    known: BTreeMap<ServerId, Known>,
    /// Of the drivers that were told to end: true when one has.
    ending: Vec<watch::Receiver<bool>>,
}

/// A host with its driver.
struct Known {
    host: Host,
    /// As it was stored last.
    record: HostRecord,
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
        let connector = settings
            .connector()
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
        let connector = settings
            .connector()
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
        let executor = tokio::runtime::Handle::try_current()
            .map_err(|_| OpenError::Internal("opened outside of a tokio runtime".into()))?;
        let stamp = storage.stamp(registry::FILE);
        let stored = registry::stored(storage.as_ref())?;
        let has_hosts = stored.as_ref().is_some_and(|hosts| !hosts.is_empty());
        if has_hosts || storage.any_journal(true)?.is_some() {
            Profile::require(storage.as_ref())?;
        }
        if stored.is_none()
            && let Some(journal) = storage.any_journal(false)?
            && Profile::require(storage.as_ref()).is_ok()
        {
            let path = registry::location(storage.as_ref());
            return Err(OpenError::HostsMissing { path, journal });
        }
        let known = stored.unwrap_or_default();
        let profile = Profile::load_or_create(storage.as_ref())?;
        let seed = match settings.seed {
            Some(seed) => seed,
            None => u64::from_le_bytes(random_bytes()?),
        };
        let client = ClientInfo {
            name: settings.listed_name(),
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
            let host = Host::start(&context, record.clone())?;
            hosts.known.insert(server_id, Known { host, record });
        }
        let inner = Arc::new(Inner {
            context,
            hosts: Mutex::new(hosts),
            phase: watch::Sender::new(Phase::Running),
            changes: Arc::default(),
            executor,
        });
        if let Some(stamp) = stamp {
            let following = changes::follow_registry(Arc::downgrade(&inner), stamp);
            inner.executor.spawn(following);
        }
        Ok(Self { inner })
    }

    /// Whether [`Runtime::close`] was called: whatever ended since ended for that reason.
    pub fn is_closed(&self) -> bool {
        *self.inner.phase.borrow() == Phase::Closed
    }

    /// The handle of a host. A runtime that is closed says so, whatever it knew before.
    fn host<E>(
        &self,
        server_id: &ServerId,
        closed: E,
        unknown: impl FnOnce() -> E,
    ) -> Result<Host, E> {
        let hosts = self.inner.hosts();
        if self.is_closed() {
            return Err(closed);
        }
        let known = hosts.known.get(server_id).ok_or_else(unknown)?;
        Ok(known.host.clone())
    }

    fn screened_host(&self, server_id: &ServerId) -> Result<Host, ScreenError> {
        self.host(server_id, ScreenError::Closed, || ScreenError::UnknownHost)
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
            params: params.into(),
            at: unix_millis(),
            sent: false,
            outcome: None,
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
        let host = self.screened_host(server_id)?;
        host.screen(target.into())
    }

    /// Fetches the page before the oldest item of an agent's open timeline. What became of it is in the view
    /// ([`Older`](crate::Older)); asked for while one is being fetched it does nothing, and while the timeline is brought up to
    /// date it comes after that. A view that becomes too long loses rows at its end ([`Newer`](crate::Newer)). All who look at
    /// the agent share its view.
    ///
    /// # Errors
    /// [`ScreenError::UnknownHost`], [`ScreenError::Closed`], and [`ScreenError::Busy`] when the host has more to do than it
    /// takes: nothing was done then.
    pub fn load_older(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::LoadOlder(agent_id.clone()))
    }

    /// Fetches the page after the newest item of an open timeline's view, if that is not the end
    /// ([`Newer`](crate::Newer)): the view moves on, and where it comes to the end it stays there.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn load_newer(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::LoadNewer(agent_id.clone()))
    }

    /// Shows the newest items of an agent's open timeline, wherever its view was. They are there: nothing is fetched.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn jump_to_newest(
        &self,
        server_id: &ServerId,
        agent_id: &AgentId,
    ) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::JumpToNewest(agent_id.clone()))
    }

    /// Tries again at once to load an agent's open timeline, after that failed (UX-1, UX-4). Does nothing while it is up to date
    /// or being loaded.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn reload(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::Reload(agent_id.clone()))
    }

    /// The user has seen that a message or a creation failed: it is shown no more.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn dismiss(&self, server_id: &ServerId, intent_id: IntentId) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::Dismiss(intent_id))
    }

    /// What a host's driver has counted so far, for measuring and tests. Nothing is published when it changes.
    pub fn counters(&self, server_id: &ServerId) -> Option<Counters> {
        self.inner.context.hub.counters(server_id)
    }

    /// Fetches the directories of all hosts again: the one refresh path of every surface (DS).
    pub fn refresh(&self) {
        self.order_all(|orders| orders.refresh = true);
    }

    /// The user wants that path, or the best one with `None`. A path that the host does not have changes nothing.
    pub fn select_path(&self, server_id: &ServerId, address: Option<Address>) {
        let hosts = self.inner.hosts();
        let Some(known) = hosts.known.get(server_id) else {
            return;
        };
        // Seen to here, so that a choice that is none does not take the place of one that is.
        let addresses = &known.record.addresses;
        if address.as_ref().is_none_or(|it| addresses.contains(it)) {
            known.host.order(|orders| orders.select = Some(address));
        } else {
            tracing::warn!("a path was chosen that this host does not have");
        }
    }

    /// Platform event: the app came to the foreground (INV-7: sent by the binding layer, not by views).
    pub fn foreground(&self) {
        self.order_all(|orders| orders.foreground());
    }

    /// Platform event: the app went to the background.
    pub fn background(&self) {
        self.order_all(|orders| orders.background());
    }

    /// Platform event: the network changed.
    pub fn network_changed(&self) {
        self.order_all(|orders| orders.network_changed = true);
    }

    fn order_all(&self, order: impl Fn(&mut Orders)) {
        for known in self.inner.hosts().known.values() {
            known.host.order(&order);
        }
    }
}

impl Inner {
    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for known in self
            .hosts
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .values()
        {
            known.host.stop(false);
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
