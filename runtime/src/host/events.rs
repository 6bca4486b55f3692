//! What reaches a host from the tasks it started: its clients, probes, loads, answers.

use std::time::Duration;

use bowline_machines::{
    Generation, Moment, client, directory,
    host::{self, ClientStatus, ConnectionId},
    load::LoadError,
    timeline::{self, Happened},
};
use bowline_protocol::{
    AgentId, IntentId, Reason, SessionEvent, SessionState,
    methods::{AgentsPage, HistoryPage},
    session_event::Sequenced,
};

use super::{
    driver::Driver,
    queries::Query,
    session::{Attached, Verdict},
};
use crate::{
    client::ClientEvent,
    clock::unix_millis,
    error::{CallError, Failure},
};

/// What reaches the driver from the tasks it started.
pub(super) enum HostEvent {
    Client {
        generation: Generation,
        event: ClientEvent,
    },
    Probed {
        cycle: u64,
        connection: ConnectionId,
        outcome: Result<Duration, Failure>,
    },
    Directory {
        load: Generation,
        /// The page that was asked for, and under which attach.
        cursor: Option<String>,
        attach: u64,
        result: Result<AgentsPage, LoadError>,
    },
    History {
        agent_id: AgentId,
        /// What was asked for, and under which attach.
        load: timeline::Effect,
        attach: u64,
        result: Result<HistoryPage, LoadError>,
    },
    Answered {
        id: IntentId,
        answer: Result<String, CallError>,
    },
    /// The connection had ended before the query was sent.
    NotAsked(Query),
}

impl Driver {
    pub(super) fn on_event(&mut self, now: Moment, event: HostEvent) {
        match event {
            HostEvent::Client { generation, event } => self.on_client(now, generation, event),
            HostEvent::Probed {
                cycle,
                connection,
                outcome,
            } => {
                let outcome = outcome.map_err(|failure| {
                    self.stay_away(now, Some(connection), &failure);
                    let reason = failure.reason;
                    self.last_failure = Some(failure);
                    reason
                });
                self.machine.handle(
                    now,
                    host::Input::ProbeFinished {
                        cycle,
                        connection,
                        outcome,
                    },
                );
            }
            HostEvent::Directory {
                load: generation,
                cursor,
                attach,
                result,
            } => {
                if self.was_overtaken(attach, &result)
                    && self.directory.running() == Some(generation)
                {
                    self.load_directory(generation, cursor);
                    return;
                }
                let input = match result {
                    Ok(page) => {
                        page.agents
                            .iter()
                            .for_each(|agent| self.note_creation(agent));
                        directory::Input::Loaded { generation, page }
                    }
                    Err(error) => directory::Input::LoadFailed { generation, error },
                };
                self.directory.handle(now, input);
            }
            HostEvent::History {
                agent_id,
                load,
                attach,
                result,
            } => {
                let timeline::Effect::Load { generation, .. } = load else {
                    return;
                };
                if self.was_overtaken(attach, &result)
                    && self.timelines.running(&agent_id) == Some(generation)
                {
                    self.timeline_effect(agent_id, load);
                    return;
                }
                let input = match result {
                    Ok(page) => timeline::Input::Loaded { generation, page },
                    Err(error) => timeline::Input::LoadFailed { generation, error },
                };
                self.timelines
                    .handle(now, &agent_id, input, &self.optimistic);
            }
            HostEvent::Answered { id, answer } => self.on_answer(now, id, answer),
            HostEvent::NotAsked(query) => self.queries.push(query),
        }
        self.execute();
    }

    /// Whether a load died with a client that another attach has replaced since: the machines will hear of no
    /// other attach, so the load goes on through the client that is there now.
    fn was_overtaken<T>(&self, attach: u64, result: &Result<T, LoadError>) -> bool {
        matches!(result, Err(LoadError::Lost(_))) && attach < self.attaches
    }

    fn on_client(&mut self, now: Moment, generation: Generation, event: ClientEvent) {
        match event {
            ClientEvent::Events(events) => self.on_session_events(now, generation, events),
            ClientEvent::State {
                state,
                accepted,
                failure,
            } => {
                self.clients.note(generation, state, accepted);
                if let Some(failure) = failure {
                    if matches!(state, client::State::Disconnected { .. }) {
                        self.stay_away(now, self.connection_of(generation), &failure);
                    }
                    self.last_failure = Some(failure);
                }
                let was = self.machine.state().active();
                let status = ClientStatus::from(&state);
                self.machine.handle(
                    now,
                    host::Input::ClientState {
                        generation,
                        state: status,
                    },
                );
                self.execute();
                let before = was.map(|(_, generation)| generation);
                let active = self.machine.state().active();
                let active = active.map(|(_, generation)| generation);
                match state {
                    client::State::Connected { .. } if active == Some(generation) => {
                        if before.is_some_and(|before| before != generation) {
                            self.counters.switches += 1;
                        }
                        self.on_attached(now, generation);
                    }
                    // Also when the host has given it up over this.
                    client::State::Disconnected { reason, .. } if before == Some(generation) => {
                        self.on_lost(now, reason);
                    }
                    client::State::Connected { .. }
                    | client::State::Disconnected { .. }
                    | client::State::Idle
                    | client::State::Connecting { .. }
                    | client::State::Disposed => {}
                }
            }
        }
    }

    /// Tells the machine what a peer on that path asked for.
    fn stay_away(&mut self, now: Moment, connection: Option<ConnectionId>, failure: &Failure) {
        if let (Some(connection), Some(millis)) = (connection, failure.retry_after_ms) {
            let pause = Duration::from_millis(millis);
            self.machine
                .handle(now, host::Input::StayAway { connection, pause });
        }
    }

    /// The path of the active client or of the candidate.
    fn connection_of(&self, generation: Generation) -> Option<ConnectionId> {
        let state = self.machine.state();
        let candidate = state.candidate();
        let candidate = candidate.map(|candidate| (candidate.connection, candidate.generation));
        [state.active(), candidate]
            .into_iter()
            .flatten()
            .find(|(_, known)| *known == generation)
            .map(|(connection, _)| connection)
    }

    /// The active client is attached to the session.
    fn on_attached(&mut self, now: Moment, generation: Generation) {
        self.last_failure = None;
        let welcome = self
            .clients
            .get(generation)
            .and_then(|slot| slot.accepted.as_ref())
            .and_then(|accepted| accepted.session.clone());
        let Some(welcome) = welcome else { return };
        self.take_name(generation);
        let session = match self.session.attached(now, &welcome) {
            Attached::Resumed => SessionState::Resumed,
            Attached::Fresh if welcome.state == SessionState::New => SessionState::New,
            Attached::Fresh => SessionState::Reset,
        };
        match session {
            SessionState::Resumed => self.counters.resumed += 1,
            SessionState::New | SessionState::Reset => self.counters.reset += 1,
        }
        self.attaches += 1;
        self.leftovers.clear();
        self.cursor.set(self.session.cursor());
        self.tell_attached(now, session);
        // What may not be offered any more is over (BX-1).
        if session == SessionState::New {
            self.queue.session_began(now, unix_millis());
        }
        self.expire_intents(now);
    }

    /// A daemon that was given another name is called so from now on; who looks after the registry stores it.
    fn take_name(&mut self, generation: Generation) {
        let slot = self.clients.get(generation);
        let name = slot.and_then(|slot| slot.accepted.as_ref());
        let Some(name) = name.map(|accepted| accepted.server_name.clone()) else {
            return;
        };
        if !name.is_empty() {
            self.record.name = name;
        }
    }

    fn tell_attached(&mut self, now: Moment, session: SessionState) {
        self.directory
            .handle(now, directory::Input::Attached { session });
        self.timelines.handle_all(
            now,
            &timeline::Input::Attached { session },
            &self.optimistic,
        );
    }

    fn on_lost(&mut self, now: Moment, reason: Reason) {
        self.directory
            .handle(now, directory::Input::Disconnected { reason });
        self.timelines.handle_all(
            now,
            &timeline::Input::Disconnected { reason },
            &self.optimistic,
        );
    }

    /// A host that could not be reached has no list on its way: the directory says why instead of showing a skeleton (DS).
    pub(super) fn note_unreachable(&mut self, now: Moment) {
        if *self.directory.state() != directory::State::Idle {
            return;
        }
        let reason = match self.machine.state() {
            host::State::Error { reason, .. } => *reason,
            host::State::NoConnections => Reason::Unreachable,
            host::State::SelectingActiveConnection {
                retry_at: Some(_), ..
            } => self.machine.last_error().unwrap_or(Reason::Unreachable),
            host::State::Booting
            | host::State::SelectingActiveConnection { .. }
            | host::State::ConnectingActive { .. }
            | host::State::Online { .. }
            | host::State::Degraded { .. }
            | host::State::Stopped => return,
        };
        self.directory
            .handle(now, directory::Input::Disconnected { reason });
    }

    fn on_session_events(&mut self, now: Moment, generation: Generation, events: Vec<Sequenced>) {
        let epoch = self
            .clients
            .get(generation)
            .and_then(|slot| slot.epoch())
            .cloned();
        let mut has_gap = false;
        for Sequenced { seq, event } in events {
            match self.session.receive(now, epoch.as_ref(), seq) {
                Verdict::Apply => self.counters.events_applied += 1,
                Verdict::Gap => {
                    tracing::error!(seq, "events are missing before this one");
                    self.counters.event_gaps += 1;
                    has_gap = true;
                }
                Verdict::Repeated => {
                    self.counters.events_repeated += 1;
                    continue;
                }
                Verdict::Stale => {
                    self.counters.stale_dropped += 1;
                    continue;
                }
            }
            self.apply(now, seq, event);
        }
        self.cursor.advance(self.session.last_seq());
        if has_gap {
            // Nobody knows what was in the hole: what is shown is fetched again.
            self.tell_attached(now, SessionState::Reset);
        }
    }

    fn apply(&mut self, now: Moment, seq: u64, event: SessionEvent) {
        match event {
            SessionEvent::AgentUpdated { agent } => {
                self.note_creation(&agent);
                self.directory
                    .handle(now, directory::Input::AgentUpdated { seq, agent });
            }
            SessionEvent::AgentRemoved { agent_id } => {
                self.directory
                    .handle(now, directory::Input::AgentRemoved { seq, agent_id });
            }
            SessionEvent::TimelineAppended { agent_id, item } => {
                self.end_leftover(&agent_id);
                let happened = Happened::Appended(item);
                let input = timeline::Input::Event { seq, happened };
                self.timelines
                    .handle(now, &agent_id, input, &self.optimistic);
            }
            SessionEvent::TimelineDelta {
                agent_id,
                item_id,
                index,
                text,
            } => {
                self.end_leftover(&agent_id);
                let happened = Happened::Delta {
                    item_id,
                    index,
                    text,
                };
                let input = timeline::Input::Event { seq, happened };
                self.timelines
                    .handle(now, &agent_id, input, &self.optimistic);
            }
            // The question itself is an item of the timeline; the directory's row says that one waits.
            SessionEvent::PermissionRequested { .. } | SessionEvent::Unknown => {}
        }
    }
}
