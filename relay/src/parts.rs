//! The parts of a running relay that its tasks share. Each has its own lock or atomics.

use bowline_program::{WebAccess, config::Secret};

use crate::{
    admission::Admission,
    config::{Limits, Settings},
    metrics::{Gauges, Metrics},
    origins::Origins,
    registry::DaemonRegistry,
};

/// State of listeners, sockets and upkeep.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) registry: DaemonRegistry,
    pub(crate) metrics: Metrics,
    /// The token that daemons of a private relay send.
    pub(crate) daemon_token: Option<Secret>,
    /// Where daemons reach this relay.
    pub(crate) origins: Origins,
    /// The web pages and names that are let in.
    pub(crate) web: WebAccess,
}

impl Parts {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            limits: settings.limits.clone(),
            admission: Admission::new(settings),
            registry: DaemonRegistry::default(),
            metrics: Metrics::default(),
            daemon_token: settings.daemon_token.clone(),
            origins: Origins::new(settings.origin.clone()),
            web: WebAccess::new(&settings.allowed_origins, &settings.allowed_hosts),
        }
    }

    /// Current values for the metrics.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            sockets: self.admission.sockets(),
            ..self.registry.gauges()
        }
    }
}
