//! The runtime as apps hold it: intents in, values out, and nothing that connects or disconnects (INV-7).

mod access;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bowline_runtime::{
    Outcome, Runtime,
    protocol::{
        IntentId, Offer,
        methods::{Empty, Providers, name},
        offer::OfferError,
    },
    storage::{FileStorage, Storage},
    transport::Address,
};

use crate::{
    dispatcher::on_dispatcher,
    engine::engine,
    error::{BowlineError, error},
    key_store::{KeyStore, SplitStorage},
    listeners::{DirectoryListener, HostsListener, ScreenListener, TimelineListener},
    records::{HostInfo, Intent, PlatformEvent, Probe, ProviderInfo, RuntimeConfig, ScreenTarget},
    sinks::{DirectorySink, ScreenSink, follow_hosts, timeline_slot},
    slot::{Slot, follow},
    subscription::{EndReason, Subscription},
};

use access::{cleaning, screen_error, server};

/// Keeps an app attached to its hosts. An app has one; the last reference ends every connection.
#[derive(uniffi::Object)]
pub struct BowlineRuntime {
    core: Runtime,
    /// It was shut down, or let go. Shared with what feeds its subscriptions.
    closed: Arc<AtomicBool>,
}

impl Drop for BowlineRuntime {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

#[uniffi::export]
impl BowlineRuntime {
    /// Opens a runtime with everything in the storage folder. The identity of this install is made once, and a corrupt one is
    /// an error and never replaced (INV-9).
    #[uniffi::constructor]
    pub fn new(config: RuntimeConfig) -> Result<Arc<Self>, BowlineError> {
        let files = FileStorage::open(&config.storage_folder)?;
        Self::open(&config, Arc::new(files))
    }

    /// Opens a runtime that keeps the identity of this install in the app's own key store, and everything else in the
    /// storage folder.
    #[uniffi::constructor]
    pub fn with_key_store(
        config: RuntimeConfig,
        key_store: Box<dyn KeyStore>,
    ) -> Result<Arc<Self>, BowlineError> {
        let files = Arc::new(FileStorage::open(&config.storage_folder)?);
        let storage = Arc::new(SplitStorage::new(key_store, files));
        let opened = Self::open(&config, Arc::clone(&storage) as Arc<dyn Storage>);
        // Here and now: what the runtime keeps of the storage may be dropped on any thread.
        storage.let_go();
        opened
    }

    /// Pairs with the daemon of an offer, and returns once it has proved its identity and taken this device.
    pub async fn pair(&self, offer: String) -> Result<HostInfo, BowlineError> {
        let offer: Offer = offer
            .parse()
            .map_err(|problem: OfferError| error!(InvalidOffer, AskUser, problem))?;
        let core = self.open_core()?.clone();
        let paired = on_dispatcher(engine()?, async move { core.pair(&offer).await });
        Ok(paired.await??.into())
    }

    /// Forgets a host: its key, its addresses, and the intents that wait for it. True if it was known.
    pub async fn forget_host(&self, server_id: String) -> Result<bool, BowlineError> {
        let server_id = server(&server_id)?;
        let core = self.open_core()?.clone();
        let forgotten = on_dispatcher(engine()?, async move { core.forget(&server_id).await });
        Ok(forgotten.await??)
    }

    /// Sends an intent: checks it, keeps it, queues it, and returns its name at once. What becomes of it is in the snapshots.
    /// It is done exactly once, across disconnects and restarts of the app (BX-1).
    pub fn send(&self, server_id: String, intent: Intent) -> Result<String, BowlineError> {
        let submitted = self
            .open_core()?
            .send(&server(&server_id)?, intent.try_into()?)?;
        Ok(submitted.id.to_string())
    }

    /// The ways a host can run agents.
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

    /// Everything about all hosts, now and whenever it changes.
    pub fn subscribe_hosts(
        &self,
        listener: Box<dyn HostsListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        follow_hosts(self.open_core()?.subscribe(), listener)
    }

    /// The agents of all hosts in one list, now and whenever it changes (DS).
    pub fn subscribe_directory(
        &self,
        listener: Box<dyn DirectoryListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let mut directory = self.open_core()?.directory();
        let base = None;
        let slot = Slot::new(DirectorySink { listener, base })?;
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

    /// What one agent's screen shows, its timeline included, now and whenever it changes.
    pub fn subscribe_screen(
        &self,
        server_id: String,
        target: ScreenTarget,
        listener: Box<dyn ScreenListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let base = None;
        let slot = Slot::new(ScreenSink { listener, base })?;
        self.follow_screen(&server_id, target, &slot, Some)?;
        Ok(Subscription::new(slot))
    }

    /// One agent's timeline alone, now and whenever it changes.
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

    /// Fetches the page before the oldest item of an open timeline; what became of it is in the next update.
    pub fn load_older(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        let (server_id, agent_id) = (server(&server_id)?, agent_id.parse()?);
        let core = self.core_with(&server_id)?;
        core.load_older(&server_id, &agent_id)
            .map_err(|error| screen_error(&server_id.to_string(), &error))
    }

    /// Fetches the page after the last item of an open timeline, where that is not the newest; what became of it is in the next
    /// update.
    pub fn load_newer(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        let (server_id, agent_id) = (server(&server_id)?, agent_id.parse()?);
        let core = self.core_with(&server_id)?;
        core.load_newer(&server_id, &agent_id)
            .map_err(|error| screen_error(&server_id.to_string(), &error))
    }

    /// Shows the newest items of an open timeline, wherever its view was.
    pub fn jump_to_newest(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        let (server_id, agent_id) = (server(&server_id)?, agent_id.parse()?);
        let core = self.core_with(&server_id)?;
        core.jump_to_newest(&server_id, &agent_id)
            .map_err(|error| screen_error(&server_id.to_string(), &error))
    }

    /// Tries again at once to load an open timeline, after that failed.
    pub fn reload(&self, server_id: String, agent_id: String) -> Result<(), BowlineError> {
        let (server_id, agent_id) = (server(&server_id)?, agent_id.parse()?);
        let core = self.core_with(&server_id)?;
        core.reload(&server_id, &agent_id)
            .map_err(|error| screen_error(&server_id.to_string(), &error))
    }

    /// The whole result of an intent that was done, as JSON, however long; none if the intent is not among the latest 64 of the
    /// host, or had no result.
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

    /// The user has seen that a message or a creation failed: it is shown no more.
    pub fn dismiss(&self, server_id: String, intent_id: String) -> Result<(), BowlineError> {
        let (server_id, intent_id) = (server(&server_id)?, intent_id.parse()?);
        let core = self.core_with(&server_id)?;
        core.dismiss(&server_id, intent_id)
            .map_err(|error| screen_error(&server_id.to_string(), &error))
    }

    /// Fetches the lists of all hosts again: the one refresh path of every surface (DS).
    pub fn refresh(&self) -> Result<(), BowlineError> {
        self.open_core()?.refresh();
        Ok(())
    }

    /// The user wants that path of a host, one of its probes; or the best one, with none.
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

    /// What the platform has to say. For the bindings' own observers: views have no business here (INV-7).
    pub fn platform_event(&self, event: PlatformEvent) -> Result<(), BowlineError> {
        let core = self.open_core()?;
        match event {
            PlatformEvent::Foreground => core.foreground(),
            PlatformEvent::Background => core.background(),
            PlatformEvent::NetworkChanged => core.network_changed(),
        }
        Ok(())
    }

    /// The app is about to be suspended: waits for what is being written and lets go of every file and lock, so that the system
    /// has no reason to end the app. Until `resume` intents, pairing and forgetting are refused with `Paused`. Possible after a
    /// defect too.
    pub async fn pause(&self) -> Result<(), BowlineError> {
        // Begun here, not in the task: of a pause and a resume at the same time the one called last counts.
        on_dispatcher(cleaning()?, self.core.pause()).await
    }

    /// The app runs again: takes up files and locks, and looks after every connection at once.
    pub async fn resume(&self) -> Result<(), BowlineError> {
        let engine = engine()?;
        let resumed = on_dispatcher(engine, self.open_core()?.resume());
        Ok(resumed.await??)
    }

    /// Ends every connection and subscription and waits until all is done, a few seconds at most. Intents without an outcome
    /// stay kept for the next start. Every later call says `Closed`. Possible after a defect too.
    pub async fn shutdown(&self) -> Result<(), BowlineError> {
        self.closed.store(true, Ordering::SeqCst);
        let core = self.core.clone();
        on_dispatcher(cleaning()?, async move { core.close().await }).await
    }
}
