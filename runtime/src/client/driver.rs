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
};
use bowline_protocol::{
    Epoch, Purpose, Reason,
    handshake::Accepted,
    methods::{Ack, Empty, name},
    session_event::Sequenced,
};
use tokio::sync::mpsc;

use super::{
    Call, ClientEvent, ClientOwner, Dialer,
    commands::{Commands, ControlSlot},
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
    clock: Clock,
    alarm: Alarm,
    pub(super) calls: mpsc::Receiver<Call>,
    commands: Arc<ControlSlot>,
    dialing: Option<(Generation, BoxFuture<Dialed>)>,
    pub(super) link: Option<(Generation, Link)>,
    pub(super) max_in_flight: usize,
    /// The numbering of this connection's events.
    epoch: Option<Epoch>,
    pub(super) waiters: Waiters,
    /// Whether callers wait on this connection, as last reported to the machine.
    told_waiting: bool,
    /// Queued messages on the link are not flushed yet.
    pub(super) unflushed: bool,
    /// The error after which the link can no longer send; not reported yet.
    pub(super) broken: Option<Closed>,
    /// Set on disposal: accepts no more requests, and ends at this time at the latest.
    pub(super) drain_until: Option<MonotonicTime>,
    /// Why callers who still wait then fail.
    end_reason: Reason,
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
        calls: mpsc::Receiver<Call>,
        commands: Arc<ControlSlot>,
    ) -> Self {
        Self {
            dialer,
            owner,
            label,
            machine: DaemonClient::new(config),
            clock: Clock::start(),
            alarm: Alarm::default(),
            calls,
            commands,
            dialing: None,
            link: None,
            max_in_flight: 0,
            epoch: None,
            waiters: Waiters::default(),
            told_waiting: false,
            unflushed: false,
            broken: None,
            drain_until: None,
            end_reason: Reason::ClosedLocally,
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
        // Events must not pile up here while the owner's inbox is full: the socket is not read
        // instead.
        if self.reports.is_empty() {
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
            background,
            promoted,
            connect,
            check_liveness,
            network_changed,
            alternative_known,
            ack,
            dispose,
        } = commands;
        // After disposal the machine needs no more inputs.
        if self.drain_until.is_none() {
            let background = background.map(|is_background| {
                if is_background {
                    Input::Background
                } else {
                    Input::Foreground
                }
            });
            let promoted = promoted.then_some(Input::Promoted);
            let connect = connect.then_some(Input::ConnectRequest);
            let check = check_liveness.then_some(Input::CheckLiveness);
            // Before any input that may start a dial, so that the dial uses the new network.
            let network = network_changed.then_some(Input::NetworkChanged);
            let alternative = alternative_known.map(Input::AlternativeKnown);
            let inputs = [network, background, promoted, connect, check, alternative];
            for input in inputs.into_iter().flatten() {
                self.machine.handle(now, input);
                self.execute(now);
            }
            if let Some(ack) = ack.filter(|ack| self.epoch.as_ref() == Some(&ack.epoch)) {
                self.notify(name::SESSION_ACK, &Ack { seq: ack.last_seq });
            }
        }
        if let Some((drain, reason)) = dispose {
            self.drain_by(now + drain, reason);
        }
        true
    }

    fn drain_by(&mut self, moment: MonotonicTime, reason: Reason) {
        if self.drain_until.is_none_or(|earlier| moment < earlier) {
            self.drain_until = Some(moment);
            self.end_reason = reason;
        }
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
                self.max_in_flight = accepted.limits.max_in_flight.max(1) as usize;
                self.epoch = accepted.session.as_ref().map(|one| one.epoch.clone());
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
        let drained = self
            .drain_until
            .is_some_and(|deadline| deadline <= now || self.waiters.is_empty());
        if drained {
            self.machine.handle(now, Input::Dispose(self.end_reason));
            return true;
        }
        self.tell_waiting(now);
        let next = [
            self.machine_deadline(),
            self.waiters.deadline(),
            self.drain_until,
        ]
        .into_iter()
        .flatten()
        .min();
        if !self.alarm.poll(cx, &self.clock, next) {
            return false;
        }
        self.waiters.expire(now);
        if self.machine_deadline().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        true
    }

    /// Reports to the machine when the first caller starts waiting and when the last one stops.
    fn tell_waiting(&mut self, now: MonotonicTime) {
        let is_waiting = self.waiters.has_callers();
        if let Some((generation, _)) = &self.link
            && is_waiting != self.told_waiting
        {
            self.told_waiting = is_waiting;
            let generation = *generation;
            self.machine.handle(
                now,
                Input::Waiting {
                    generation,
                    is_waiting,
                },
            );
        }
    }

    /// The machine's deadline. While the owner's inbox is full nothing is read, so silence does not
    /// indicate a dead peer; pending data is read first.
    fn machine_deadline(&self) -> Option<MonotonicTime> {
        let is_deaf =
            !self.reports.is_empty() && matches!(self.machine.state(), State::Connected { .. });
        self.machine.poll_timeout().filter(|_| !is_deaf)
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
        self.epoch = None;
        self.told_waiting = false;
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
                    self.drain_by(self.clock.now(), Reason::ClosedLocally);
                }
            }
        }
        progress
    }
}
