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
    Purpose, Reason,
    handshake::Accepted,
    methods::{Ack, Empty, name},
    rpc::{self, Incoming, Text},
    session_event::Sequenced,
};
use tokio::sync::mpsc;

use super::{
    Call, ClientEvent, ClientOwner, Control, Dialer,
    waiters::{Waiter, Waiters},
};
use crate::{
    clock::{Alarm, Clock},
    error::{CallError, Failure},
    observe,
    settings::{EVENTS_PER_TURN, MESSAGES_PER_TURN},
    transport::{BoxFuture, Closed, link::Link},
};

type Dialed = Result<(Link, Accepted), Failure>;
type Permit<T> = Result<mpsc::OwnedPermit<T>, mpsc::error::SendError<()>>;

pub(super) struct Driver<O: ClientOwner> {
    dialer: Dialer,
    owner: O,
    label: Generation,
    machine: Machine,
    clock: Clock,
    alarm: Alarm,
    calls: mpsc::Receiver<Call>,
    control: mpsc::Receiver<Control>,
    dialing: Option<(Generation, BoxFuture<Dialed>)>,
    link: Option<(Generation, Link)>,
    max_in_flight: usize,
    waiters: Waiters,
    /// Something is queued on the link that was not flushed.
    unflushed: bool,
    /// Set once disposal was asked for: no more requests; the end at the latest then.
    drain_until: Option<Moment>,
    /// Events of this turn, then what the owner's inbox had no room for.
    events: Vec<Sequenced>,
    reports: VecDeque<ClientEvent>,
    room: Option<BoxFuture<Permit<O::Item>>>,
    failure: Option<Failure>,
    /// Working space, reused.
    text: Vec<u8>,
    buffer: Vec<u8>,
}

impl<O: ClientOwner> Driver<O> {
    pub(super) fn new(
        dialer: Dialer,
        config: ClientConfig,
        label: Generation,
        owner: O,
        calls: mpsc::Receiver<Call>,
        control: mpsc::Receiver<Control>,
    ) -> Self {
        Self {
            dialer,
            owner,
            label,
            machine: Machine::new(config),
            clock: Clock::start(),
            alarm: Alarm::default(),
            calls,
            control,
            dialing: None,
            link: None,
            max_in_flight: 0,
            waiters: Waiters::default(),
            unflushed: false,
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
            if matches!(self.machine.state(), State::Disposed) && self.reports.is_empty() {
                return;
            }
        }
    }

    /// One turn: everything that is waiting, then one flush. Pending when nothing happened.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let mut progress = self.poll_control(cx, now);
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

    fn poll_control(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let mut progress = false;
        // Once disposed of there is nobody to listen to.
        while self.drain_until.is_none()
            && let Poll::Ready(control) = self.control.poll_recv(cx)
        {
            progress = true;
            match control {
                Some(Control::Connect) => self.machine.handle(now, Input::ConnectRequest),
                Some(Control::CheckLiveness) => self.machine.handle(now, Input::CheckLiveness),
                Some(Control::Promoted) => self.machine.handle(now, Input::Promoted),
                Some(Control::Background(true)) => self.machine.handle(now, Input::Background),
                Some(Control::Background(false)) => self.machine.handle(now, Input::Foreground),
                Some(Control::Ack(seq)) => self.notify(name::SESSION_ACK, &Ack { seq }),
                Some(Control::Dispose { drain }) => self.drain_until = Some(now + drain),
                None => self.drain_until = Some(now),
            }
            self.execute(now);
        }
        progress
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

    fn poll_link(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let mut progress = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..MESSAGES_PER_TURN {
            let Some((generation, link)) = &mut self.link else {
                break;
            };
            let generation = *generation;
            let Poll::Ready(received) = link.poll_recv(cx, &mut buffer) else {
                break;
            };
            progress = true;
            let outcome = match received {
                Ok(text) => {
                    self.machine.handle(now, Input::Received { generation });
                    self.receive(text)
                }
                Err(closed) => Err(closed),
            };
            if let Err(closed) = outcome {
                self.ended(now, generation, closed);
                break;
            }
            if self.events.len() >= EVENTS_PER_TURN {
                break;
            }
        }
        self.buffer = buffer;
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.reports.push_back(ClientEvent::Events(events));
        }
        progress
    }

    /// Takes one text apart.
    fn receive(&mut self, text: &[u8]) -> Result<(), Closed> {
        match rpc::parse(text).map_err(|_| Closed::from(Reason::BadRequest))? {
            Text::Single(incoming) => self.incoming(incoming),
            Text::Batch(batch) => batch.into_iter().try_for_each(|one| self.incoming(one)),
        }
    }

    fn incoming(&mut self, incoming: Incoming<'_>) -> Result<(), Closed> {
        match incoming {
            Incoming::Response(response) => {
                if let Some(id) = response.id.as_u64() {
                    let outcome = response
                        .outcome
                        .map(ToOwned::to_owned)
                        .map_err(CallError::Rpc);
                    self.waiters.answer(id, outcome);
                }
            }
            Incoming::Notification(notification) if notification.method == name::SESSION_EVENT => {
                let params = notification.params.map_or("null", |params| params.get());
                match serde_json::from_str::<Sequenced>(params) {
                    Ok(event) => self.events.push(event),
                    Err(error) => {
                        tracing::warn!(%error, "a malformed event");
                        return Err(Reason::BadRequest.into());
                    }
                }
            }
            // A later daemon may say more; this version has no use for it.
            Incoming::Notification(_) | Incoming::Request(_) | Incoming::Invalid { .. } => {}
        }
        Ok(())
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let mut progress = false;
        loop {
            let draining = self.drain_until.is_some();
            if draining {
                self.calls.close();
            }
            if let Some((_, link)) = &mut self.link {
                // Back-pressure: callers wait while too much is in flight or unwritten.
                if self.waiters.len() >= self.max_in_flight || link.poll_ready(cx).is_pending() {
                    return progress;
                }
            } else if self.can_still_connect() {
                return progress;
            }
            let Poll::Ready(Some(call)) = self.calls.poll_recv(cx) else {
                return progress;
            };
            progress = true;
            self.send(now, call);
        }
    }

    /// Whether a call that waits may yet be sent. Otherwise it is answered at once (INV-12).
    fn can_still_connect(&self) -> bool {
        self.drain_until.is_none() && matches!(self.machine.state(), State::Connecting { .. })
    }

    fn send(&mut self, now: Moment, call: Call) {
        let Some((generation, link)) = &mut self.link else {
            let _ = call.reply.send(Err(CallError::NotConnected));
            return;
        };
        let generation = *generation;
        if call.params.get().len() + call.method.len() + 64 > link.max_message() {
            let error =
                CallError::Malformed("the request is over the daemon's message limit".into());
            let _ = call.reply.send(Err(error));
            return;
        }
        let id = self.waiters.add(now, Waiter::Caller(call.reply));
        self.text.clear();
        let queued = rpc::write_request(&mut self.text, id, &call.method, &call.params)
            .map_err(|_| Closed::from(Reason::BadRequest))
            .and_then(|()| link.queue(&self.text));
        self.unflushed = true;
        if let Err(closed) = queued {
            self.ended(now, generation, closed);
        }
    }

    fn notify<P: serde::Serialize>(&mut self, method: &str, params: &P) {
        let Some((_, link)) = &mut self.link else {
            return;
        };
        self.text.clear();
        // A failure to queue shows itself when the link is read next.
        if rpc::write_notification(&mut self.text, method, params).is_ok() {
            let _ = link.queue(&self.text);
            self.unflushed = true;
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let Some((generation, link)) = &mut self.link else {
            return false;
        };
        if !self.unflushed {
            return false;
        }
        let generation = *generation;
        match link.poll_flush(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                false
            }
            Poll::Ready(Err(closed)) => {
                self.ended(now, generation, closed);
                true
            }
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let drained = self
            .drain_until
            .is_some_and(|deadline| deadline <= now || self.waiters.is_empty());
        if drained && !matches!(self.machine.state(), State::Disposed) {
            self.machine.handle(now, Input::Dispose);
            return true;
        }
        let next = [
            self.machine.poll_timeout(),
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
        if self
            .machine
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.machine.handle_timeout(now);
        }
        true
    }

    /// The link ended, for that reason.
    fn ended(&mut self, now: Moment, generation: Generation, closed: Closed) {
        self.link = None;
        self.unflushed = false;
        self.failure = Some(closed.reason.into());
        let Closed {
            reason,
            retry_after,
        } = closed;
        self.machine.handle(
            now,
            Input::TransportClosed {
                generation,
                reason,
                retry_after,
            },
        );
        self.execute(now);
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
                    if let Some((_, link)) = self.link.take_if(|(open, _)| *open == generation) {
                        self.unflushed = false;
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

    fn ping(&mut self, now: Moment) {
        let id = self.waiters.add(now, Waiter::Ping);
        if let Some((_, link)) = &mut self.link {
            self.text.clear();
            if rpc::write_request(&mut self.text, id, name::SYSTEM_PING, &Empty {}).is_ok() {
                let _ = link.queue(&self.text);
                self.unflushed = true;
            }
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
                    self.drain_until.get_or_insert(self.clock.now());
                }
            }
        }
        progress
    }
}
