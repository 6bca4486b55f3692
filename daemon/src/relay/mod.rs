//! The relays that lead clients here (`docs/protocol.md` §9; SV-3, RL-2, RL-3).
//!
//! * [`link`] keeps the daemon registered with one relay: a control socket, and a data socket for each client session
//! * [`peer`] is one data socket; its [`switch`] splits it into lanes and serves each as a connection of its own
//! * [`lane`] is one client socket behind a relay, as the [`MessageSocket`](crate::connection::MessageSocket) that any
//!   connection is (INV-4)
//! * [`control`] speaks on a control socket, [`dial`] opens sockets
//! * [`board`] shows all of it (SV-5), [`repeats`] is what the log says of a relay that stays away
//!
//! What to do next is decided in `bowline_machines::relay`.

pub mod board;
mod control;
mod dial;
mod lane;
mod link;
mod peer;
mod repeats;
mod switch;

use std::{path::PathBuf, sync::Arc};

use bowline_program::watch::kept;
use bowline_protocol::{Reason, identity::random_bytes};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

pub use board::{RelayBoard, RelayInfo};
use dial::Dialler;
pub use dial::RelayTlsError;
use link::Link;

use crate::{config::RelayUrl, connection::Environment};

/// All relay links of a daemon; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relays {
    links: JoinSet<()>,
    stopping: watch::Sender<Option<Reason>>,
}

/// What reads the settings; it fails before anything runs.
#[derive(Debug)]
pub(crate) struct RelayPlan {
    relays: Vec<RelayUrl>,
    dialler: Dialler,
}

impl RelayPlan {
    /// Checks what can be checked before there is a network.
    ///
    /// # Errors
    /// [`RelayTlsError`] when a root certificate is not usable.
    pub(crate) fn new(relays: Vec<RelayUrl>, roots: &[PathBuf]) -> Result<Self, RelayTlsError> {
        let dialler = Dialler::new(roots)?;
        Ok(Self { relays, dialler })
    }

    /// Registers with every relay from now on. Each lane holds one of `places` for as long as it lives.
    pub(crate) fn start(self, environment: &Arc<Environment>, places: &Arc<Semaphore>) -> Relays {
        let (stopping, stop) = watch::channel(None);
        let mut links = JoinSet::new();
        for (relay, entry) in self.relays.into_iter().zip(environment.relays.entries()) {
            let begin = {
                let (entry, dialler) = (Arc::clone(entry), self.dialler.clone());
                let (environment, places) = (Arc::clone(environment), Arc::clone(places));
                let stop = stop.clone();
                move || {
                    let seed = random_bytes().map_or(0, u64::from_ne_bytes);
                    let link = Link::new(
                        relay.clone(),
                        Arc::clone(&entry),
                        dialler.clone(),
                        Arc::clone(&environment),
                        Arc::clone(&places),
                        stop.clone(),
                        seed,
                    );
                    link.run()
                }
            };
            links.spawn(kept("relay link", begin));
        }
        Relays { links, stopping }
    }
}

impl Relays {
    /// Takes no more clients and tells the relays so. Lanes that are open go on until their connections end.
    pub(crate) fn stop(&self, reason: Reason) {
        self.stopping.send_replace(Some(reason));
    }

    /// Waits until every lane has ended and its relay was told. After [`Relays::stop`].
    pub(crate) async fn ended(mut self) {
        while self.links.join_next().await.is_some() {}
    }
}
