//! A client: a runtime in its own folder that can be closed and reopened.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_protocol::{AgentId, Offer, ServerId, methods::AgentCreated};
use bowline_runtime::{
    Counters, HostSnapshot, HostState, Intent, Outcome, Receipt, Runtime, RuntimeSettings,
    TimelineStream, machines::backoff::BackoffConfig,
};
use tokio::time::timeout;

use super::{DaemonProcess, WorldError};

/// Longest wait for what must happen soon; even slow machines meet it.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client of one daemon.
pub struct Client {
    folder: PathBuf,
    settings: RuntimeSettings,
    runtime: Runtime,
    server_id: Option<ServerId>,
}

/// Default settings with short delays, so that a test sees many reconnects, probes and switches in
/// little time. Deadlines are unchanged.
pub fn quick_settings(seed: u64) -> RuntimeSettings {
    let mut settings = RuntimeSettings::new("bowline-testkit", env!("CARGO_PKG_VERSION"));
    let backoff = BackoffConfig {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(250),
        reset_after: Duration::from_secs(1),
    };
    settings.seed = Some(seed);
    settings.client.backoff = backoff;
    settings.host.backoff = backoff;
    settings.host.probe_interval = Duration::from_millis(200);
    settings.host.quiet_probe_interval = Duration::from_millis(500);
    settings.host.drain = Duration::from_secs(1);
    settings.host.settle = Duration::from_millis(100);
    settings
}

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl Client {
    /// Opens the client with its state in a folder.
    ///
    /// # Errors
    /// The runtime does not open.
    pub fn open(folder: impl Into<PathBuf>, settings: RuntimeSettings) -> Result<Self, WorldError> {
        let folder = folder.into();
        let runtime = Runtime::open(&folder, settings.clone()).map_err(unexpected)?;
        Ok(Self {
            folder,
            settings,
            runtime,
            server_id: None,
        })
    }

    /// Pairs with a daemon, which is stored with these addresses instead of those of its offer.
    ///
    /// # Errors
    /// The daemon refuses or does not answer.
    pub async fn pair(
        &mut self,
        daemon: &DaemonProcess,
        addresses: &[SocketAddr],
    ) -> Result<(), WorldError> {
        self.pair_over(daemon, addresses, &[]).await
    }

    /// As [`Client::pair`], with additional relays. The daemon must be registered at a relay that
    /// the pairing uses.
    ///
    /// # Errors
    /// The daemon refuses or does not answer.
    pub async fn pair_over(
        &mut self,
        daemon: &DaemonProcess,
        addresses: &[SocketAddr],
        relays: &[SocketAddr],
    ) -> Result<(), WorldError> {
        let mut offer: Offer = daemon.offer().await?.parse().map_err(unexpected)?;
        offer.direct = addresses.iter().map(ToString::to_string).collect();
        offer.relays = relays.iter().map(|relay| format!("ws://{relay}")).collect();
        let record = self.runtime.pair(&offer).await.map_err(unexpected)?;
        self.server_id = Some(record.server_id);
        Ok(())
    }

    /// Restarts the app: closes the runtime and opens it again on the same folder.
    ///
    /// # Errors
    /// The runtime does not open.
    pub async fn restart(&mut self) -> Result<(), WorldError> {
        self.runtime.close().await;
        self.runtime = Self::open(&self.folder, self.settings.clone())?.runtime;
        Ok(())
    }

    /// The runtime.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Folder of its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The daemon it is paired with.
    ///
    /// # Errors
    /// It is not paired, or no snapshot has shown a host yet.
    pub fn server_id(&self) -> Result<ServerId, WorldError> {
        self.server_id
            .clone()
            .or_else(|| Some(self.host()?.server_id.clone()))
            .ok_or_else(|| unexpected("the client is not paired yet"))
    }

    /// The host in the newest snapshot.
    pub fn host(&self) -> Option<Arc<HostSnapshot>> {
        let snapshot = Arc::clone(&self.runtime.subscribe().borrow());
        self.find(&snapshot)
    }

    /// The host driver's counters.
    pub fn counters(&self) -> Counters {
        let server_id = self.server_id().ok();
        let counters = server_id.and_then(|id| self.runtime.counters(&id));
        counters.unwrap_or_default()
    }

    fn find(&self, snapshot: &bowline_runtime::Snapshot) -> Option<Arc<HostSnapshot>> {
        snapshot
            .hosts
            .iter()
            .find(|host| {
                self.server_id
                    .as_ref()
                    .is_none_or(|id| *id == host.server_id)
            })
            .cloned()
    }

    /// Waits for a snapshot in which the host matches.
    ///
    /// # Errors
    /// After `deadline`, with `what` and the last snapshot.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&HostSnapshot) -> bool,
    ) -> Result<Arc<HostSnapshot>, WorldError> {
        let mut snapshots = self.runtime.subscribe();
        let found = async {
            loop {
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                if let Some(host) = self.find(&snapshot)
                    && wanted(&host)
                {
                    return Ok(host);
                }
                snapshots
                    .changed()
                    .await
                    .map_err(|_| unexpected("the runtime is gone"))?;
            }
        };
        match timeout(deadline, found).await {
            Ok(found) => found,
            Err(_) => Err(unexpected(format!(
                "not within {deadline:?}: {what}; the host is {:?}",
                self.host()
            ))),
        }
    }

    /// Waits until the loss of the connection shows.
    ///
    /// # Errors
    /// As [`Client::until`].
    pub async fn until_lost(&self) -> Result<Arc<HostSnapshot>, WorldError> {
        let is_lost = |host: &HostSnapshot| host.state != HostState::Online;
        self.until("the loss shows", DEADLINE, is_lost).await
    }

    /// Waits until the host is online and its session was resumed so many times in all.
    ///
    /// # Errors
    /// As [`Client::until`].
    pub async fn until_resumed(&self, times: u64) -> Result<Arc<HostSnapshot>, WorldError> {
        self.until("attached again", DEADLINE, |host| {
            host.state == HostState::Online && self.counters().resumed >= times
        })
        .await
    }

    /// Waits until the host is online.
    ///
    /// # Errors
    /// As [`Client::until`].
    pub async fn online(&self) -> Result<Arc<HostSnapshot>, WorldError> {
        self.until("online", DEADLINE, |host| host.state == HostState::Online)
            .await
    }

    /// Sends an intent.
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn send(&self, intent: Intent) -> Result<Receipt, WorldError> {
        self.runtime
            .send(&self.server_id()?, intent)
            .map_err(unexpected)
    }

    /// Submits an intent and waits for its result, as JSON.
    ///
    /// # Errors
    /// The intent is refused or has no outcome in time.
    pub async fn run(&self, intent: Intent) -> Result<serde_json::Value, WorldError> {
        let submitted = self.send(intent)?;
        done(submitted, DEADLINE).await
    }

    /// Creates an agent.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn agent(
        &self,
        provider: &str,
        cwd: &Path,
        prompt: Option<&str>,
    ) -> Result<AgentId, WorldError> {
        let made = self
            .run(Intent::CreateAgent {
                provider: provider.to_owned(),
                cwd: cwd.to_string_lossy().into_owned(),
                title: None,
                prompt: prompt.map(str::to_owned),
            })
            .await?;
        let made: AgentCreated = serde_json::from_value(made).map_err(unexpected)?;
        Ok(made.agent.id)
    }

    /// Follows an agent's timeline.
    ///
    /// # Errors
    /// The runtime does not open it.
    pub async fn timeline(&self, agent: &AgentId) -> Result<TimelineStream, WorldError> {
        self.runtime
            .timeline(&self.server_id()?, agent)
            .await
            .map_err(unexpected)
    }
}

/// Waits for the result of an intent, as JSON.
///
/// # Errors
/// The intent failed, or has no outcome in time.
pub async fn done(submitted: Receipt, deadline: Duration) -> Result<serde_json::Value, WorldError> {
    let id = submitted.id;
    match timeout(deadline, submitted.outcome()).await {
        Ok(Some(Outcome::Done { result })) => serde_json::from_str(&result).map_err(unexpected),
        Ok(other) => Err(unexpected(format!("intent {id} came to {other:?}"))),
        Err(_) => Err(unexpected(format!(
            "intent {id} has no outcome within {deadline:?}"
        ))),
    }
}
