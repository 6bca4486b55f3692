//! What every part of a running relay shares.

use bowline_protocol::relay::CloseText;

use crate::{
    admission::Rate,
    config::{Limits, Settings},
    metrics::{Gauges, Metrics},
    places::Places,
    proxies::Network,
    registry::Registry,
};

/// Shared by all tasks; each part guards itself.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) places: Places,
    pub(crate) registrations: Rate,
    pub(crate) opens: Rate,
    pub(crate) trusted_proxies: Vec<Network>,
    /// What daemons of a private relay must say.
    pub(crate) daemon_token: Option<String>,
}

impl Hub {
    pub(crate) fn new(settings: &Settings) -> Self {
        let limits = settings.limits.clone();
        Self {
            registry: Registry::default(),
            metrics: Metrics::default(),
            places: Places::new(limits.sockets, limits.sockets_per_address),
            registrations: Rate::per_minute(limits.registrations_per_minute),
            opens: Rate::per_minute(limits.opens_per_minute),
            trusted_proxies: settings.trusted_proxies.clone(),
            daemon_token: settings.daemon_token.clone(),
            limits,
        }
    }

    /// What is true now.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            sockets: self.places.taken(),
            ..self.registry.gauges()
        }
    }

    /// Ends everything; every peer is asked to come back at a moment of its own.
    pub(crate) fn end_all(&self, text: impl FnMut() -> CloseText) {
        self.registry.end_all(text);
    }
}
