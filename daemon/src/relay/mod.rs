//! The daemon's side of its relays (`docs/protocol.md` §9; SV-3, RL-2, RL-3).
//!
//! * [`registration`] keeps the daemon registered with one relay: a control socket, and a data
//!   socket for each client session
//! * [`data_socket`] is the task of one data socket; its [`lane_server`] splits it into lanes and
//!   serves each as a connection
//! * [`lane`] is one client socket behind a relay, as the
//!   [`MessageSocket`](crate::connection::MessageSocket) of a connection (INV-4)
//! * [`control`] drives a control socket, [`dial`] opens sockets
//! * [`status`] reports all of it (SV-5)
//!
//! The machines `bowline_machines::daemon::registration` and `bowline_machines::relay` make the
//! decisions, and `bowline_machines::daemon::failure_log` which failures are logged.

mod control;
mod data_socket;
mod dial;
mod lane;
mod lane_server;
mod registration;
pub mod status;

use std::{collections::BTreeSet, sync::Arc};

use bowline_program::{config::read_secret, watch::kept};
use bowline_protocol::{Reason, RouteKey, identity::random_bytes, relay::KnownDevices};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use dial::Dialler;
pub use dial::RelaySettingsError;
use registration::RegistrationDriver;
use status::RelayEntry;
pub use status::{RelayInfo, RelayState, RelayStatus};

use crate::{
    config::{RelayUrl, Settings},
    connection::Acceptor,
};

/// All relay registrations of a daemon. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Relays {
    registrations: JoinSet<()>,
    stopping: watch::Sender<Option<Reason>>,
}

/// Routes of devices.
type Routes = Arc<BTreeSet<RouteKey>>;

/// What the tasks of one relay share.
struct RelayContext {
    relay: RelayUrl,
    entry: Arc<RelayEntry>,
    /// Status of all relays.
    status: RelayStatus,
    dialler: Dialler,
    acceptor: Arc<Acceptor>,
    places: Arc<Semaphore>,
    /// Routes of the devices that the daemon knows, once read.
    devices: watch::Receiver<Option<Routes>>,
    /// The reason for which the daemon stops, once it does.
    stopping: watch::Receiver<Option<Reason>>,
}

/// Relay settings, validated before anything runs.
#[derive(Debug)]
pub(crate) struct RelayPlan {
    relays: Vec<RelayUrl>,
    dialler: Dialler,
}

impl RelayPlan {
    /// Validates the settings without a network.
    ///
    /// # Errors
    /// [`RelaySettingsError`] if a root certificate or a token file is not usable, or if it is not
    /// clear whose token the file holds.
    pub(crate) fn new(settings: &Settings) -> Result<Self, RelaySettingsError> {
        let dialler = Dialler::new(&settings.relay_root, settings.proxy.as_ref())?;
        let mut relays = settings.relay.clone();
        if let Some(path) = &settings.relay_token_file {
            let without = relays
                .iter()
                .filter(|relay| relay.token().is_none())
                .count();
            if without != 1 {
                return Err(RelaySettingsError::TokenOf(without));
            }
            let token = read_secret(path)?;
            for relay in relays.iter_mut().filter(|relay| relay.token().is_none()) {
                *relay = relay.clone().with_token(&token)?;
            }
        }
        Ok(Self { relays, dialler })
    }

    /// Registers with every relay from now on. Each lane holds one permit of `places` for its whole
    /// life.
    pub(crate) fn start(
        self,
        status: &RelayStatus,
        acceptor: &Arc<Acceptor>,
        places: &Arc<Semaphore>,
    ) -> Relays {
        let (stopping, stop) = watch::channel(None);
        let mut registrations = JoinSet::new();
        let (known, devices) = watch::channel(None);
        if !self.relays.is_empty() {
            let (acceptor, stop) = (Arc::clone(acceptor), stop.clone());
            registrations.spawn(kept("known devices", move || {
                know(Arc::clone(&acceptor), known.clone(), stop.clone())
            }));
        }
        for (relay, entry) in self.relays.into_iter().zip(status.entries()) {
            let context = Arc::new(RelayContext {
                relay,
                entry: Arc::clone(entry),
                status: status.clone(),
                dialler: self.dialler.clone(),
                acceptor: Arc::clone(acceptor),
                places: Arc::clone(places),
                devices: devices.clone(),
                stopping: stop.clone(),
            });
            let begin = move || {
                let seed = random_bytes().map_or(0, u64::from_ne_bytes);
                RegistrationDriver::new(Arc::clone(&context), seed).run()
            };
            registrations.spawn(kept("relay registration", begin));
        }
        Relays {
            registrations,
            stopping,
        }
    }
}

impl Relays {
    /// Takes no more clients and unregisters from the relays. Open lanes continue until their
    /// connections close.
    pub(crate) fn stop(&self, reason: Reason) {
        self.stopping.send_replace(Some(reason));
    }

    /// Waits until every lane has closed and the relays have been informed. After [`Relays::stop`].
    pub(crate) async fn ended(mut self) {
        while self.registrations.join_next().await.is_some() {}
    }
}

/// Keeps the routes of the paired devices up to date, until the daemon stops.
async fn know(
    acceptor: Arc<Acceptor>,
    known: watch::Sender<Option<Routes>>,
    mut stopping: watch::Receiver<Option<Reason>>,
) {
    let server = acceptor.identity.server_id();
    let mut changes = acceptor.ledger.devices_changed();
    loop {
        changes.borrow_and_update();
        match acceptor.ledger.known_devices(KnownDevices::MOST).await {
            Ok(keys) => {
                let routes = keys.iter().map(|key| RouteKey::of_device(key, server));
                known.send_replace(Some(Arc::new(routes.collect())));
            }
            // The list before stays; the next change or start reads it again.
            Err(error) => tracing::warn!(%error, "the devices could not be read for the relays"),
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(Option::is_some) => return,
        }
    }
}
