//! Inputs from a host's tasks: clients, probes, loads, answers.

use std::{sync::Arc, time::Duration};

use bowline_machines::{
    Generation, MonotonicTime,
    client::cursor::{AckGate, Effect, EventCheck},
    client::intents::Answer,
    client::paths::{self, ClientStatus, PathId},
    client::queries::Ticket,
    data::replica,
};
use bowline_protocol::{IntentId, SessionEvent, SessionState, session_event::Sequenced};

use super::driver::Driver;
use crate::{
    client::{Call, ClientEvent},
    error::Failure,
};

/// An input from a task of the driver.
pub(super) enum HostEvent {
    Client {
        generation: Generation,
        event: ClientEvent,
    },
    Probed {
        cycle: u64,
        connection: PathId,
        outcome: Result<Duration, Failure>,
    },
    /// A page of the directory or of a timeline.
    Loaded(replica::Input),
    Answered {
        id: IntentId,
        dispatch: Generation,
        answer: Answer,
    },
    /// The connection ended before the query was sent.
    NeverSent(Ticket, Call),
}

impl Driver {
    pub(super) fn on_event(&mut self, now: MonotonicTime, event: HostEvent) {
        match event {
            HostEvent::Client { generation, event } => self.on_client(now, generation, event),
            HostEvent::Probed {
                cycle,
                connection,
                outcome,
            } => {
                let failure = outcome.as_ref().err();
                let probed = paths::Input::ProbeFinished {
                    cycle,
                    connection,
                    retry_after: failure.and_then(|failure| failure.retry_after),
                    outcome: outcome.as_ref().copied().map_err(|failure| failure.reason),
                };
                self.last_failure = outcome.err().or(self.last_failure.take());
                self.machine.handle(now, probed);
            }
            HostEvent::Loaded(page) => self.replica.handle(now, page),
            HostEvent::Answered {
                id,
                dispatch,
                answer,
            } => self.on_answer(now, id, dispatch, answer),
            HostEvent::NeverSent(ticket, query) => self.on_query_never_sent(ticket, query),
        }
        self.execute(now);
    }

    fn on_client(&mut self, now: MonotonicTime, generation: Generation, event: ClientEvent) {
        match event {
            ClientEvent::Events(events) => self.on_session_events(now, generation, events),
            ClientEvent::Suspected(is_suspected) => self.machine.handle(
                now,
                paths::Input::Suspected {
                    generation,
                    is_suspected,
                },
            ),
            ClientEvent::State {
                state,
                accepted,
                failure,
            } => {
                self.clients.note(generation, state, accepted);
                let retry_after = failure.as_ref().and_then(|failure| failure.retry_after);
                self.last_failure = failure.or(self.last_failure.take());
                let state = ClientStatus::of(&state, retry_after);
                self.machine
                    .handle(now, paths::Input::ClientState { generation, state });
            }
        }
    }

    /// The active client attached to the session.
    pub(super) fn on_attached(&mut self, now: MonotonicTime, generation: Generation) {
        self.last_failure = None;
        let slot = self.clients.get(generation);
        let Some(accepted) = slot.and_then(|slot| slot.accepted.clone()) else {
            return;
        };
        let Some(welcome) = &accepted.session else {
            return;
        };
        // The daemon's current name; the registry stores it later.
        if !accepted.server_name.is_empty() {
            self.record.name.clone_from(&accepted.server_name);
        }
        if accepted.grant.as_ref() != self.grant.as_deref() {
            self.grant = accepted.grant.clone().map(Arc::new);
        }
        let session = self.session.attached(now, welcome);
        self.cursor.set(self.session.position());
        self.replica
            .handle(now, replica::Input::Attached { session });
        self.on_intents_attached(now, session);
    }

    fn on_session_events(
        &mut self,
        now: MonotonicTime,
        generation: Generation,
        events: Vec<Sequenced>,
    ) {
        let epoch = self
            .clients
            .get(generation)
            .and_then(|slot| slot.epoch())
            .cloned();
        for Sequenced { seq, event } in events {
            match self.session.receive(now, epoch.as_ref(), seq) {
                EventCheck::Next => {}
                EventCheck::AfterGap => {
                    tracing::error!(seq, "events are missing before this one");
                }
                EventCheck::Repeated | EventCheck::Stale => continue,
            }
            if let SessionEvent::DevicePaired { device } = &event {
                self.last_paired = Some(Arc::new(device.clone()));
            }
            self.replica
                .handle(now, replica::Input::Event { seq, event });
        }
        self.cursor.advance(self.session.last_seq());
        self.session_effects(now);
    }

    /// Executes every effect of the session's cursor.
    pub(super) fn session_effects(&mut self, now: MonotonicTime) {
        self.session.set_gate(now, AckGate::from(&self.machine));
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Refetch => {
                    let session = SessionState::Reset;
                    self.replica
                        .handle(now, replica::Input::Attached { session });
                }
                Effect::Ack(cursor) => {
                    if let Some(client) = self.online() {
                        client.ack(cursor);
                    }
                }
            }
        }
    }
}
