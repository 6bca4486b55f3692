//! The driver of a client: gathers what happened, feeds the machine, does what it says.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::{
    Generation, Moment,
    client::{ClientConfig, DaemonClient as Machine, Effect, Input, State},
};
use bowline_protocol::{
    Epoch, Purpose,
    handshake::Accepted,
    methods::{Ack, Empty, name},
    session_event::Sequenced,
};
use tokio::sync::mpsc;

use super::{
    Call, ClientEvent, ClientOwner, Dialer,
    orders::{Desk, Orders},
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
    pub(super) machine: Machine,
    clock: Clock,
    alarm: Alarm,
    pub(super) calls: mpsc::Receiver<Call>,
    orders: Arc<Desk>,
    dialing: Option<(Generation, BoxFuture<Dialed>)>,
    pub(super) link: Option<(Generation, Link)>,
    pub(super) max_in_flight: usize,
    /// The numbering of this connection's events.
    epoch: Option<Epoch>,
    pub(super) waiters: Waiters,
    /// Something is queued on the link that was not flushed.
    pub(super) unflushed: bool,
    /// Why the link can send no more, before anybody was told.
    pub(super) broken: Option<Closed>,
    /// Set once disposal was asked for: no more requests; the end at the latest then.
    pub(super) drain_until: Option<Moment>,
    /// Events of this turn, then what the owner's inbox had no room for.
    pub(super) events: Vec<Sequenced>,
    pub(super) reports: VecDeque<ClientEvent>,
    room: Option<BoxFuture<Permit<O::Item>>>,
    failure: Option<Failure>,
    /// Working space, reused.
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
        orders: Arc<Desk>,
    ) -> Self {
        Self {
            dialer,
            owner,
            label,
            machine: Machine::new(config),
            clock: Clock::start(),
            alarm: Alarm::default(),
            calls,
            orders,
            dialing: None,
            link: None,
            max_in_flight: 0,
            epoch: None,
            waiters: Waiters::default(),
            unflushed: false,
            broken: None,
            drain_until: None,
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

    /// One turn: everything that is waiting, then one flush. Pending when nothing happened.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let mut progress = self.poll_orders(cx, now);
        progress |= self.poll_dialing(cx, now);
        progress |= self.poll_reports(cx);
        // What the owner has no room for must not pile up here: the socket waits instead.
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

    fn poll_orders(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let Poll::Ready(orders) = self.orders.poll_take(cx) else {
            return false;
        };
        let Orders {
            background,
            promoted,
            connect,
            check_liveness,
            network_changed,
            ack,
            dispose,
        } = orders;
        // Once it is to go, it only matters how soon.
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
            // Before what may begin a dial: that is on the new network.
            let network = network_changed.then_some(Input::NetworkChanged);
            let inputs = [network, background, promoted, connect, check];
            for input in inputs.into_iter().flatten() {
                self.machine.handle(now, input);
                self.execute(now);
            }
            if let Some(ack) = ack.filter(|ack| self.epoch.as_ref() == Some(&ack.epoch)) {
                self.notify(name::SESSION_ACK, &Ack { seq: ack.last_seq });
            }
        }
        if let Some(drain) = dispose {
            self.drain_by(now + drain);
        }
        true
    }

    fn drain_by(&mut self, moment: Moment) {
        let sooner = self.drain_until.map_or(moment, |at| at.min(moment));
        self.drain_until = Some(sooner);
    }

    fn poll_dialing(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
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
                self.link = Some((generation, link));
                self.failure = None;
                // Only with this does anything change on the daemon, so it goes out before all else.
                self.notify(name::SESSION_READY, &Empty {});
                let heartbeat = Duration::from_millis(u64::from(accepted.heartbeat_ms));
                self.machine.handle(
                    now,
                    Input::TransportOpen {
                        generation,
                        heartbeat,
                    },
                );
                self.report_state(Some(Arc::new(accepted)));
            }
            Err(failure) => {
                let retry_after = failure.retry_after_ms.map(Duration::from_millis);
                let reason = failure.reason;
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

    fn poll_timers(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        if self.is_over() {
            // Only the owner's inbox is waited for.
            return false;
        }
        let drained = self
            .drain_until
            .is_some_and(|deadline| deadline <= now || self.waiters.is_empty());
        if drained {
            self.machine.handle(now, Input::Dispose);
            return true;
        }
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

    /// When the machine wants to be called. While the owner has no room nothing is read, so that silence is no
    /// sign that the peer is gone; what it said meanwhile is read first.
    fn machine_deadline(&self) -> Option<Moment> {
        let is_deaf =
            !self.reports.is_empty() && matches!(self.machine.state(), State::Connected { .. });
        self.machine.poll_timeout().filter(|_| !is_deaf)
    }

    /// The link ended, for that reason.
    pub(super) fn ended(&mut self, now: Moment, generation: Generation, closed: Closed) {
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

    /// Forgets the link and what belongs to it; hands it out to be closed.
    fn drop_link(&mut self) -> Option<Link> {
        self.unflushed = false;
        self.broken = None;
        self.epoch = None;
        self.link.take().map(|(_, link)| link)
    }

    /// Does what the machine wants and logs what it did.
    fn execute(&mut self, now: Moment) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::OpenTransport { generation } => {
                    let dialer = self.dialer.clone();
                    let dial = async move { dialer.dial(Purpose::Session).await };
                    self.dialing = Some((generation, Box::pin(dial)));
                }
                Effect::CloseTransport { generation, reason } => {
                    // Dropping a dial ends it; a link is closed politely by a task of its own.
                    self.dialing.take_if(|(dialing, _)| *dialing == generation);
                    if matches!(self.link, Some((open, _)) if open == generation)
                        && let Some(link) = self.drop_link()
                    {
                        tokio::spawn(link.close(reason));
                    }
                }
                Effect::SendPing { .. } => self.ping(now),
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

    /// Hands reports to the owner as far as its inbox has room.
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
                // Nobody owns this client any more.
                (Err(_), _) | (_, None) => {
                    self.reports.clear();
                    self.drain_by(self.clock.now());
                }
            }
        }
        progress
    }
}
