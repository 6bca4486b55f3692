//! The driver of a client: collects inputs, feeds the machine, executes its effects.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::{
    Generation, MonotonicTime,
    client::connection::{ClientConfig, DaemonClient, Effect, Input, State},
    client::traffic::ClientTraffic,
};
use bowline_protocol::{
    Purpose, Reason,
    handshake::Accepted,
    methods::{Ack, Empty, name},
    session_event::Sequenced,
};
use tokio::sync::mpsc;

use super::{
    ClientEvent, ClientOwner, Dialer,
    commands::{Commands, ControlSlot},
    queue::Queue,
    waiters::Waiters,
};
use crate::{
    clock::{Alarm, Clock},
    error::Failure,
    observe,
    transport::{BoxFuture, Closed, link::Link},
};

type Dialed = Result<(Link, Accepted), Failure>;
type Permit<T> = Result<mpsc::OwnedPermit<T>, mpsc::error::SendError<()>>;

pub(super) struct Driver<O: ClientOwner> {
    dialer: Dialer,
    owner: O,
    label: Generation,
    pub(super) machine: DaemonClient,
    pub(super) traffic: ClientTraffic,
    pub(super) clock: Clock,
    alarm: Alarm,
    pub(super) queue: Queue,
    commands: Arc<ControlSlot>,
    dialing: Option<(Generation, BoxFuture<Dialed>)>,
    pub(super) link: Option<(Generation, Link)>,
    pub(super) waiters: Waiters,
    /// Queued messages on the link are not flushed yet.
    pub(super) unflushed: bool,
    /// The error after which the link can no longer send; not reported yet.
    pub(super) broken: Option<Closed>,
    /// Events of this turn, then those that did not fit into the owner's inbox.
    pub(super) events: Vec<Sequenced>,
    pub(super) reports: VecDeque<ClientEvent>,
    room: Option<BoxFuture<Permit<O::Item>>>,
    failure: Option<Failure>,
    /// Reused buffer.
    pub(super) text: Vec<u8>,
    pub(super) buffer: Vec<u8>,
}

impl<O: ClientOwner> Driver<O> {
    pub(super) fn new(
        dialer: Dialer,
        config: ClientConfig,
        label: Generation,
        owner: O,
        queue: Queue,
        commands: Arc<ControlSlot>,
    ) -> Self {
        Self {
            dialer,
            owner,
            label,
            machine: DaemonClient::new(config),
            traffic: ClientTraffic::default(),
            clock: Clock::start(),
            alarm: Alarm::default(),
            queue,
            commands,
            dialing: None,
            link: None,
            waiters: Waiters::default(),
            unflushed: false,
            broken: None,
            events: Vec::new(),
            reports: VecDeque::new(),
            room: None,
            failure: None,
            text: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            poll_fn(|cx| self.poll_turn(cx)).await;
            if self.is_over() && self.reports.is_empty() {
                return;
            }
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.machine.state(), State::Disposed)
    }

    /// One turn: handles everything pending, then flushes once. Pending if nothing happened.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let mut progress = self.poll_commands(cx, now);
        progress |= self.poll_dialing(cx, now);
        progress |= self.poll_reports(cx);
        if !self.is_deaf() {
            progress |= self.poll_link(cx, now);
        }
        progress |= self.poll_calls(cx, now);
        progress |= self.poll_flush(cx, now);
        progress |= self.poll_timers(cx, now);
        self.execute(now);
        if progress {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let Poll::Ready(commands) = self.commands.poll_take(cx) else {
            return false;
        };
        let Commands {
            client,
            ack,
            dispose,
        } = commands;
        if !self.traffic.is_draining() {
            for input in client.inputs() {
                self.machine.handle(now, input);
                self.execute(now);
            }
            if let Some(ack) = ack.filter(|ack| self.traffic.may_ack(&self.machine, ack)) {
                self.notify(name::SESSION_ACK, &Ack { seq: ack.last_seq });
            }
        }
        if let Some((drain, reason)) = dispose {
            self.traffic.dispose(now + drain, reason);
        }
        true
    }

    fn poll_dialing(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let Some((generation, future)) = &mut self.dialing else {
            return false;
        };
        let generation = *generation;
        let Poll::Ready(dialed) = future.as_mut().poll(cx) else {
            return false;
        };
        self.dialing = None;
        match dialed {
            Ok((link, accepted)) => {
                let epoch = accepted.session.as_ref().map(|one| one.epoch.clone());
                self.traffic
                    .opened(accepted.limits.max_in_flight as usize, epoch);
                let round_trip = link.round_trip();
                self.link = Some((generation, link));
                self.failure = None;
                // Changes at the daemon are possible only after this message, so it is sent first.
                self.notify(name::SESSION_READY, &Empty {});
                let heartbeat = Duration::from_millis(u64::from(accepted.heartbeat_ms));
                self.machine.handle(
                    now,
                    Input::TransportOpen {
                        generation,
                        heartbeat,
                        round_trip,
                    },
                );
                self.report_state(Some(Arc::new(accepted)));
            }
            Err(failure) => {
                let (reason, retry_after) = (failure.reason, failure.retry_after);
                self.failure = Some(failure);
                self.machine.handle(
                    now,
                    Input::TransportClosed {
                        generation,
                        reason,
                        retry_after,
                    },
                );
            }
        }
        self.execute(now);
        true
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        if self.is_over() {
            // Only the owner's inbox is awaited.
            return false;
        }
        let unanswered = self.waiters.len() + self.queue.held();
        if let Some(end) = self.traffic.drained(now, unanswered) {
            self.machine.handle(now, end);
            return true;
        }
        if let Some((generation, _)) = self.link {
            let is_waiting = self.waiters.has_callers();
            let waiting = Input::Waiting {
                generation,
                is_waiting,
            };
            self.machine.handle(now, waiting);
        }
        let next = [
            ClientTraffic::client_timeout(&self.machine, self.is_deaf()),
            self.waiters.deadline(),
            self.queue.deadline(),
            self.traffic.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min();
        if !self.alarm.poll(cx, &self.clock, next) {
            return false;
        }
        self.waiters.expire(now);
        let timeout = ClientTraffic::client_timeout(&self.machine, self.is_deaf());
        if timeout.is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        true
    }

    /// Whether the owner's inbox is full: the socket is not read, so that events do not pile up
    /// here.
    fn is_deaf(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The link ended with a reason.
    pub(super) fn ended(&mut self, now: MonotonicTime, generation: Generation, closed: Closed) {
        self.report_events();
        self.drop_link();
        self.failure = Some(closed.into());
        self.machine.handle(
            now,
            Input::TransportClosed {
                generation,
                reason: closed.reason(),
                retry_after: closed.retry_after(),
            },
        );
        self.execute(now);
    }

    /// Removes the link and its state; returns it for closing.
    fn drop_link(&mut self) -> Option<Link> {
        self.unflushed = false;
        self.broken = None;
        self.link.take().map(|(_, link)| link)
    }

    /// Executes the machine's effects and logs its transitions.
    fn execute(&mut self, now: MonotonicTime) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::OpenTransport { generation } => {
                    let dialer = self.dialer.clone();
                    let dial = async move { dialer.dial(Purpose::Session).await };
                    self.dialing = Some((generation, Box::pin(dial)));
                }
                Effect::CloseTransport { generation, reason } => {
                    // Dropping a dial cancels it; a link is closed by a separate task.
                    self.dialing.take_if(|(dialing, _)| *dialing == generation);
                    if matches!(self.link, Some((open, _)) if open == generation)
                        && let Some(link) = self.drop_link()
                    {
                        tokio::spawn(link.close(reason));
                    }
                }
                Effect::SendPing { .. } => self.ping(now),
                Effect::Suspect { is_suspected } => {
                    self.reports.push_back(ClientEvent::Suspected(is_suspected));
                }
                Effect::EndWaiters { reason } => self.waiters.end(reason),
            }
        }
        let mut changed = false;
        while let Some(transition) = self.machine.poll_transition() {
            let key = &self.dialer.client_session_key;
            observe::transition(&self.dialer.target.server_id, key, self.label, &transition);
            changed = true;
        }
        if changed && !matches!(self.machine.state(), State::Connected { .. }) {
            self.report_state(None);
        }
    }

    fn report_state(&mut self, accepted: Option<Arc<Accepted>>) {
        let state = *self.machine.state();
        let failure = self.failure.clone();
        self.reports.push_back(ClientEvent::State {
            state,
            accepted,
            failure,
        });
    }

    /// Sends reports to the owner as far as its inbox has capacity.
    fn poll_reports(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.reports.is_empty() {
            let room = self
                .room
                .get_or_insert_with(|| Box::pin(self.owner.inbox().clone().reserve_owned()));
            let Poll::Ready(permit) = Pin::new(room).poll(cx) else {
                break;
            };
            self.room = None;
            progress = true;
            match (permit, self.reports.pop_front()) {
                (Ok(permit), Some(report)) => {
                    permit.send(self.owner.item(report));
                }
                // The owner no longer exists.
                (Err(_), _) | (_, None) => {
                    self.reports.clear();
                    self.traffic
                        .dispose(self.clock.now(), Reason::ClosedLocally);
                }
            }
        }
        progress
    }
}
