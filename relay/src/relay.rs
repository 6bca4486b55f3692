//! A running relay: listeners, upkeep and shutdown.

use std::{future::ready, net::SocketAddr, sync::Arc, time::Duration};

use bowline_machines::relay::absence::{self, Absence};
use bowline_program::{BindError, Listener, Vital, metrics::serve as serve_metrics, watch::kept};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::info;

use crate::{
    clock,
    config::Settings,
    listener::serve,
    parts::Parts,
    tls::{Tls, TlsError},
};

/// Rate limits drop recovered addresses once per this many intervals of the upkeep.
const SWEEP: u64 = 20;
/// Longest wait at shutdown until all peers have read the close frame.
const GOODBYE: Duration = Duration::from_secs(4);
/// Failure to start a relay.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A relay in this process. Dropping it ends it at once; [`Relay::shutdown`] closes its sockets
/// with a reason first.
#[derive(Debug)]
pub struct Relay {
    parts: Arc<Parts>,
    tls: Option<Arc<Tls>>,
    addresses: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    tasks: JoinSet<()>,
    vital: Vital,
}

impl Relay {
    /// Binds and begins to accept. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`StartError`], which names the remedy.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let tls = match settings.tls.clone() {
            Some(files) => Some(Arc::new(Tls::read(files)?)),
            None => None,
        };
        let parts = Arc::new(Parts::new(&settings));
        let mut listeners = Vec::new();
        for address in settings.listen {
            listeners.push(Listener::bind(address, "--listen").await?);
        }
        let metrics = match settings.metrics {
            Some(address) => Some(Listener::bind(address, "--metrics").await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(Listener::address);
        let addresses = listeners.iter().map(Listener::address).collect();
        let mut tasks = JoinSet::new();
        let vital = Vital::default();
        for listener in listeners {
            let serving = serve(listener, Arc::clone(&parts), tls.clone());
            tasks.spawn(vital.clone().task("listener", serving));
        }
        if let Some(listener) = metrics {
            let (parts, web) = (Arc::clone(&parts), parts.web.clone());
            let serving = serve_metrics(listener, web, move || {
                ready(Ok(parts.metrics.render(parts.gauges())))
            });
            tasks.spawn(vital.clone().task("metrics endpoint", serving));
        }
        tasks.spawn({
            let parts = Arc::clone(&parts);
            async move { kept("upkeep", || upkeep(Arc::clone(&parts))).await }
        });
        Ok(Self {
            parts,
            tls,
            addresses,
            metrics: metrics_address,
            tasks,
            vital,
        })
    }

    /// The addresses bound, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Address of `GET /metrics`, as bound.
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Waits until a panic has ended a listener, after which the relay cannot work. The text is for
    /// people.
    pub async fn failed(&self) -> String {
        self.vital.failed().await
    }

    /// Reads certificate and key again and returns whether any are configured. Open sockets keep
    /// the old ones.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate and key stay in force.
    pub fn reload(&self) -> Result<bool, TlsError> {
        match &self.tls {
            Some(tls) => tls.reload().map(|()| true),
            None => Ok(false),
        }
    }

    /// Stops accepting and closes every socket with `server_restarting` and a separate time to
    /// wait, so that peers do not all reconnect at once, and daemons reconnect before clients.
    /// Returns when they have read it, or after some seconds.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.parts.registry.end_all();
        if timeout(GOODBYE, self.parts.admission.all_gone())
            .await
            .is_err()
        {
            info!(
                sockets = self.parts.admission.sockets(),
                "some peers did not read the close frame"
            );
        }
    }
}

async fn upkeep(parts: Arc<Parts>) {
    let mut ticks = interval(absence::INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut absence = Absence::new(clock::now(), parts.limits.control_grace);
    for count in 1_u64.. {
        ticks.tick().await;
        let now = clock::now();
        absence.check(now);
        parts
            .registry
            .end_orphans(|since| absence.is_over(now, since));
        if count.is_multiple_of(SWEEP) {
            parts.admission.sweep();
        }
    }
}
