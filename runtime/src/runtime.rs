//! The façade that apps hold.

mod blobs;
mod changes;
mod hosts;
mod live;
mod topics;

pub use live::{LogSubscription, TableSubscription, ViewSubscription};

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_machines::data::{
    patches::{self, Patch},
    screens::ScreenTarget,
    timeline::{End, Input},
};
use bowline_protocol::{
    AgentId, IntentId, Offer, RouteKey, ServerId,
    handshake::ClientInfo,
    identity::{PresharedKey, random_bytes},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use self::hosts::{Hosts, Known};
use crate::{
    cache::Cache,
    client::{Cursor, Dialer, to_raw},
    clock::unix_millis,
    config::RuntimeConfig,
    directory::DirectorySubscription,
    error::{CallError, IntentError, OpenError, TimelineError},
    host::{Host, HostCommand, HostContext, HostControl},
    intent::Intent,
    offer::OfferInfo,
    outbox::Record,
    profile::Profile,
    receipt::Receipt,
    registry::{self, HostRecord},
    screen::{ScreenError, ScreenSubscription},
    settings::RuntimeSettings,
    snapshot::{Counters, Snapshot, SnapshotHub},
    storage::{FileStorage, Storage, StorageError},
    timeline::TimelineStream,
    transport::{Address, Connector, Target, link::Credentials},
};

/// Keeps an app attached to its hosts. Cheap to clone; dropping the last clone ends every
/// connection.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    context: HostContext,
    /// Locked briefly: UIs wait for it.
    hosts: Mutex<Hosts>,
    /// The phase requested by the app. Changed only with the hosts locked, so that a holder of that
    /// lock sees a stable phase.
    phase: watch::Sender<Phase>,
    /// Held during changes of files or of the list of hosts.
    changes: Arc<tokio::sync::Mutex<()>>,
    executor: tokio::runtime::Handle,
}

/// The phase requested by the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is written until it is resumed.
    Paused,
    /// Nothing starts any more.
    Closed,
}

impl Runtime {
    /// Creates a runtime for an app. Must be called within a tokio runtime, on which the drivers
    /// then run. On return, the first snapshot contains the stored hosts.
    ///
    /// # Errors
    /// [`OpenError`] names the file or entry and the remedy; a missing or corrupt identity is never
    /// replaced (INV-9).
    pub fn create(config: &RuntimeConfig) -> Result<Self, OpenError> {
        let settings = config.settings();
        let connector = settings
            .connector()
            .map_err(|failure| OpenError::Internal(failure.message))?;
        Self::with(config.storage()?, Arc::new(connector), settings)
    }

    /// Opens a runtime with its state in `folder`. Must be called within a tokio runtime, on which
    /// the drivers then run.
    ///
    /// # Errors
    /// [`OpenError`] names the file and the remedy; a corrupt identity is never replaced (INV-9).
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

    /// [`Runtime::open`] with another storage or network.
    ///
    /// # Errors
    /// As [`Runtime::open`].
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
        let cache = Cache::open(Arc::clone(&storage), settings.cache_bytes);
        let context = HostContext {
            cache: Arc::new(cache),
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
            let opened = Host::open(&context, &record)?;
            let host = Host::start(&context, record.clone(), opened);
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

    /// Whether [`Runtime::close`] was called: anything that ended since ended for that reason.
    pub fn is_closed(&self) -> bool {
        *self.inner.phase.borrow() == Phase::Closed
    }

    /// The handle of a host. A closed runtime reports that it is closed, for any host.
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

    /// The identity of this install.
    pub fn profile(&self) -> &Profile {
        &self.inner.context.profile
    }

    /// The stored hosts, oldest first, including hosts that have not connected yet.
    ///
    /// # Errors
    /// [`StorageError`] names the file.
    pub fn known_hosts(&self) -> Result<Vec<HostRecord>, StorageError> {
        registry::load(self.inner.context.storage.as_ref())
    }

    /// What an offer says, compared with the known hosts, for a person to confirm (TR-14). Dials
    /// and looks up nothing; [`Runtime::pair`] is the confirmation.
    pub fn inspect_offer(&self, offer: &Offer) -> OfferInfo {
        let hosts = self.inner.hosts();
        let known = hosts.known.get(&offer.server_id);
        OfferInfo::new(offer, known.map(|known| &known.record))
    }

    /// Snapshots of all state, latest only: a slow reader receives fewer. After a close the last
    /// snapshot shows every host as stopped, and then the channel closes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.context.hub.subscribe()
    }

    /// Submits an intent: validates, stores and queues it, and returns. It is sent under the same
    /// id until its outcome is known, across disconnects and restarts of this process (BX-1).
    ///
    /// # Errors
    /// [`IntentError`]; nothing is stored then.
    pub fn send(&self, server_id: &ServerId, intent: Intent) -> Result<Receipt, IntentError> {
        self.send_with(server_id, intent, Vec::new())
    }

    /// As [`Runtime::send`], and says what the intent is expected to change: the rows of followed
    /// tables, and followed logs at their end, show it at once, marked, also after a restart of the
    /// app, until the daemon's change or refusal replaces it (LD-3). At most [`MAX_PATCHES`] with
    /// [`MAX_PATCH_BYTES`].
    ///
    /// # Errors
    /// As [`Runtime::send`], and [`IntentError::Patches`].
    ///
    /// [`MAX_PATCHES`]: bowline_machines::data::patches::MAX_PATCHES
    /// [`MAX_PATCH_BYTES`]: bowline_machines::data::patches::MAX_PATCH_BYTES
    pub fn send_with(
        &self,
        server_id: &ServerId,
        intent: Intent,
        patches: Vec<Patch>,
    ) -> Result<Receipt, IntentError> {
        patches::check(&patches)?;
        let host = self.intending_host(server_id)?;
        let id = IntentId::from_uuid(uuid::Uuid::now_v7());
        let request = intent.into_request(id)?;
        let outcome = host.submit(Record::new(id, request, patches, unix_millis()))?;
        Ok(Receipt::new(id, outcome))
    }

    /// The receipt of an intent that was sent before, also by an earlier process, if its outcome is
    /// not known yet, is among the host's latest 64 of this process, or is a failure that is shown
    /// until it is dismissed. `None` for any other.
    ///
    /// # Errors
    /// [`IntentError::UnknownHost`] and [`IntentError::Closed`].
    pub fn receipt(
        &self,
        server_id: &ServerId,
        intent_id: IntentId,
    ) -> Result<Option<Receipt>, IntentError> {
        let awaited = self.intending_host(server_id)?.awaited(intent_id);
        Ok(awaited.map(|outcome| Receipt::new(intent_id, outcome)))
    }

    fn intending_host(&self, server_id: &ServerId) -> Result<Host, IntentError> {
        let unknown = || IntentError::UnknownHost(server_id.clone());
        self.host(server_id, IntentError::Closed, unknown)
    }

    /// Sends a read-only query to the host. While the host is offline and connecting it waits as
    /// long as a connect may take (15 s); it does not wait if no attempt is in progress. At most 30
    /// s in total.
    ///
    /// # Errors
    /// [`CallError`]; `Disconnected` at once if the connection fails during the query (INV-13).
    pub async fn query<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        server_id: &ServerId,
        method: impl Into<Cow<'static, str>>,
        params: &P,
    ) -> Result<R, CallError> {
        let unknown = || CallError::NotConnected;
        let host = self.host(server_id, CallError::Closed, unknown)?;
        let result = host.query(method, to_raw(params)?).await?;
        serde_json::from_str(result.get()).map_err(|error| CallError::Malformed(error.to_string()))
    }

    /// Opens the timeline of an agent: its newest page, then live updates.
    ///
    /// # Errors
    /// [`TimelineError`] if the host is unknown or its limit of open timelines is reached.
    pub async fn timeline(
        &self,
        server_id: &ServerId,
        agent_id: &AgentId,
    ) -> Result<TimelineStream, TimelineError> {
        let unknown = || TimelineError::UnknownHost;
        let host = self.host(server_id, TimelineError::Closed, unknown)?;
        let view = host.timeline(agent_id.clone()).await?;
        Ok(TimelineStream::new(host, agent_id.clone(), view))
    }

    /// The agents of all hosts in one list, latest only (DS-2).
    pub fn directory(&self) -> DirectorySubscription {
        DirectorySubscription::new(self.subscribe())
    }

    /// Opens the screen of an agent, or of one being created: see [`ScreenTarget`]. Returns at
    /// once; the first snapshot comes through the subscription. All screens and followers of one
    /// agent share one subscription at the daemon, which ends a few seconds after the last of them.
    ///
    /// # Errors
    /// [`ScreenError`]; later errors come through the subscription.
    pub fn agent_screen(
        &self,
        server_id: &ServerId,
        target: impl Into<ScreenTarget>,
    ) -> Result<ScreenSubscription, ScreenError> {
        let host = self.screened_host(server_id)?;
        host.screen(target.into())
    }

    /// Loads the page before the oldest item of an agent's open timeline. The view shows the
    /// progress ([`Beyond`](crate::Beyond)). Does nothing while a page is loading; during a refresh
    /// of the timeline the load follows it. A view that becomes too long drops rows at its end
    /// ([`Beyond`](crate::Beyond)). All readers of the agent share its view.
    ///
    /// # Errors
    /// [`ScreenError::UnknownHost`], [`ScreenError::Closed`], and [`ScreenError::Busy`] if the
    /// host's queue is full: nothing was done then.
    pub fn load_older(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        self.read(server_id, agent_id, Input::LoadMore(End::Older))
    }

    /// Loads the page after the newest item of an open timeline's view, unless that is the end
    /// ([`Beyond`](crate::Beyond)): the view moves forward, and at the end it follows new items.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn load_newer(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        self.read(server_id, agent_id, Input::LoadMore(End::Newer))
    }

    /// Shows the newest items of an agent's open timeline from any position of its view. They are
    /// in memory: nothing is loaded.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn jump_to_newest(
        &self,
        server_id: &ServerId,
        agent_id: &AgentId,
    ) -> Result<(), ScreenError> {
        self.read(server_id, agent_id, Input::JumpToNewest)
    }

    /// Retries a failed load of an agent's open timeline at once (UX-1, UX-4). Does nothing while
    /// it is current or loading.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn reload(&self, server_id: &ServerId, agent_id: &AgentId) -> Result<(), ScreenError> {
        self.read(server_id, agent_id, Input::Open)
    }

    fn read(
        &self,
        server_id: &ServerId,
        agent_id: &AgentId,
        input: Input,
    ) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::Read(agent_id.clone(), input))
    }

    /// Removes a failed message, creation or change of rows that the user has seen.
    ///
    /// # Errors
    /// As [`Runtime::load_older`].
    pub fn dismiss(&self, server_id: &ServerId, intent_id: IntentId) -> Result<(), ScreenError> {
        let host = self.screened_host(server_id)?;
        host.command(HostCommand::Dismiss(intent_id))
    }

    /// Counters of a host's driver, for measurements and tests. Changes are not published.
    pub fn counters(&self, server_id: &ServerId) -> Option<Counters> {
        self.inner.context.hub.counters(server_id)
    }

    /// Reloads the directories of all hosts: the one refresh path of every surface (DS-2).
    pub fn refresh(&self) {
        self.set_all(|control| control.refresh = true);
    }

    /// Selects a path of a host, or with `None` the best one. An unknown path changes nothing.
    pub fn select_path(&self, server_id: &ServerId, address: Option<Address>) {
        let hosts = self.inner.hosts();
        let Some(known) = hosts.known.get(server_id) else {
            return;
        };
        // Checked here, so that an invalid choice does not replace a valid one.
        let addresses = &known.record.addresses;
        if address.as_ref().is_none_or(|it| addresses.contains(it)) {
            known.host.set(|control| control.select = Some(address));
        } else {
            tracing::warn!("the selected path is not one of this host's");
        }
    }

    /// Platform event: the app came to the foreground (INV-7: sent by the binding layer, not by
    /// views).
    pub fn foreground(&self) {
        self.set_all(|control| control.platform.foreground());
    }

    /// Platform event: the app went to the background.
    pub fn background(&self) {
        self.set_all(|control| control.platform.background());
    }

    /// Platform event: the network changed.
    pub fn network_changed(&self) {
        self.set_all(|control| control.platform.network_changed = true);
    }

    fn set_all(&self, change: impl Fn(&mut HostControl)) {
        for known in self.inner.hosts().known.values() {
            known.host.set(&change);
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

    /// A dialer for an address of a host.
    pub(crate) fn dialer(&self, record: &HostRecord, address: &Address, cursor: Cursor) -> Dialer {
        let device_key = self.profile.device_key(&record.server_id);
        Dialer {
            connector: Arc::clone(&self.connector),
            target: Target {
                address: address.clone(),
                server_id: record.server_id.clone(),
                route_key: RouteKey::of_device(&device_key.public(), &record.server_id),
            },
            credentials: Credentials {
                device_key,
                transport_key: record.transport_key,
                psk: record.psk.clone().unwrap_or(PresharedKey::NONE),
            },
            client_session_key: self.profile.client_session_key(&record.server_id),
            client: self.client.clone(),
            cursor,
            pairing: None,
        }
    }
}
