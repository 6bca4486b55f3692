//! `system.ping` and `system.info`: answered on sight, without a task.

use bowline_machines::Moment;
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
    server_id: ServerId,
    name: String,
    clock: Clock,
    started: Moment,
}

impl System {
    /// The service of a daemon that starts now.
    pub fn new(server_id: ServerId, name: String, clock: Clock) -> Self {
        let started = clock.now();
        Self {
            server_id,
            name,
            clock,
            started,
        }
    }

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
