//! `system.ping` and `system.info`: answered immediately, without a task.

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    ServerId,
    error::RpcError,
    methods::{Empty, Pong, SystemInfo, name},
};

use crate::{
    clock::Clock,
    service::{Methods, Service},
};

/// The service of the `system` methods.
#[derive(Debug)]
pub struct System {
    pub(crate) server_id: ServerId,
    /// The daemon's name for people.
    pub(crate) name: String,
    pub(crate) clock: Clock,
    /// When the daemon started.
    pub(crate) started: MonotonicTime,
}

impl System {
    fn ping(&self, _: Empty) -> Result<Pong, RpcError> {
        Ok(Pong {
            server_time: self.clock.unix_millis(),
        })
    }

    fn info(&self, _: Empty) -> Result<SystemInfo, RpcError> {
        let uptime = self.clock.now().since(self.started).as_millis();
        Ok(SystemInfo {
            server_id: self.server_id.clone(),
            name: self.name.clone(),
            version: crate::VERSION.to_owned(),
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            capabilities: Vec::new(),
        })
    }
}

impl Service for System {
    fn methods(methods: &mut Methods<Self>) {
        methods.now(name::SYSTEM_PING, Self::ping).for_probes();
        methods.now(name::SYSTEM_INFO, Self::info);
    }
}
