//! Execution of the effects of a host's machines.

use std::time::Duration;

use bowline_machines::{
    Generation, MonotonicTime,
    client::connection::ClientConfig,
    client::paths::{Effect, PathId},
    data::replica,
    data::timeline,
};
use bowline_protocol::{
    AgentId,
    methods::{AgentRef, name},
};
use serde::Serialize;

use super::{
    clients::{Slot, Tag},
    driver::Driver,
    events::HostEvent,
    loads,
    probe::probe,
};
use crate::{
    client::{ClientHandle, to_raw},
    observe,
};

impl Driver {
    /// Executes effects and logs transitions until there are none.
    pub(super) fn execute(&mut self, now: MonotonicTime) {
        while let Some(effect) = self.machine.poll_effect() {
            self.host_effect(now, effect);
        }
        while let Some(effect) = self.replica.poll_effect() {
            match effect {
                replica::Effect::LoadDirectory { load, cursor } => {
                    self.load_directory(load, cursor)
                }
                replica::Effect::Timeline(agent_id, effect) => {
                    self.timeline_effect(agent_id, effect);
                }
                replica::Effect::Table(effect) => self.table_effect(now, effect),
                replica::Effect::Log(effect) => self.log_effect(now, effect),
                replica::Effect::Topic(effect) => self.topic_effect(effect),
            }
        }
        self.log_transitions();
    }

    fn host_effect(&mut self, now: MonotonicTime, effect: Effect) {
        match effect {
            Effect::StartProbe {
                cycle,
                connection,
                delay,
            } => {
                self.start_probe(cycle, connection, delay);
            }
            Effect::CancelProbes { cycle } => self.probes.retain(|(of, probe)| {
                if *of == cycle {
                    probe.abort();
                }
                *of != cycle
            }),
            Effect::CreateClient {
                generation,
                connection,
                candidate,
            } => {
                self.create_client(generation, connection, candidate);
            }
            Effect::Promote { generation } => self.tell(generation, ClientHandle::promoted),
            Effect::Attached { generation } => self.on_attached(now, generation),
            Effect::Lost { reason } => {
                self.replica.handle(now, replica::Input::Lost { reason });
            }
            Effect::DisposeClient {
                generation,
                drain,
                reason,
            } => {
                self.tell(generation, |client| client.dispose(drain, reason));
            }
            Effect::CheckLiveness { generation } => {
                self.tell(generation, ClientHandle::check_liveness);
            }
            Effect::TellAlternative {
                generation,
                is_known,
            } => {
                self.tell(generation, |client| client.alternative_known(is_known));
            }
            Effect::NetworkChanged { generation } => {
                self.tell(generation, ClientHandle::network_changed);
            }
            Effect::Reconnect { generation } => {
                self.tell(generation, ClientHandle::ensure_connected);
            }
            Effect::SetBackground {
                generation,
                background,
            } => {
                self.tell(generation, |client| client.set_background(background));
            }
        }
    }

    fn tell(&self, generation: Generation, tell: impl FnOnce(&ClientHandle)) {
        if let Some(slot) = self.clients.get(generation) {
            tell(&slot.client);
        }
    }

    fn start_probe(&mut self, cycle: u64, connection: PathId, delay: Duration) {
        let Some(address) = self.address(connection) else {
            return;
        };
        let dialer = self
            .context
            .dialer(&self.record, address, self.cursor.clone());
        let inbox = self.inbox_sender.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let outcome = probe(dialer).await;
            let _ = inbox
                .send(HostEvent::Probed {
                    cycle,
                    connection,
                    outcome,
                })
                .await;
        });
        self.probes.retain(|(_, probe)| !probe.is_finished());
        self.probes.push((cycle, task.abort_handle()));
    }

    fn create_client(&mut self, generation: Generation, connection: PathId, candidate: bool) {
        let Some(address) = self.address(connection) else {
            return;
        };
        let dialer = self
            .context
            .dialer(&self.record, address, self.cursor.clone());
        let config = ClientConfig {
            path: address.path,
            auto_retry: !candidate,
            // Clients of one host must not retry in step.
            jitter_seed: self.context.seed ^ generation.get(),
            ..self.context.settings.client
        };
        let owner = Tag {
            generation,
            inbox: self.inbox_sender.clone(),
        };
        let client = ClientHandle::spawn(dialer, config, generation, owner);
        client.ensure_connected();
        self.clients.insert(
            generation,
            Slot {
                client,
                accepted: None,
            },
        );
    }

    fn load_directory(&self, load: Generation, cursor: Option<String>) {
        let (client, inbox) = (self.online(), self.inbox_sender.clone());
        tokio::spawn(async move {
            let result = loads::directory(client, cursor).await;
            let page = replica::Input::DirectoryPage { load, result };
            // An error means that the host has ended.
            let _ = inbox.send(HostEvent::Loaded(page)).await;
        });
    }

    fn timeline_effect(&self, agent_id: AgentId, effect: timeline::Effect) {
        match effect {
            timeline::Effect::Load {
                load,
                request,
                subscribe,
            } => {
                let (client, inbox) = (self.online(), self.inbox_sender.clone());
                let page = timeline::TimelineConfig::default().page;
                let params = request.history(agent_id.clone(), page);
                tokio::spawn(async move {
                    let result = loads::history(client, agent_id.clone(), subscribe, params).await;
                    let input = timeline::Input::Page { load, result };
                    let page = replica::Input::Timeline { agent_id, input };
                    let _ = inbox.send(HostEvent::Loaded(page)).await;
                });
            }
            // Subscriptions belong to the session: while another process shares it, that process
            // may need them.
            timeline::Effect::Unsubscribe if self.outbox.is_alone() => {
                self.send_unawaited(name::AGENTS_UNSUBSCRIBE, &AgentRef { agent_id });
            }
            timeline::Effect::Unsubscribe => {}
        }
    }

    /// Sends a request that ends a subscription. A failure costs unneeded events until the next
    /// attach. Queued before any later message, so that a new subscription survives.
    pub(super) fn send_unawaited<P: Serialize>(&self, method: &'static str, params: &P) {
        if let Some(client) = self.online()
            && let Ok(params) = to_raw(params)
            && let Some(answer) = client.try_request(method, params)
        {
            tokio::spawn(answer);
        }
    }

    fn log_transitions(&mut self) {
        while let Some(transition) = self
            .machine
            .poll_transition()
            .or_else(|| self.replica.poll_transition())
        {
            let server_id = &self.record.server_id;
            observe::transition(
                server_id,
                &self.context.profile.client_session_key(server_id),
                self.machine.generation(),
                &transition,
            );
        }
    }
}
