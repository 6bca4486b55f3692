//! The driver of one host: takes one input at a time, feeds the machines, does what they say, publishes.

use std::{collections::HashMap, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bowline_machines::{
    Generation, Moment, client,
    directory::{self, Directory},
    host::{self, ClientStatus, ConnectionId, HostRuntimeManager},
    load::LoadError,
    timeline::{self, Happened},
};
use bowline_protocol::{
    AgentId, IntentId, Reason, SessionEvent, SessionState,
    methods::{AgentsPage, HistoryPage},
    session_event::Sequenced,
};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
};

use super::{
    HostCommand, HostContext,
    clients::Clients,
    session::{Attached, SessionMirror, Verdict},
    timelines::Timelines,
};
use crate::{
    client::{ClientEvent, Cursor, DaemonClient},
    clock::{Alarm, Clock},
    error::{CallError, Failure},
    intent::Outcome,
    outbox::{Outbox, Queue, Record},
    registry::HostRecord,
    settings::{HOST_QUEUE, WAITING_QUERIES},
    snapshot::Counters,
    transport::Address,
};

/// Longest time that the clients of a stopped host get to end.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// How often the driver looks for followers that went away and intents that grew too old.
const SWEEP: Duration = Duration::from_secs(5);

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
        result: Result<AgentsPage, LoadError>,
    },
    History {
        agent_id: AgentId,
        load: Generation,
        result: Result<HistoryPage, LoadError>,
    },
    Answered {
        id: IntentId,
        answer: Result<String, CallError>,
    },
}

/// One input.
enum Input {
    Event(HostEvent),
    Command(HostCommand),
    Submitted,
    Timer,
    Stop,
}

/// A query that waits for the host to be online.
pub(super) struct Query {
    pub(super) method: &'static str,
    pub(super) params: Box<RawValue>,
    pub(super) reply: oneshot::Sender<Result<Box<RawValue>, CallError>>,
}

pub(super) struct Driver {
    pub(super) context: HostContext,
    pub(super) record: HostRecord,
    /// The configured paths; the machine knows each by its place here.
    pub(super) addresses: Vec<Address>,
    pub(super) machine: HostRuntimeManager,
    pub(super) clients: Clients,
    pub(super) session: SessionMirror,
    pub(super) cursor: Cursor,
    pub(super) directory: Directory,
    pub(super) timelines: Timelines,
    pub(super) queue: Queue,
    pub(super) outbox: Arc<Outbox>,
    pub(super) outcomes: HashMap<IntentId, oneshot::Sender<Outcome>>,
    pub(super) recent: Arc<[(IntentId, Outcome)]>,
    pub(super) queries: Vec<Query>,
    pub(super) last_failure: Option<Failure>,
    pub(super) counters: Counters,
    pub(super) probes: Vec<(u64, AbortHandle)>,
    pub(super) clock: Clock,
    alarm: Alarm,
    sweep_at: Moment,
    inbox: mpsc::Receiver<HostEvent>,
    pub(super) inbox_sender: mpsc::Sender<HostEvent>,
    commands: mpsc::Receiver<HostCommand>,
    stop: watch::Receiver<Option<bool>>,
}

impl Driver {
    pub(super) fn new(
        context: HostContext,
        record: HostRecord,
        outbox: Arc<Outbox>,
        kept: Vec<Record>,
        commands: mpsc::Receiver<HostCommand>,
        stop: watch::Receiver<Option<bool>>,
    ) -> Self {
        let (inbox_sender, inbox) = mpsc::channel(HOST_QUEUE);
        let mut queue = Queue::default();
        kept.into_iter().for_each(|record| queue.push(record));
        let config = host::HostConfig {
            jitter_seed: context.seed,
            ..context.settings.host
        };
        Self {
            context,
            record,
            addresses: Vec::new(),
            machine: HostRuntimeManager::new(config),
            clients: Clients::default(),
            session: SessionMirror::default(),
            cursor: Cursor::default(),
            directory: Directory::new(),
            timelines: Timelines::default(),
            queue,
            outbox,
            outcomes: HashMap::new(),
            recent: Arc::default(),
            queries: Vec::new(),
            last_failure: None,
            counters: Counters::default(),
            probes: Vec::new(),
            clock: Clock::start(),
            alarm: Alarm::default(),
            sweep_at: Moment::default(),
            inbox,
            inbox_sender,
            commands,
            stop,
        }
    }

    pub(super) async fn run(mut self) {
        let now = self.clock.now();
        let connections = self.connections();
        self.machine.handle(now, host::Input::Start { connections });
        self.settle(now);
        loop {
            let input = self.select().await;
            let now = self.clock.now();
            match input {
                Input::Event(event) => self.on_event(now, event),
                Input::Command(command) => self.on_command(now, command),
                Input::Submitted => self.on_submitted(now),
                Input::Timer => self.on_timer(now),
                Input::Stop => break,
            }
            // What else is waiting belongs to the same snapshot.
            for _ in 0..HOST_QUEUE {
                let Ok(event) = self.inbox.try_recv() else {
                    break;
                };
                self.on_event(now, event);
            }
            self.settle(now);
        }
        self.end().await;
    }

    /// The next input. Cancel-safe: nothing is taken that is not returned.
    async fn select(&mut self) -> Input {
        let deadline = [
            self.machine.poll_timeout(),
            self.directory.poll_timeout(),
            self.timelines.poll_timeout(),
            self.session.ack_deadline(),
            self.queue.next_retry(self.clock.now()),
            Some(self.sweep_at),
        ]
        .into_iter()
        .flatten()
        .min();
        let Self {
            stop,
            inbox,
            commands,
            outbox,
            alarm,
            clock,
            ..
        } = self;
        tokio::select! {
            biased;
            // An error means that every handle is gone, which is the same as a stop.
            _ = stop.wait_for(Option::is_some) => Input::Stop,
            Some(event) = inbox.recv() => Input::Event(event),
            command = commands.recv() => command.map_or(Input::Stop, Input::Command),
            () = outbox.arrived() => Input::Submitted,
            () = poll_fn(|cx| {
                if alarm.poll(cx, clock, deadline) { Poll::Ready(()) } else { Poll::Pending }
            }) => Input::Timer,
        }
    }

    fn on_event(&mut self, now: Moment, event: HostEvent) {
        match event {
            HostEvent::Client { generation, event } => self.on_client(now, generation, event),
            HostEvent::Probed {
                cycle,
                connection,
                outcome,
            } => {
                let outcome = outcome.map_err(|failure| {
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
                result,
            } => {
                let input = match result {
                    Ok(page) => directory::Input::Loaded { generation, page },
                    Err(error) => directory::Input::LoadFailed { generation, error },
                };
                self.directory.handle(now, input);
            }
            HostEvent::History {
                agent_id,
                load: generation,
                result,
            } => {
                let input = match result {
                    Ok(page) => timeline::Input::Loaded { generation, page },
                    Err(error) => timeline::Input::LoadFailed { generation, error },
                };
                self.timelines.handle(now, &agent_id, input);
            }
            HostEvent::Answered { id, answer } => self.on_answer(now, id, answer),
        }
        self.execute();
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
                let active = self
                    .machine
                    .state()
                    .active()
                    .map(|(_, generation)| generation);
                if active != Some(generation) {
                    return;
                }
                match state {
                    client::State::Connected { .. } => {
                        if was.is_some_and(|(_, before)| before != generation) {
                            self.counters.switches += 1;
                        }
                        self.on_attached(now, generation);
                    }
                    client::State::Disconnected { reason, .. } => self.on_lost(now, reason),
                    client::State::Idle
                    | client::State::Connecting { .. }
                    | client::State::Disposed => {}
                }
            }
        }
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
        let session = match self.session.attached(&welcome) {
            Attached::Resumed => SessionState::Resumed,
            Attached::Fresh if welcome.state == SessionState::New => SessionState::New,
            Attached::Fresh => SessionState::Reset,
        };
        match session {
            SessionState::Resumed => self.counters.resumed += 1,
            SessionState::New | SessionState::Reset => self.counters.reset += 1,
        }
        self.cursor.set(self.session.cursor());
        self.directory
            .handle(now, directory::Input::Attached { session });
        self.timelines
            .handle_all(now, &timeline::Input::Attached { session });
        self.offer_intents(now);
        self.send_queries();
    }

    fn on_lost(&mut self, now: Moment, reason: Reason) {
        self.directory
            .handle(now, directory::Input::Disconnected { reason });
        self.timelines
            .handle_all(now, &timeline::Input::Disconnected { reason });
    }

    fn on_session_events(&mut self, now: Moment, generation: Generation, events: Vec<Sequenced>) {
        let epoch = self
            .clients
            .get(generation)
            .and_then(|slot| slot.epoch())
            .cloned();
        for Sequenced { seq, event } in events {
            match self.session.receive(now, epoch.as_ref(), seq) {
                Verdict::Apply => self.counters.events_applied += 1,
                Verdict::Gap => {
                    tracing::error!(seq, "events are missing before this one");
                    self.counters.event_gaps += 1;
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
    }

    fn apply(&mut self, now: Moment, seq: u64, event: SessionEvent) {
        match event {
            SessionEvent::AgentUpdated { agent } => {
                self.directory
                    .handle(now, directory::Input::AgentUpdated { seq, agent });
            }
            SessionEvent::AgentRemoved { agent_id } => {
                self.directory
                    .handle(now, directory::Input::AgentRemoved { seq, agent_id });
            }
            SessionEvent::TimelineAppended { agent_id, item } => {
                let happened = Happened::Appended(item);
                self.timelines
                    .handle(now, &agent_id, timeline::Input::Event { seq, happened });
            }
            SessionEvent::TimelineDelta {
                agent_id,
                item_id,
                index,
                text,
            } => {
                let happened = Happened::Delta {
                    item_id,
                    index,
                    text,
                };
                self.timelines
                    .handle(now, &agent_id, timeline::Input::Event { seq, happened });
            }
            // The question itself is an item of the timeline; the directory's row says that one waits.
            SessionEvent::PermissionRequested { .. } | SessionEvent::Unknown => {}
        }
    }

    fn on_command(&mut self, now: Moment, command: HostCommand) {
        match command {
            HostCommand::Paired(record) => {
                self.record = record;
                let connections = self.connections();
                self.machine
                    .handle(now, host::Input::ConnectionsChanged(connections));
                // Whatever the daemon refused this device for is over.
                self.machine.handle(now, host::Input::ReconnectNow);
            }
            HostCommand::Refresh => self.directory.handle(now, directory::Input::Refresh),
            HostCommand::Select(address) => {
                let place = address
                    .and_then(|address| self.addresses.iter().position(|known| *known == address));
                self.machine
                    .handle(now, host::Input::UserSelect(place.map(connection_id)));
            }
            HostCommand::Foreground => self.machine.handle(now, host::Input::Foreground),
            HostCommand::Background => self.machine.handle(now, host::Input::Background),
            HostCommand::NetworkChanged => self.machine.handle(now, host::Input::NetworkChanged),
            HostCommand::Query {
                method,
                params,
                reply,
            } => {
                let query = Query {
                    method,
                    params,
                    reply,
                };
                if matches!(self.machine.state(), host::State::Error { .. })
                    || self.queries.len() >= WAITING_QUERIES
                {
                    let _ = query.reply.send(Err(CallError::NotConnected));
                } else {
                    self.queries.push(query);
                    self.send_queries();
                }
            }
            HostCommand::OpenTimeline { agent_id, reply } => {
                let _ = reply.send(self.timelines.follow(now, &agent_id));
            }
        }
    }

    fn on_timer(&mut self, now: Moment) {
        if self
            .machine
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.machine.handle_timeout(now);
        }
        if self
            .directory
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.directory.handle_timeout(now);
        }
        self.timelines.handle_timeout(now);
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.timelines.sweep(now);
            self.queries.retain(|query| !query.reply.is_closed());
            self.expire_intents();
        }
    }

    /// After every input: effects, acknowledgements, intents, then the snapshot.
    fn settle(&mut self, now: Moment) {
        self.execute();
        if let Some(seq) = self.session.poll_ack(now)
            && let Some(client) = self.online()
        {
            client.ack(seq);
        }
        self.offer_intents(now);
        self.publish();
    }

    /// The active client, if it is connected.
    pub(super) fn online(&self) -> Option<DaemonClient> {
        match self.machine.state() {
            host::State::Online { generation, .. } => self
                .clients
                .get(*generation)
                .map(|slot| slot.client.clone()),
            _ => None,
        }
    }

    /// The paths that the settings allow, labelled by their place.
    fn connections(&mut self) -> Vec<(ConnectionId, bowline_machines::Path)> {
        // A label is never given to another address: what is under way refers to it.
        for address in &self.record.addresses {
            if self.context.allows(address) && !self.addresses.contains(address) {
                self.addresses.push(address.clone());
            }
        }
        self.addresses
            .iter()
            .enumerate()
            .filter(|(_, address)| self.record.addresses.contains(address))
            .map(|(place, address)| (connection_id(place), address.path))
            .collect()
    }

    /// Ends every client, within a bound.
    async fn end(mut self) {
        let now = self.clock.now();
        self.machine.handle(now, host::Input::Stop);
        self.execute();
        let forget = *self.stop.borrow() == Some(true);
        self.abandon(forget);
        for query in self.queries.drain(..) {
            let _ = query.reply.send(Err(CallError::NotConnected));
        }
        let clients_end = async {
            while !self.clients.is_empty() {
                match self.inbox.recv().await {
                    Some(HostEvent::Client {
                        generation,
                        event:
                            ClientEvent::State {
                                state, accepted, ..
                            },
                    }) => self.clients.note(generation, state, accepted),
                    Some(_) => {}
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(STOP_DEADLINE, clients_end).await;
        if forget {
            self.context.hub.remove(&self.record.server_id);
        }
    }
}

/// The machine's label for a place in `addresses`.
pub(super) fn connection_id(place: usize) -> ConnectionId {
    ConnectionId(u32::try_from(place).unwrap_or(u32::MAX))
}
