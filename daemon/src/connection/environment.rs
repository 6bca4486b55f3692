//! What every connection of a daemon shares.

use std::{sync::Arc, time::Duration};

use bowline_machines::{Moment, connection::ConnectionConfig};
use bowline_protocol::limits::HEARTBEAT;

use super::Registry;
use crate::{
    clock::Clock, config::Limits, identity::Identity, ledger::Ledger, relay::RelayBoard,
    service::Router,
};

/// How long a close may take before the socket is dropped.
const CLOSING: Duration = Duration::from_secs(3);

/// The shared part of all connections.
#[derive(Debug)]
pub struct Environment {
    /// Who this daemon is.
    pub identity: Identity,
    /// Its name, for people.
    pub name: String,
    /// The state.
    pub ledger: Ledger,
    /// The methods.
    pub router: Router,
    /// The bounds.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// All connections.
    pub registry: Arc<Registry>,
    /// How the relays are.
    pub relays: RelayBoard,
    /// When the daemon started.
    pub started: Moment,
    /// Bounds of session connections, as their machine takes them.
    pub session_config: Arc<ConnectionConfig>,
    /// Bounds of local connections.
    pub local_config: Arc<ConnectionConfig>,
}

impl Environment {
    /// Puts the shared part together.
    pub fn new(
        identity: Identity,
        name: String,
        ledger: Ledger,
        router: Router,
        limits: Limits,
        registry: Arc<Registry>,
        relays: RelayBoard,
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
            // A screen that only shows is not idle. Silence is the sweep's: see `Registry::sweep`.
            idle_timeout: Duration::ZERO,
            ..local.clone()
        };
        Self {
            identity,
            name,
            ledger,
            router,
            limits,
            started: clock.now(),
            clock,
            registry,
            relays,
            session_config: Arc::new(session),
            local_config: Arc::new(local),
        }
    }

    /// `heartbeatMs` of the welcome.
    pub(crate) fn heartbeat_ms() -> u32 {
        u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX)
    }
}
