//! One client session: its client sockets, each a lane, and the daemon's one data socket (RL-3).
//!
//! One task owns all of them and forwards bytes in the same turn, so there are no queues between
//! tasks. Bytes a receiver does not take wait in its socket's bounded queue. [`SessionLanes`]
//! decides which socket is read, blocked or closed.

mod client;
mod data;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_machines::{
    MonotonicTime,
    relay::session::{Effect, Ending, Input, SessionConfig, SessionLanes, State, Vacancy},
};
use bowline_protocol::{
    RouteKey, ServerId,
    identity::short_hash,
    relay::{CloseText, Lane, limits::MAX_DATA_MESSAGE},
};
use client::{ClientSocket, write_close, write_open};
use data::{Delivery, report};
use tracing::{debug, info};

use crate::{
    clock,
    messages::Messages,
    parts::Parts,
    registry::mailbox::{Mail, Mailbox},
    scratch::{self, Scratch},
    socket::Lost,
    timer::Timer,
    websocket::frame::Opcode,
};

/// Rounds over all sockets before the task yields: about 512 KiB for a session at full rate.
const ROUNDS: usize = 4;

/// The task of one session.
#[derive(Debug)]
pub(crate) struct SessionTask {
    parts: Arc<Parts>,
    server: ServerId,
    route: RouteKey,
    mailbox: Arc<Mailbox>,
    machine: SessionLanes,
    /// In the order of lane numbers.
    clients: Vec<ClientSocket>,
    data: Option<Box<Messages>>,
    /// A new data socket that is not in use yet.
    arrived: Option<Box<Messages>>,
    timer: Timer,
}

impl SessionTask {
    pub(crate) fn new(
        parts: Arc<Parts>,
        server: ServerId,
        route: RouteKey,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let config = SessionConfig {
            most_lanes: parts.limits.sockets_per_session as usize,
            data_wait: parts.limits.peer_wait,
        };
        Self {
            parts,
            server,
            route,
            mailbox,
            machine: SessionLanes::new(config, clock::now()),
            clients: Vec::new(),
            data: None,
            arrived: None,
            timer: Timer::default(),
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let now = clock::now();
        for _ in 0..ROUNDS {
            self.take_mail(cx, now);
            let mut moved = self.flush(cx, now);
            moved |= self.read_data(cx, now, scratch);
            moved |= self.read_clients(cx, now, scratch);
            if let Some(vacancy) = self.machine.vacancy() {
                self.retire(cx, now, vacancy);
            }
            if self.machine.is_over() {
                return Poll::Ready(());
            }
            if !moved && !self.expire(cx) {
                return Poll::Pending;
            }
        }
        // Deadlines hold under steady traffic too.
        self.expire(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_mail(&mut self, cx: &mut Context<'_>, now: MonotonicTime) {
        for mail in self.mailbox.take(cx.waker()) {
            match mail {
                Mail::Client(socket, member) => match self.machine.open() {
                    Ok(lane) => {
                        // Most sessions have one.
                        self.clients.reserve_exact(1);
                        self.clients.push(ClientSocket::new(lane, socket, member));
                    }
                    Err(text) => socket.close(text),
                },
                Mail::Data(socket) => {
                    let data = Messages::new(socket, Opcode::Binary, MAX_DATA_MESSAGE);
                    self.arrived = Some(Box::new(data));
                    self.machine.handle(now, Input::DataOpened);
                }
                Mail::End(text) => self.machine.handle(now, Input::End { text }),
            }
            self.execute(cx, now);
        }
    }

    /// Writes queued bytes. Returns whether any were sent.
    fn flush(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let mut moved = false;
        if let Some(data) = &mut self.data
            && !data.socket.is_clear()
        {
            let flushed = data.socket.flush(cx);
            moved |= flushed != Ok(false);
            self.report_data(now, flushed.map(|_| ()));
        }
        for client in &mut self.clients {
            if !client.messages.socket.is_clear() {
                let flushed = client.messages.socket.flush(cx);
                moved |= flushed != Ok(false);
                report(&mut self.machine, now, client, flushed.map(|_| ()));
            }
        }
        self.execute(cx, now);
        moved
    }

    /// Forwards the daemon's messages. Returns whether there were any.
    fn read_data(
        &mut self,
        cx: &mut Context<'_>,
        now: MonotonicTime,
        scratch: &mut Scratch,
    ) -> bool {
        if !self.machine.may_read_data(now) {
            return false;
        }
        let Some(data) = &mut self.data else {
            return false;
        };
        scratch.output.clear();
        let mut delivery = Delivery::new(
            now,
            &mut self.machine,
            &mut self.clients,
            &mut scratch.output,
        );
        let read = data.read(cx, &mut scratch.input, |cx, frame| {
            delivery.frame(cx, frame)
        });
        let (messages, bytes) = delivery.finish(cx);
        let Poll::Ready(read) = read else {
            return false;
        };
        self.parts.metrics.downward.messages.add(messages);
        self.parts.metrics.downward.bytes.add(bytes);
        match read {
            Ok(()) => self.report_data(now, Ok(())),
            Err(ending) => self.machine.handle(now, Input::DataEnded { ending }),
        }
        self.execute(cx, now);
        true
    }

    /// Forwards the clients' messages. Returns whether there were any.
    fn read_clients(
        &mut self,
        cx: &mut Context<'_>,
        now: MonotonicTime,
        scratch: &mut Scratch,
    ) -> bool {
        let mut moved = false;
        for step in 0..self.clients.len() {
            let Some((lane, room)) = self.machine.next_read(step) else {
                break;
            };
            let room = room.min(scratch.input.len());
            let (Some(client), Some(input)) =
                (find(&mut self.clients, lane), scratch.input.get_mut(..room))
            else {
                break;
            };
            scratch.output.clear();
            let Some(stats) = client.read(cx, input, &mut scratch.output) else {
                continue;
            };
            moved = true;
            self.parts.metrics.upward.messages.add(stats.messages);
            self.parts.metrics.upward.bytes.add(stats.bytes);
            if self.data.is_none() {
                client.held.extend_from_slice(&scratch.output);
            }
            self.machine.on_read(lane, client.held_bytes());
            self.send_to_data(cx, now, &scratch.output);
            if let Some(ending) = stats.ending {
                self.machine.handle(now, Input::LaneEnded { lane, ending });
            }
        }
        self.execute(cx, now);
        moved
    }

    /// Sends lane frames to the daemon, if its data socket is open.
    fn send_to_data(&mut self, cx: &mut Context<'_>, now: MonotonicTime, frames: &[u8]) {
        if let Some(data) = &mut self.data
            && !frames.is_empty()
        {
            let sent = data.socket.send(cx, frames);
            self.report_data(now, sent);
        }
    }

    /// Reports the result of a write to the data socket to the machine.
    fn report_data(&mut self, now: MonotonicTime, sent: Result<(), Lost>) {
        match sent {
            Ok(()) => {
                if let Some(data) = &self.data {
                    let (queued, clear) = (data.socket.queued(), data.socket.is_clear());
                    self.machine.on_data_write(now, queued, clear);
                }
            }
            Err(Lost) => {
                let ending = Ending::Lost;
                self.machine.handle(now, Input::DataEnded { ending });
            }
        }
    }

    /// Executes the machine's effects.
    fn execute(&mut self, cx: &mut Context<'_>, now: MonotonicTime) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::UseData => {
                    self.data = self.arrived.take();
                    self.parts.metrics.data_sockets.one();
                    debug!(server_id = %self.server, session = %self.hash(), lanes = self.machine.lanes(), "data socket");
                }
                Effect::RefuseData { text } => {
                    if let Some(data) = self.arrived.take() {
                        data.socket.close(text);
                    }
                }
                Effect::CloseData { ending } => {
                    self.log_end("data socket closed", ending, None);
                    if let Some(data) = self.data.take() {
                        data.socket.end(ending);
                    }
                }
                Effect::Announce { lane } => {
                    let mut frames = Vec::new();
                    write_open(&mut frames, lane);
                    if let Some(client) = find(&mut self.clients, lane) {
                        frames.append(&mut client.held);
                        client.held = Vec::new();
                    }
                    self.send_to_data(cx, now, &frames);
                }
                Effect::CloseLane { lane, ending, tell } => {
                    self.log_end("lane closed", ending, Some(lane));
                    if let Some(code) = tell {
                        let mut frame = Vec::new();
                        write_close(&mut frame, lane, code);
                        self.send_to_data(cx, now, &frame);
                    }
                    if let Ok(index) = self.clients.binary_search_by_key(&lane, |c| c.lane) {
                        self.clients.remove(index).messages.socket.end(ending);
                    }
                }
            }
        }
    }

    /// Counts and logs sockets that the relay closes by its own decision.
    fn log_end(&self, what: &str, ending: Ending, lane: Option<Lane>) {
        if let Ending::ByRelay(CloseText { reason, .. }) = ending {
            self.parts.metrics.closed(reason);
            let lane = lane.map(Lane::number);
            debug!(server_id = %self.server, session = %self.hash(), lane, %reason, "{what}");
        }
    }

    /// Leaves the registry, unless the mailbox is not empty.
    fn retire(&mut self, cx: &mut Context<'_>, now: MonotonicTime, vacancy: Vacancy) {
        let registry = &self.parts.registry;
        let retired = registry.retire(&self.server, &self.route, &self.mailbox, vacancy.afresh);
        if retired {
            let reason = match self.machine.state() {
                State::Ending { text } => Some(text.reason.as_str()),
                _ => None,
            };
            info!(server_id = %self.server, session = %self.hash(), reason, "session closed");
        }
        self.machine
            .handle(now, if retired { Input::Retired } else { Input::Kept });
        self.execute(cx, now);
    }

    /// Runs the machine's timeout if it is due and returns whether it was. If not, the task is
    /// woken when it is.
    fn expire(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.machine.poll_timeout() else {
            self.timer.rest();
            return false;
        };
        let due = self.timer.is_past(cx, clock::instant(deadline));
        if due {
            let now = clock::now();
            self.machine.handle_timeout(now);
            self.execute(cx, now);
        }
        due
    }

    /// The session's name in logs (OB).
    fn hash(&self) -> String {
        short_hash(self.route.as_str())
    }
}

impl Future for SessionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        scratch::with(|scratch| session.run(cx, scratch))
    }
}

/// The client socket of a lane.
fn find(clients: &mut [ClientSocket], lane: Lane) -> Option<&mut ClientSocket> {
    let index = clients.binary_search_by_key(&lane, |client| client.lane);
    index.ok().and_then(|index| clients.get_mut(index))
}
