//! The driver of one host: takes one input at a time, feeds the machines, executes their effects,
//! publishes.

use std::{collections::HashMap, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bowline_machines::{
    MonotonicTime,
    client::cursor::SessionCursor,
    client::intents::{Intents, IntentsConfig},
    client::paths::{self, HostRuntimeManager, PathLabels},
    client::upkeep::{self, OutboxStatus, Upkeep},
    data::replica::{self, Replica},
    data::screen::Connectivity,
    liveness::SleepMeter,
};
use bowline_protocol::{Grant, IntentId, PublicKey, session_event::PairedDevice};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinHandle},
};

use super::{
    HostCommand, HostContext, Inputs, clients::Clients, control::HostControl, events::HostEvent,
    kept::Flush, live::LiveReaders, queries::PendingQueries, screens::ScreenPublishers,
    streams::Streams,
};
use crate::{
    blocking::blocking,
    cache::HostCache,
    client::{ClientEvent, ClientHandle, Cursor},
    clock::{Alarm, Clock, unix_millis},
    control_slot::ControlSlot,
    error::Failure,
    outbox::{Outbox, Record},
    registry::HostRecord,
    settings::{COMMANDS_PER_TURN, HOST_QUEUE, REQUEST_TIMEOUT},
    snapshot::Publisher,
    transport::Address,
};

/// Longest time for the clients of a stopped host to end.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// One input.
enum Input {
    Event(HostEvent),
    Control(HostControl),
    Command(HostCommand),
    Submitted,
    Timer,
    Stop,
}

pub(super) struct Driver {
    pub(super) context: HostContext,
    pub(super) record: HostRecord,
    pub(super) publisher: Publisher,
    /// The machine's labels of addresses, each with the daemon's key there.
    pub(super) labels: PathLabels<(Address, PublicKey)>,
    pub(super) machine: HostRuntimeManager,
    pub(super) clients: Clients,
    pub(super) session: SessionCursor,
    pub(super) cursor: Cursor,
    pub(super) replica: Replica,
    pub(super) streams: Streams,
    pub(super) screen_publishers: ScreenPublishers,
    pub(super) live: LiveReaders,
    /// Latest revision of a view or screen.
    pub(super) rev: u64,
    pub(super) intents: Intents,
    /// Tasks that await answers to intents.
    pub(super) in_flight: HashMap<IntentId, AbortHandle>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) cache: Arc<HostCache>,
    pub(super) queries: PendingQueries,
    pub(super) last_failure: Option<Failure>,
    /// What this device may do, as of the last welcome.
    pub(super) grant: Option<Arc<Grant>>,
    /// The device that paired last.
    pub(super) last_paired: Option<Arc<PairedDevice>>,
    pub(super) probes: Vec<(u64, AbortHandle)>,
    pub(super) clock: Clock,
    pub(super) sleep: SleepMeter,
    alarm: Alarm,
    upkeep: Upkeep,
    /// The last maintenance of the outbox.
    maintenance: Option<JoinHandle<()>>,
    control: Arc<ControlSlot<HostControl>>,
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
        (outbox, cache): (Arc<Outbox>, Arc<HostCache>),
        kept: Vec<Record>,
        Inputs {
            control,
            commands,
            stop,
        }: Inputs,
    ) -> Self {
        let (inbox_sender, inbox) = mpsc::channel(HOST_QUEUE);
        let clock = Clock::start();
        let config = paths::HostConfig {
            jitter_seed: context.seed,
            ..context.settings.host
        };
        let mut driver = Self {
            context,
            record,
            publisher,
            labels: PathLabels::default(),
            machine: HostRuntimeManager::new(config),
            clients: Clients::default(),
            session: SessionCursor::default(),
            cursor: Cursor::default(),
            replica: Replica::default(),
            streams: Streams::default(),
            screen_publishers: ScreenPublishers::default(),
            live: LiveReaders::default(),
            rev: 0,
            intents: Intents::new(IntentsConfig {
                answer_deadline: REQUEST_TIMEOUT,
                ..IntentsConfig::default()
            }),
            in_flight: HashMap::new(),
            outbox,
            cache,
            queries: PendingQueries::default(),
            last_failure: None,
            grant: None,
            last_paired: None,
            probes: Vec::new(),
            clock,
            sleep: SleepMeter::new(clock.now(), unix_millis()),
            alarm: Alarm::default(),
            upkeep: Upkeep::new(clock.now()),
            maintenance: None,
            control,
            inbox,
            inbox_sender,
            commands,
            stop,
        };
        driver.recover_intents(clock.now(), kept);
        driver.recover_lists();
        driver
    }

    pub(super) async fn run(mut self) {
        let now = self.clock.now();
        let connections = self.connections();
        self.machine
            .handle(now, paths::Input::Start { connections });
        self.settle(now);
        loop {
            let input = self.select().await;
            let now = self.clock.now();
            self.note_sleep(now);
            match input {
                Input::Event(event) => self.on_event(now, event),
                Input::Control(changes) => self.on_control(now, changes),
                Input::Command(command) => self.on_command(now, command).await,
                Input::Submitted | Input::Timer => {}
                Input::Stop => break,
            }
            self.take_waiting(now).await;
            self.settle(now);
        }
        self.end().await;
    }

    /// Handles all pending inputs in this turn, for one snapshot. A flood of one kind must not
    /// delay the others, whatever the order of [`Driver::select`].
    async fn take_waiting(&mut self, now: MonotonicTime) {
        for _ in 0..HOST_QUEUE {
            let Ok(event) = self.inbox.try_recv() else {
                break;
            };
            self.on_event(now, event);
        }
        let control = self.control.take();
        self.on_control(now, control);
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.on_command(now, command).await;
        }
        self.on_submitted(now);
        self.on_timer(now);
    }

    /// The next input. Cancel-safe: nothing is taken without being returned.
    async fn select(&mut self) -> Input {
        let deadline = [
            self.machine.poll_timeout(),
            self.replica.poll_timeout(),
            self.session.poll_timeout(),
            self.intents.poll_timeout(),
            self.queries.machine.poll_timeout(),
            Some(self.upkeep.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min();
        let Self {
            stop,
            inbox,
            control,
            commands,
            outbox,
            alarm,
            clock,
            ..
        } = self;
        tokio::select! {
            biased;
            // An error means that every handle was dropped, which equals a stop.
            _ = stop.wait_for(Option::is_some) => Input::Stop,
            Some(event) = inbox.recv() => Input::Event(event),
            changes = poll_fn(|cx| control.poll_take(cx)) => Input::Control(changes),
            command = commands.recv() => command.map_or(Input::Stop, Input::Command),
            () = outbox.arrived() => Input::Submitted,
            () = poll_fn(|cx| {
                if alarm.poll(cx, clock, deadline) { Poll::Ready(()) } else { Poll::Pending }
            }) => Input::Timer,
        }
    }

    fn on_timer(&mut self, now: MonotonicTime) {
        let is_due = |due: Option<MonotonicTime>| due.is_some_and(|due| due <= now);
        if is_due(self.machine.poll_timeout()) {
            self.machine.handle_timeout(now);
        }
        self.replica.handle_timeout(now);
        if is_due(self.intents.poll_timeout()) {
            self.intents.handle_timeout(now);
            self.execute_intents(now);
        }
        self.session.handle_timeout(now);
        if is_due(Some(self.upkeep.poll_timeout())) {
            self.upkeep.handle_timeout(now, self.outbox_status());
        }
        while let Some(effect) = self.upkeep.poll_effect() {
            match effect {
                upkeep::Effect::Sweep => {
                    self.close_screens();
                    self.end_streams();
                    self.end_live();
                    self.write_lists(now, None);
                    let connectivity = Connectivity::from(self.machine.state().kind());
                    self.replica.sweep(now, connectivity);
                }
                upkeep::Effect::MaintainOutbox => self.maintain_outbox(),
            }
        }
    }

    fn outbox_status(&self) -> OutboxStatus {
        let last = self.maintenance.as_ref();
        if last.is_some_and(|task| !task.is_finished()) {
            OutboxStatus::InMaintenance
        } else if self.outbox.is_unavailable() {
            OutboxStatus::Unavailable
        } else {
            OutboxStatus::Available
        }
    }

    /// Adopted intents arrive as if submitted.
    fn maintain_outbox(&mut self) {
        let outbox = Arc::clone(&self.outbox);
        self.maintenance = blocking(move || {
            if let Err(problem) = outbox.look_after() {
                tracing::warn!(%problem, "the outbox is unavailable");
            }
        });
    }

    /// After every input: effects, acknowledgements, intents, then the snapshot.
    fn settle(&mut self, now: MonotonicTime) {
        if let Some(reason) = self.machine.unreachable() {
            self.replica
                .handle(now, replica::Input::Unreachable { reason });
        }
        self.follow_screens(now);
        self.execute(now);
        self.session_effects(now);
        self.link_intents(now);
        self.settle_queries(now);
        self.publish();
        self.write_lists(now, None);
    }

    /// The active client, if it is connected.
    pub(super) fn online(&self) -> Option<ClientHandle> {
        let (_, _, generation) = self.machine.online()?;
        let slot = self.clients.get(generation)?;
        Some(slot.client.clone())
    }

    /// Ends every client within a bounded time. Answers arriving meanwhile count.
    async fn end(mut self) {
        let now = self.clock.now();
        let (flush, flushed) = Flush::new();
        self.replica.hurry();
        self.write_lists(now, Some(flush));
        self.machine.handle(now, paths::Input::Stop);
        self.execute(now);
        self.link_intents(now);
        self.settle_queries(now);
        // Followers and pending queries end here.
        self.streams = Streams::default();
        self.screen_publishers.clear();
        self.live = LiveReaders::default();
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        self.publish();
        let clients_end = async {
            // Every dispatch is answered, at the latest by the end of its client; the answer may
            // arrive after that end.
            while !self.clients.is_empty() || self.intents.in_flight() > 0 {
                match self.inbox.recv().await {
                    Some(HostEvent::Client {
                        generation,
                        event:
                            ClientEvent::State {
                                state, accepted, ..
                            },
                    }) => self.clients.note(generation, state, accepted),
                    Some(HostEvent::Answered {
                        id,
                        dispatch,
                        answer,
                    }) => self.on_answer(now, id, dispatch, answer),
                    Some(_) => {}
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(STOP_DEADLINE, clients_end).await;
        // The lists are the next run's first rows.
        let deadline = std::time::Instant::now() + STOP_DEADLINE;
        if let Some(flushed) = blocking(move || flushed.wait(deadline)) {
            let _ = flushed.await;
        }
        // A remaining handle of the host must not keep its journal locked.
        let outbox = Arc::clone(&self.outbox);
        if let Some(released) = blocking(move || outbox.release()) {
            let _ = released.await;
        }
    }
}
