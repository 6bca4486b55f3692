//! Serves accepted sockets as connections, and holds what all connections of a daemon share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline_machines::{Path, daemon::connection::ConnectionConfig};

use super::{ConnectionRegistry, Listed};
use crate::{clock::Clock, config::Limits, identity::Identity, ledger::Ledger, service::Router};

/// Time a close may take before the socket is dropped.
const CLOSING: Duration = Duration::from_secs(3);

/// Turns sockets into connections: [`Acceptor::list`] lists an accepted one,
/// [`serve`](super::serve) runs it until it closes.
#[derive(Debug)]
pub struct Acceptor {
    pub(crate) identity: Arc<Identity>,
    /// The daemon's name in welcomes.
    pub(super) name: String,
    pub(crate) ledger: Ledger,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<ConnectionRegistry>,
    /// Limits of session connections, for their machine.
    pub(super) session_config: Arc<ConnectionConfig>,
    /// Limits of local connections.
    pub(super) local_config: Arc<ConnectionConfig>,
}

impl Acceptor {
    /// An acceptor of connections for `identity` that call methods of `router` and are listed in
    /// `registry`.
    pub fn new(
        identity: Arc<Identity>,
        name: String,
        ledger: Ledger,
        router: Router,
        limits: Limits,
        registry: Arc<ConnectionRegistry>,
    ) -> Self {
        let clock = ledger.clock().clone();
        let local = ConnectionConfig {
            hello_deadline: None,
            idle_timeout: limits.idle_timeout.unwrap_or_default(),
            request_timeout: limits.request_timeout.unwrap_or_default(),
            max_pending: limits.max_in_flight,
            closing_deadline: CLOSING,
        };
        let session = ConnectionConfig {
            hello_deadline: Some(limits.handshake_timeout),
            // Event-only connections do not idle out; `ConnectionRegistry::sweep` closes silent
            // ones.
            idle_timeout: Duration::ZERO,
            ..local.clone()
        };
        Self {
            identity,
            name,
            ledger,
            router,
            limits,
            clock,
            registry,
            session_config: Arc::new(session),
            local_config: Arc::new(local),
        }
    }

    /// Lists a newly accepted connection.
    pub fn list(&self, path: Path, peer: Option<SocketAddr>) -> Listed {
        self.registry.open(path, peer, self.clock.now())
    }

    /// Counts a socket refused at the connection limit.
    pub(crate) fn turned_away(&self, path: Path) {
        self.registry.turned_away(path);
    }

    /// The methods that connections may call.
    pub const fn router(&self) -> &Router {
        &self.router
    }
}
