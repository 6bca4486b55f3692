//! A running relay: listeners, upkeep, and its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline_program::{Vital, watch::kept};
use bowline_protocol::{
    Reason,
    identity::random_bytes,
    relay::{CloseText, limits::RESTART_SPREAD},
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::info;

use crate::{
    config::Settings,
    hub::Hub,
    listener::{BindError, Listener},
    tls::{Tls, TlsError},
};

/// How often what nobody waits for is looked after: orphaned sessions, forgotten addresses.
const UPKEEP: Duration = Duration::from_millis(500);
/// Every so many of these the rate limits forget addresses.
const SWEEP: u32 = 20;
/// How long the peers of a relay that stops have to hear of it.
const GOODBYE: Duration = Duration::from_secs(4);

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A relay in this process. It ends when it is dropped, or more politely by [`Relay::shutdown`].
#[derive(Debug)]
pub struct Relay {
    hub: Arc<Hub>,
    tls: Option<Arc<Tls>>,
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
    vital: Vital,
}

impl Relay {
    /// Binds and begins to accept. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let tls = match settings.tls.clone() {
            Some(files) => Some(Arc::new(Tls::read(files)?)),
            None => None,
        };
        let hub = Arc::new(Hub::new(&settings));
        let mut listeners = Vec::new();
        for address in settings.listen {
            listeners.push(Listener::bind(address).await?);
        }
        let addresses = listeners.iter().map(Listener::address).collect();
        let mut tasks = JoinSet::new();
        let vital = Vital::default();
        for listener in listeners {
            let serving = listener.serve(Arc::clone(&hub), tls.clone());
            tasks.spawn(vital.clone().task("listener", serving));
        }
        tasks.spawn({
            let hub = Arc::clone(&hub);
            async move { kept("upkeep", || upkeep(Arc::clone(&hub))).await }
        });
        Ok(Self {
            hub,
            tls,
            addresses,
            tasks,
            vital,
        })
    }

    /// The addresses bound, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for a defect that leaves a relay of no use: a listener has ended by a panic. The text is for people.
    pub async fn failed(&self) -> String {
        self.vital.failed().await
    }

    /// Reads certificate and key again, if there are any; sockets that are open keep theirs. Whether there are.
    ///
    /// # Errors
    /// [`TlsError`]; what was in force stays in force.
    pub fn reload(&self) -> Result<bool, TlsError> {
        match &self.tls {
            Some(tls) => tls.reload().map(|()| true),
            None => Ok(false),
        }
    }

    /// Stops accepting and tells every peer that the relay is about to be back, each with a time of its own to stay
    /// away, so that they do not come back all at once. Returns when they have heard it, or after some seconds.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.hub.end_all(|| CloseText {
            reason: Reason::ServerRestarting,
            retry_after: Some(somewhen(RESTART_SPREAD)),
        });
        if timeout(GOODBYE, self.hub.places.all_free()).await.is_err() {
            info!(
                sockets = self.hub.gauges().sockets,
                "some peers did not hear the end"
            );
        }
    }
}

/// A random part of a time.
fn somewhen(whole: Duration) -> Duration {
    let random: [u8; 2] = random_bytes().unwrap_or_default();
    whole * u32::from(u16::from_ne_bytes(random)) / u32::from(u16::MAX)
}

async fn upkeep(hub: Arc<Hub>) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut forgiven = last;
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if now.saturating_duration_since(last) > 4 * UPKEEP {
            // We slept: daemons get their whole time again (lesson 5).
            forgiven = now + hub.limits.control_grace;
        }
        last = now;
        if let Some(before) = now.checked_sub(hub.limits.control_grace)
            && now >= forgiven
        {
            hub.registry.end_orphans(before);
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(SWEEP) {
            hub.registrations.sweep();
            hub.opens.sweep();
        }
    }
}
