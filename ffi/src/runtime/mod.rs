//! The runtime's exported API: intents in, values out, and no call that connects or disconnects
//! (INV-7).

mod access;
mod blobs;
mod live;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bowline_runtime::{
    Outcome, Runtime,
    protocol::{
        IntentId,
        methods::{Empty, Providers, name},
    },
    storage::{FileStorage, Storage},
    transport::Address,
};
use serde_json::value::RawValue;

use crate::{
    dispatcher::on_dispatcher,
    engine::engine,
    error::{BowlineError, error},
    key_store::{KeyStore, SplitStorage},
    listeners::{DirectoryListener, HostsListener, ScreenListener, TimelineListener},
    receipt::SentIntent,
    records::{
        HostInfo, Intent, IntentOutcome, OfferInfo, Patch, PlatformEvent, Probe, ProviderInfo,
        RuntimeConfig, ScreenTarget,
    },
    sinks::{Changes, follow_hosts, timeline_slot},
    slot::{Slot, follow},
    subscription::{EndReason, Subscription},
};

use access::{cleaning, json_params, parsed, screen_error, server};

/// Keeps an app attached to its hosts. An app has one; dropping the last reference closes every
/// connection.
#[derive(uniffi::Object)]
pub struct BowlineRuntime {
    core: Runtime,
    /// Set by shutdown or drop. Shared with the tasks that feed its subscriptions.
    closed: Arc<AtomicBool>,
}

impl Drop for BowlineRuntime {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

#[uniffi::export]
impl BowlineRuntime {
    /// Opens a runtime with all data in the storage folder. The identity of this install is
    /// generated once. A corrupt one is an error and never replaced (INV-9).
    #[uniffi::constructor]
    pub fn new(config: RuntimeConfig) -> Result<Arc<Self>, BowlineError> {
        let files = FileStorage::open(&config.storage_folder)?;
        Self::open(&config, Arc::new(files))
    }

    /// Opens a runtime with the identity of this install in the app's own key store and all other
    /// data in the storage folder.
    #[uniffi::constructor]
    pub fn with_key_store(
        config: RuntimeConfig,
        key_store: Box<dyn KeyStore>,
    ) -> Result<Arc<Self>, BowlineError> {
        let files = Arc::new(FileStorage::open(&config.storage_folder)?);
        let storage = Arc::new(SplitStorage::new(key_store, files));
        let opened = Self::open(&config, Arc::clone(&storage) as Arc<dyn Storage>);
        // Dropped here, because the runtime's storage may be dropped on any thread.
        storage.let_go();
        opened
    }

    /// The content of an offer, for a person to confirm before `pair` (TR-14). Contacts nobody.
    pub fn inspect_offer(&self, offer: String) -> Result<OfferInfo, BowlineError> {
        let offer = parsed(&offer)?;
        Ok(self.open_core()?.inspect_offer(&offer).into())
    }

    /// Pairs with the daemon of an offer, which a person has confirmed. Returns once the daemon has
    /// proved its identity and accepted this device.
    pub async fn pair(&self, offer: String) -> Result<HostInfo, BowlineError> {
        let offer = parsed(&offer)?;
        let core = self.open_core()?.clone();
        let paired = on_dispatcher(engine()?, async move { core.pair(&offer).await });
        Ok(paired.await??.into())
    }

    /// Forgets a host: its key, its addresses and its pending intents. Returns whether it was
    /// known.
    pub async fn forget_host(&self, server_id: String) -> Result<bool, BowlineError> {
        let server_id = server(&server_id)?;
        let core = self.open_core()?.clone();
        let forgotten = on_dispatcher(engine()?, async move { core.forget(&server_id).await });
        Ok(forgotten.await??)
    }

    /// Checks, stores and queues an intent, and returns its id at once. Snapshots report its
    /// outcome. The daemon executes it exactly once, across disconnects and restarts of the app
    /// (BX-1).
    pub fn send(&self, server_id: String, intent: Intent) -> Result<String, BowlineError> {
        let receipt = self.send_with(server_id, intent, Vec::new())?;
        Ok(receipt.id())
    }

    /// As `send`, and rows of followed tables show what the intent is expected to change (LD-3).
    /// The receipt waits for the outcome.
    pub fn send_with(
        &self,
        server_id: String,
        intent: Intent,
        patches: Vec<Patch>,
    ) -> Result<Arc<SentIntent>, BowlineError> {
        let patches: Result<_, _> = patches.into_iter().map(TryInto::try_into).collect();
        let server_id = server(&server_id)?;
        let core = self.open_core()?;
        let receipt = core.send_with(&server_id, intent.try_into()?, patches?)?;
        Ok(SentIntent::new(receipt))
    }

    /// Waits for the outcome of an intent, across disconnects. Also of one that an earlier process
    /// of the app has sent. None if nothing is known of it: its outcome is not among the latest 64
    /// of the host in this process, nor a failure that is shown until it is dismissed.
    pub async fn outcome(
        &self,
        server_id: String,
        intent_id: String,
    ) -> Result<Option<IntentOutcome>, BowlineError> {
        let id: IntentId = intent_id.parse()?;
        let receipt = self.open_core()?.receipt(&server(&server_id)?, id)?;
        let Some(receipt) = receipt else {
            return Ok(None);
        };
        let outcome = on_dispatcher(engine()?, receipt.outcome()).await?;
        let outcome = outcome.ok_or_else(BowlineError::closed)?;
        Ok(Some(IntentOutcome::whole(id, &outcome)))
    }

    /// The providers of a host.
    pub async fn providers(&self, server_id: String) -> Result<Vec<ProviderInfo>, BowlineError> {
        let server_id = server(&server_id)?;
        let core = self.core_with(&server_id)?.clone();
        let asked = on_dispatcher(engine()?, async move {
            core.query::<_, Providers>(&server_id, name::PROVIDERS_LIST, &Empty {})
                .await
        });
        let providers = asked.await??;
        Ok(providers.providers.into_iter().map(Into::into).collect())
    }

    /// Asks a read-only method of the daemon, or of a service linked into it, and returns the
    /// result as JSON. `params_json` is a JSON object or array. While the host connects, the query
    /// waits for up to 15 s; with the answer, it takes 30 s at most. It is sent once and not
    /// repeated; changes are for `send`.
    pub async fn query(
        &self,
        server_id: String,
        method: String,
        params_json: String,
    ) -> Result<String, BowlineError> {
        let server_id = server(&server_id)?;
        let core = self.core_with(&server_id)?.clone();
        let params = json_params(params_json)?;
        let asked = on_dispatcher(engine()?, async move {
            core.query::<_, Box<RawValue>>(&server_id, method, &params)
                .await
        });
        Ok(String::from(Box::<str>::from(asked.await??)))
    }

    /// Subscribes to the state of all hosts.
    pub fn subscribe_hosts(
        &self,
        listener: Box<dyn HostsListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        follow_hosts(self.open_core()?.subscribe(), listener)
    }

    /// Subscribes to the agents of all hosts in one list (DS-2).
    pub fn subscribe_directory(
        &self,
        listener: Box<dyn DirectoryListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let mut directory = self.open_core()?.directory();
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_directory((base, new).into())
        }))?;
        slot.put(directory.current());
        let target = Arc::clone(&slot);
        follow(&slot, async move {
            while let Some(newest) = directory.next().await {
                target.put(newest);
            }
            EndReason::RuntimeClosed
        })?;
        Ok(Subscription::new(slot))
    }

    /// Subscribes to one agent's screen, its timeline included.
    pub fn subscribe_screen(
        &self,
        server_id: String,
        target: ScreenTarget,
        listener: Box<dyn ScreenListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_screen((base, new).into())
        }))?;
        self.follow_screen(&server_id, target, &slot, Some)?;
        Ok(Subscription::new(slot))
    }

    /// Subscribes to one agent's timeline alone.
    pub fn subscribe_timeline(
        &self,
        server_id: String,
        target: ScreenTarget,
        listener: Box<dyn TimelineListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = timeline_slot(listener)?;
        let mut last = None;
        self.follow_screen(&server_id, target, &slot, move |screen| {
            let newest = Arc::clone(&screen.timeline);
            let is_new = last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &newest));
            last = Some(Arc::clone(&newest));
            is_new.then_some(newest)
        })?;
        Ok(Subscription::new(slot))
    }

    /// Loads the page before the oldest item of an open timeline; the next update has the result.
    pub fn load_older(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        self.with_agent(&server_id, &agent_id, Runtime::load_older)
    }

    /// Loads the page after the last item of an open timeline, unless that is the newest; the next
    /// update has the result.
    pub fn load_newer(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        self.with_agent(&server_id, &agent_id, Runtime::load_newer)
    }

    /// Moves the view of an open timeline to its newest items.
    pub fn jump_to_newest(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        self.with_agent(&server_id, &agent_id, Runtime::jump_to_newest)
    }

    /// Retries a failed load of an open timeline at once.
    pub fn reload(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        self.with_agent(&server_id, &agent_id, Runtime::reload)
    }

    /// The whole result of an executed intent as JSON; none if the intent is not among the latest
    /// 64 of the host, or had no result.
    pub fn intent_result(
        &self,
        server_id: String,
        intent_id: String,
    ) -> Result<Option<String>, BowlineError> {
        let server_id = server(&server_id)?;
        let intent_id: IntentId = intent_id.parse()?;
        let hosts = self.core_with(&server_id)?.subscribe();
        let hosts = hosts.borrow();
        let host = hosts.hosts.iter().find(|host| host.server_id == server_id);
        let mut recent = host.iter().flat_map(|host| host.intents.recent.iter());
        let outcome = recent.find(|(id, _)| *id == intent_id);
        Ok(outcome.and_then(|(_, outcome)| match outcome {
            Outcome::Done { result } => Some(result.clone()),
            Outcome::Refused { .. } | Outcome::Expired | Outcome::Abandoned => None,
        }))
    }

    /// Dismisses a failed message, creation or change of rows, so that it is no longer shown.
    pub fn dismiss(&self, server_id: String, intent_id: String) -> Result<(), BowlineError> {
        let (host, intent) = (server(&server_id)?, intent_id.parse()?);
        let dismissed = self.open_core()?.dismiss(&host, intent);
        dismissed.map_err(|error| screen_error(&server_id, &error))
    }

    /// Loads the lists of all hosts again: the one refresh of every surface (DS-2).
    pub fn refresh(&self) -> Result<(), BowlineError> {
        self.open_core()?.refresh();
        Ok(())
    }

    /// Selects a path of a host, one of its probes; none selects the best.
    pub fn select_path(&self, server_id: String, path: Option<Probe>) -> Result<(), BowlineError> {
        let address = path.map(|probe| Address {
            path: probe.path.core(),
            address: probe.address,
        });
        let server_id = server(&server_id)?;
        let core = self.core_with(&server_id)?;
        if let Some(address) = &address {
            let hosts = core.subscribe();
            let hosts = hosts.borrow();
            let host = hosts.hosts.iter().find(|host| host.server_id == server_id);
            let mut probes = host.iter().flat_map(|host| &host.probes);
            if !probes.any(|probe| probe.path == address.path && probe.address == address.address) {
                let detail = format!("the host has no path {}", address.address);
                return Err(error!(UnknownHost, AskUser, detail));
            }
        }
        core.select_path(&server_id, address);
        Ok(())
    }

    /// Passes a platform event on. For the bindings' own observers; views do not call it (INV-7).
    pub fn platform_event(&self, event: PlatformEvent) -> Result<(), BowlineError> {
        let core = self.open_core()?;
        match event {
            PlatformEvent::Foreground => core.foreground(),
            PlatformEvent::Background => core.background(),
            PlatformEvent::NetworkChanged => core.network_changed(),
        }
        Ok(())
    }

    /// Prepares for suspension: waits for writes and releases all files and locks, so that the
    /// system has no reason to kill the app. Until `resume`, intents, pairing and forgetting fail
    /// with `Paused`. Works after a defect too.
    pub async fn pause(&self) -> Result<(), BowlineError> {
        // The call is ordered here, not in the task: of concurrent `pause` and `resume` calls the
        // last one counts.
        on_dispatcher(cleaning()?, self.core.pause()).await
    }

    /// Ends a pause: takes the files and locks again and checks every connection at once.
    pub async fn resume(&self) -> Result<(), BowlineError> {
        let engine = engine()?;
        let resumed = on_dispatcher(engine, self.open_core()?.resume());
        Ok(resumed.await??)
    }

    /// Closes every connection and subscription and waits until all have ended, a few seconds at
    /// most. Intents without an outcome stay stored for the next start. Every later call fails with
    /// `Closed`. Works after a defect too.
    pub async fn shutdown(&self) -> Result<(), BowlineError> {
        self.closed.store(true, Ordering::SeqCst);
        let core = self.core.clone();
        on_dispatcher(cleaning()?, async move { core.close().await }).await
    }
}
