//! `system.ping` and `system.info`: answered on sight, without a task.

use bowline_machines::Moment;
use bowline_protocol::{
    ServerId,
    error::RpcError,
    methods::{Pong, SystemInfo, name},
};
use serde_json::value::RawValue;

use crate::{
    clock::Clock,
    service::{Answer, AnswerFuture, Request, Service, answer},
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
}

impl Service for System {
    fn methods(&self) -> &'static [&'static str] {
        &[name::SYSTEM_PING, name::SYSTEM_INFO]
    }

    fn call_now(&self, method: &str, _params: Option<&RawValue>) -> Option<Answer> {
        Some(match method {
            name::SYSTEM_PING => answer(&Pong {
                server_time: self.clock.unix_millis(),
            }),
            name::SYSTEM_INFO => {
                let uptime = self.clock.now().since(self.started).as_millis();
                answer(&SystemInfo {
                    server_id: self.server_id.clone(),
                    name: self.name.clone(),
                    version: crate::VERSION.to_owned(),
                    uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
                    capabilities: Vec::new(),
                })
            }
            other => Err(RpcError::method_not_found(other)),
        })
    }

    fn call(&self, request: Request) -> AnswerFuture {
        let now = self.call_now(&request.method, request.params.as_deref());
        let missing = || Err(RpcError::method_not_found(&request.method));
        let answer = now.unwrap_or_else(missing);
        Box::pin(async move { answer })
    }
}
