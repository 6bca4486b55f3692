//! The driver of one host: takes one input at a time, feeds the machines, does what they say, publishes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bowline_machines::{
    Moment,
    directory::Directory,
    host::{self, HostRuntimeManager},
    optimistic::Optimistic,
};
use bowline_protocol::{AgentId, IntentId, PublicKey};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle},
};

use super::{
    HostCommand, HostContext, Told,
    clients::Clients,
    events::HostEvent,
    orders::{NetworkChange, Orders},
    publish::Creations,
    queries::Queries,
    screens::Screens,
    session::SessionMirror,
    timelines::Timelines,
};
use crate::{
    blocking::blocking,
    client::{ClientEvent, Cursor, DaemonClient},
    clock::{Alarm, Clock},
    desk::Desk,
    error::Failure,
    intent::Outcome,
    outbox::{Outbox, Queue, Record},
    registry::HostRecord,
    settings::{ADOPTION, COMMANDS_PER_TURN, HOST_QUEUE},
    snapshot::{Counters, Publisher},
    timeline::TimelineView,
    transport::Address,
};

/// Longest time that the clients of a stopped host get to end.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// How often the driver looks for followers that went away and intents that grew too old.
const SWEEP: Duration = Duration::from_secs(5);

/// One input.
enum Input {
    Event(HostEvent),
    Orders(Orders),
    Command(HostCommand),
    Submitted,
    Timer,
    Stop,
}

pub(super) struct Driver {
    pub(super) context: HostContext,
    pub(super) record: HostRecord,
    pub(super) publisher: Publisher,
    /// Every path that was ever configured; the machine knows each by its place here.
    pub(super) places: Vec<(Address, PublicKey)>,
    pub(super) machine: HostRuntimeManager,
    pub(super) clients: Clients,
    pub(super) session: SessionMirror,
    /// How often an active client has attached. What is sent belongs to one attach and dies with its connection.
    pub(super) attaches: u64,
    pub(super) cursor: Cursor,
    /// Agents whose subscription was ended under this attach because nobody wanted it.
    pub(super) leftovers: HashSet<AgentId>,
    pub(super) directory: Directory,
    pub(super) timelines: Timelines,
    pub(super) screens: Screens,
    pub(super) optimistic: Optimistic,
    /// What was shown of the creations, as of `Optimistic::rev`.
    pub(super) creations: Creations,
    /// The newest revision of a view or screen.
    pub(super) rev: u64,
    /// The timeline of an agent that is not there.
    pub(super) nothing: Arc<TimelineView>,
    pub(super) queue: Queue,
    pub(super) outbox: Arc<Outbox>,
    pub(super) outcomes: HashMap<IntentId, oneshot::Sender<Outcome>>,
    /// Intents that were not done and are kept until that was seen; oldest first.
    pub(super) failures: VecDeque<IntentId>,
    pub(super) recent: Arc<[(IntentId, Outcome)]>,
    pub(super) queries: Queries,
    pub(super) last_failure: Option<Failure>,
    pub(super) counters: Counters,
    pub(super) probes: Vec<(u64, AbortHandle)>,
    pub(super) clock: Clock,
    alarm: Alarm,
    sweep_at: Moment,
    adopt_at: Moment,
    /// The outbox is being looked after.
    looking_after: Option<JoinHandle<()>>,
    pub(super) network_change: NetworkChange,
    desk: Arc<Desk<Orders>>,
    inbox: mpsc::Receiver<HostEvent>,
    pub(super) inbox_sender: mpsc::Sender<HostEvent>,
    commands: mpsc::Receiver<HostCommand>,
    stop: watch::Receiver<Option<bool>>,
}

impl Driver {
    pub(super) fn new(
        context: HostContext,
        record: HostRecord,
        publisher: Publisher,
        outbox: Arc<Outbox>,
        kept: Vec<Record>,
        Told {
            desk,
            commands,
            stop,
        }: Told,
    ) -> Self {
        let (inbox_sender, inbox) = mpsc::channel(HOST_QUEUE);
        let mut queue = Queue::default();
        let mut optimistic = Optimistic::new();
        let mut failures = VecDeque::new();
        for record in kept {
            super::optimistic::queued(&mut optimistic, &record);
            match &record.outcome {
                None => queue.push(record, None),
                Some(outcome) => {
                    super::optimistic::concluded(&mut optimistic, record.id, outcome);
                    failures.push_back(record.id);
                }
            }
        }
        let config = host::HostConfig {
            jitter_seed: context.seed,
            ..context.settings.host
        };
        Self {
            context,
            record,
            publisher,
            places: Vec::new(),
            machine: HostRuntimeManager::new(config),
            clients: Clients::default(),
            session: SessionMirror::default(),
            attaches: 0,
            cursor: Cursor::default(),
            leftovers: HashSet::new(),
            directory: Directory::new(),
            timelines: Timelines::default(),
            screens: Screens::default(),
            optimistic,
            creations: Creations::default(),
            rev: 0,
            nothing: Arc::default(),
            queue,
            outbox,
            outcomes: HashMap::new(),
            failures,
            recent: Arc::default(),
            queries: Queries::default(),
            last_failure: None,
            counters: Counters::default(),
            probes: Vec::new(),
            clock: Clock::start(),
            alarm: Alarm::default(),
            sweep_at: Moment::default(),
            adopt_at: Moment::default() + SWEEP,
            looking_after: None,
            network_change: NetworkChange::default(),
            desk,
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
        self.expire_intents(now);
        self.settle(now);
        loop {
            let input = self.select().await;
            let now = self.clock.now();
            match input {
                Input::Event(event) => self.on_event(now, event),
                Input::Orders(orders) => self.on_orders(now, orders),
                Input::Command(command) => self.on_command(now, command),
                Input::Submitted | Input::Timer => {}
                Input::Stop => break,
            }
            self.take_waiting(now);
            self.settle(now);
        }
        self.end().await;
    }

    /// What else is waiting belongs to the same turn and the same snapshot. A flood of one kind must not keep
    /// the others waiting, whatever the order of [`Driver::select`].
    fn take_waiting(&mut self, now: Moment) {
        for _ in 0..HOST_QUEUE {
            let Ok(event) = self.inbox.try_recv() else {
                break;
            };
            self.on_event(now, event);
        }
        let orders = self.desk.take();
        self.on_orders(now, orders);
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.on_command(now, command);
        }
        self.on_submitted(now);
        self.on_timer(now);
    }

    /// The next input. Cancel-safe: nothing is taken that is not returned.
    async fn select(&mut self) -> Input {
        let deadline = [
            self.machine.poll_timeout(),
            self.directory.poll_timeout(),
            self.timelines.poll_timeout(),
            self.session
                .ack_deadline()
                .filter(|_| !self.holds_acks() && self.online().is_some()),
            self.queue.next_retry(self.clock.now()),
            self.queries.deadline(),
            self.network_change.deadline(),
            Some(self.sweep_at),
        ]
        .into_iter()
        .flatten()
        .min();
        let Self {
            stop,
            inbox,
            desk,
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
            orders = poll_fn(|cx| desk.poll_take(cx)) => Input::Orders(orders),
            command = commands.recv() => command.map_or(Input::Stop, Input::Command),
            () = outbox.arrived() => Input::Submitted,
            () = poll_fn(|cx| {
                if alarm.poll(cx, clock, deadline) { Poll::Ready(()) } else { Poll::Pending }
            }) => Input::Timer,
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
        self.timelines.handle_timeout(now, &self.optimistic);
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.close_screens();
            let attached = self.online().map(|_| self.attaches);
            self.timelines.sweep(now, attached, &mut self.optimistic);
            self.expire_intents(now);
            self.look_after_outbox(now);
        }
        self.on_network_change(now);
    }

    /// Tries again what could not be had of the outbox, and now and then takes over what processes left behind that have
    /// ended since. What is found comes as if it were submitted.
    fn look_after_outbox(&mut self, now: Moment) {
        let is_due = self.adopt_at <= now || self.outbox.is_unavailable();
        let is_running = self.looking_after.as_ref();
        if !is_due || is_running.is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.adopt_at = now + ADOPTION;
        let outbox = Arc::clone(&self.outbox);
        self.looking_after = blocking(move || {
            if let Err(problem) = outbox.look_after() {
                tracing::warn!(%problem, "the outbox cannot be looked after");
            }
        });
    }

    /// After every input: effects, acknowledgements, intents, then the snapshot.
    fn settle(&mut self, now: Moment) {
        self.note_unreachable(now);
        self.follow_screens(now);
        self.execute();
        if !self.holds_acks()
            && let Some(client) = self.online()
            && let Some(cursor) = self.session.poll_ack(now)
        {
            client.ack(cursor);
        }
        self.offer_intents(now);
        self.settle_queries(now);
        self.publish();
    }

    /// While the next client is on its way, its hello may have said an earlier cursor than the active one has reached by
    /// now. The daemon lets go of what is acknowledged, so acknowledging more would turn that resume into a reset.
    fn holds_acks(&self) -> bool {
        self.machine.candidate().is_some()
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

    /// Ends every client, within a bound. What they still answer counts.
    async fn end(mut self) {
        let now = self.clock.now();
        let forget = *self.stop.borrow() == Some(true);
        self.machine.handle(now, host::Input::Stop);
        self.execute();
        self.settle_queries(now);
        if forget {
            self.abandon(forget);
        }
        // Followers and those who ask have nobody to wait for.
        self.timelines = Timelines::default();
        self.screens = Screens::default();
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        self.publish();
        let clients_end = async {
            // Every offer is answered, if only by the end of its client; the answer may come after that end.
            while !self.clients.is_empty() || self.queue.is_offering() {
                match self.inbox.recv().await {
                    Some(HostEvent::Client {
                        generation,
                        event:
                            ClientEvent::State {
                                state, accepted, ..
                            },
                    }) => self.clients.note(generation, state, accepted),
                    Some(HostEvent::Answered { id, answer }) => self.on_answer(now, id, answer),
                    Some(_) => {}
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(STOP_DEADLINE, clients_end).await;
        self.abandon(forget);
        // Whoever still holds a handle of the host does not keep its journal from the next process.
        let outbox = Arc::clone(&self.outbox);
        if let Some(released) = blocking(move || outbox.release()) {
            let _ = released.await;
        }
    }
}
