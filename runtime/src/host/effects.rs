//! Doing what the machines of a host say.

use std::time::Duration;

use bowline_machines::{
    Generation,
    client::ClientConfig,
    directory,
    host::{ConnectionId, Effect},
    timeline,
};
use bowline_protocol::{
    AgentId,
    methods::{AgentRef, name},
};

use super::{
    clients::{Slot, Tag},
    driver::Driver,
    events::HostEvent,
    loads,
    probe::probe,
};
use crate::{
    client::{DaemonClient, to_raw},
    observe,
};

/// Subscriptions that are ended under one attach because nobody wants them; as many as a session can have.
const MOST_LEFTOVERS: usize = 1_024;

impl Driver {
    /// Executes every effect and logs every transition, until there are none.
    pub(super) fn execute(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            self.host_effect(effect);
        }
        while let Some(directory::Effect::Load { generation, cursor }) =
            self.directory.poll_effect()
        {
            self.load_directory(generation, cursor);
        }
        while let Some((agent_id, effect)) = self.timelines.poll_effect() {
            self.timeline_effect(agent_id, effect);
        }
        self.log_transitions();
    }

    fn host_effect(&mut self, effect: Effect) {
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
            Effect::Promote { generation } => self.tell(generation, DaemonClient::promoted),
            Effect::DisposeClient { generation, drain } => {
                self.tell(generation, |client| client.dispose(drain));
            }
            Effect::CheckLiveness { generation } => {
                self.tell(generation, DaemonClient::check_liveness);
            }
            Effect::NetworkChanged { generation } => {
                self.tell(generation, DaemonClient::network_changed);
            }
            Effect::Reconnect { generation } => {
                self.tell(generation, DaemonClient::ensure_connected);
            }
            Effect::SetBackground {
                generation,
                background,
            } => {
                self.tell(generation, |client| client.set_background(background));
            }
            // Every turn ends with a snapshot; the hub drops those that say nothing new.
            Effect::Publish => {}
        }
    }

    fn tell(&self, generation: Generation, tell: impl FnOnce(&DaemonClient)) {
        if let Some(slot) = self.clients.get(generation) {
            tell(&slot.client);
        }
    }

    fn start_probe(&mut self, cycle: u64, connection: ConnectionId, delay: Duration) {
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

    fn create_client(&mut self, generation: Generation, connection: ConnectionId, candidate: bool) {
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
        let client = DaemonClient::spawn(dialer, config, generation, owner);
        client.ensure_connected();
        self.clients.insert(
            generation,
            Slot {
                client,
                accepted: None,
            },
        );
    }

    pub(super) fn load_directory(&self, load: Generation, cursor: Option<String>) {
        let (client, inbox) = (self.online(), self.inbox_sender.clone());
        let attach = self.attaches;
        tokio::spawn(async move {
            let result = loads::directory(client, cursor.clone()).await;
            let event = HostEvent::Directory {
                load,
                cursor,
                attach,
                result,
            };
            // The host is gone: nobody wants the answer.
            let _ = inbox.send(event).await;
        });
    }

    pub(super) fn timeline_effect(&self, agent_id: AgentId, effect: timeline::Effect) {
        match effect {
            timeline::Effect::Load {
                request, subscribe, ..
            } => {
                let (client, inbox) = (self.online(), self.inbox_sender.clone());
                let attach = self.attaches;
                let page = timeline::TimelineConfig::default().page;
                let params = request.history(agent_id.clone(), page);
                tokio::spawn(async move {
                    let result = loads::history(client, agent_id.clone(), subscribe, params).await;
                    let event = HostEvent::History {
                        agent_id,
                        load: effect,
                        attach,
                        result,
                    };
                    let _ = inbox.send(event).await;
                });
            }
            timeline::Effect::Unsubscribe => self.unsubscribe(agent_id),
        }
    }

    /// Ends a subscription that nobody here wants: an earlier run of the app was killed with a screen open, or could not say that it
    /// closed it. The session would carry its events for as long as it lives.
    pub(super) fn end_leftover(&mut self, agent_id: &AgentId) {
        if !self.timelines.is_wanted(agent_id)
            && self.leftovers.len() < MOST_LEFTOVERS
            && self.leftovers.insert(agent_id.clone())
        {
            self.unsubscribe(agent_id.clone());
        }
    }

    /// A failure costs events that nobody looks at, until one of them comes under the next attach. Queued before anything that
    /// comes later, so that a subscription made again stays. Subscriptions are the session's: while another process shares it,
    /// they may be wanted there.
    fn unsubscribe(&self, agent_id: AgentId) {
        if let Some(client) = self.online()
            && self.outbox.is_alone()
            && let Ok(params) = to_raw(&AgentRef { agent_id })
            && let Some(answer) = client.try_request(name::AGENTS_UNSUBSCRIBE, params)
        {
            tokio::spawn(answer);
        }
    }

    fn log_transitions(&mut self) {
        while let Some(transition) = self
            .machine
            .poll_transition()
            .or_else(|| self.directory.poll_transition())
            .or_else(|| self.timelines.poll_transition())
        {
            let key = &self.context.profile.client_session_key;
            observe::transition(
                &self.record.server_id,
                key,
                self.machine.generation(),
                &transition,
            );
        }
    }
}
