//! The driver of an open data socket: it splits it into lanes and serves each as a connection of
//! its own (RL-3, INV-4).
//!
//! One task owns the socket and polls the connections of all its lanes. One round reads the pending
//! messages, polls the connections, and writes their output with one flush. [`DataLanes`] decides
//! which lanes are served, when the socket is read and when it is dead.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::{
    MonotonicTime, Path,
    relay::data::{Admission, DataLanes, Effect, Ended, Input},
};
use bowline_net::Count;
use bowline_program::watch::caught;
use bowline_protocol::{
    Reason,
    relay::{CloseText, Lane, LaneFrame},
};
use bytes::Bytes;
use futures_util::{Sink, Stream, stream::FuturesUnordered};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tracing::{debug, info};

use super::{
    RelayContext,
    control::say_goodbye,
    dial::Socket,
    lane::{LaneEnd, lane},
    registration::monotonic,
};
use crate::{connection::serve, outbound::ConnectionHandle};

/// Messages read in one round before connections are polled.
const ROUND: usize = 128;
/// Rounds before the task yields.
const ROUNDS: usize = 16;
/// Longest wait for the connections to close after their socket.
const PARTING: Duration = Duration::from_secs(5);

/// A lane and its connection.
struct Served {
    end: LaneEnd,
    handle: ConnectionHandle,
}

type Serving = Pin<Box<dyn Future<Output = Lane> + Send>>;

/// An open data socket and its lanes.
pub(super) struct LaneServer {
    socket: Box<Socket>,
    /// Bytes of the socket.
    count: Count,
    context: Arc<RelayContext>,
    machine: DataLanes,
    lanes: Vec<Served>,
    serving: FuturesUnordered<Serving>,
    zero: Instant,
    timer: Pin<Box<Sleep>>,
}

impl LaneServer {
    pub(super) fn new(
        socket: Socket,
        count: Count,
        context: Arc<RelayContext>,
        heartbeat: Duration,
        is_stranger: bool,
    ) -> Self {
        let zero = Instant::now();
        let machine = DataLanes::new(monotonic(zero), heartbeat);
        Self {
            socket: Box::new(socket),
            count,
            context,
            machine: if is_stranger {
                machine.of_stranger()
            } else {
                machine
            },
            lanes: Vec::new(),
            serving: FuturesUnordered::new(),
            zero,
            timer: Box::pin(sleep_until(zero)),
        }
    }

    /// Runs rounds while there is work. Ready once the machine has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.rounds(cx);
        self.machine.ended().map_or(Poll::Pending, Poll::Ready)
    }

    fn rounds(&mut self, cx: &mut Context<'_>) {
        for _ in 0..ROUNDS {
            let now = self.now();
            let read = self.read(cx, now);
            if self.machine.ended().is_some() {
                return;
            }
            self.serve(cx);
            let written = self.write(cx, now);
            // A lane was full when reading stopped and now has room: no wake-up follows.
            let freed = self.machine.is_held_up() && self.may_read(now);
            if !read && !written && !freed {
                return self.expire(cx);
            }
        }
        cx.waker().wake_by_ref();
        self.expire(cx);
    }

    /// Reads up to [`ROUND`] messages. Returns whether there were any.
    fn read(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let mut moved = false;
        for _ in 0..ROUND {
            if !self.may_read(now) {
                break;
            }
            let Poll::Ready(message) = Pin::new(&mut *self.socket).poll_next(cx) else {
                break;
            };
            moved = true;
            match message {
                Some(Ok(Message::Binary(frame))) => self.take(now, frame),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.as_ref();
                    let code = frame.map(|frame| frame.code.into());
                    let retry_after = frame.and_then(|frame| CloseText::retry_after(&frame.reason));
                    self.machine
                        .handle(now, Input::Closed { code, retry_after });
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    self.machine.handle(now, Input::Violated);
                }
                Some(Err(_)) | None => self.machine.handle(now, Input::Broken),
            }
        }
        if moved {
            self.machine.on_received(now);
        }
        moved
    }

    fn may_read(&mut self, now: MonotonicTime) -> bool {
        let full = self.lanes.iter().any(|lane| lane.end.is_full());
        self.machine.may_read(now, full)
    }

    fn now(&self) -> MonotonicTime {
        monotonic(self.zero)
    }

    fn take(&mut self, now: MonotonicTime, frame: Bytes) {
        match LaneFrame::decode(frame) {
            Ok(LaneFrame::Open { lane }) => self.open(lane),
            // Frames of closed lanes are dropped.
            Ok(LaneFrame::Data { lane, payload }) => {
                if let Some(served) = self.find(lane) {
                    served.end.deliver(&payload);
                }
            }
            Ok(LaneFrame::Close { lane, .. }) => {
                if let Some(served) = self.find(lane) {
                    served.end.end();
                }
            }
            Err(error) => {
                debug!(%error, "the relay violated the protocol");
                self.machine.handle(now, Input::Violated);
            }
        }
    }

    fn find(&self, lane: Lane) -> Option<&Served> {
        self.lanes.iter().find(|served| served.end.lane() == lane)
    }

    /// Serves a new client socket as a connection, or refuses it.
    fn open(&mut self, number: Lane) {
        let RelayContext {
            acceptor,
            places,
            entry,
            ..
        } = &*self.context;
        let permit = Arc::clone(places).try_acquire_owned().ok();
        let admission = self.machine.open(number, permit.is_some());
        let Some(permit) = permit.filter(|_| admission == Admission::Served) else {
            acceptor.turned_away(Path::Relay);
            return;
        };
        let listed = acceptor.list(Path::Relay, None);
        let handle = listed.entry().handle().clone();
        let (end, socket) = lane(number);
        let acceptor = Arc::clone(acceptor);
        let accepted_at = acceptor.clock.now();
        let connection = serve(acceptor, socket, listed, accepted_at);
        self.serving.push(Box::pin(async move {
            // A panic in a service ends one connection, as with separate tasks.
            let _ = caught(connection).await;
            drop(permit);
            number
        }));
        entry.lane_opened();
        self.lanes.push(Served { end, handle });
    }

    /// Polls the woken connections.
    fn serve(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(over)) = Pin::new(&mut self.serving).poll_next(cx) {
            let now = self.now();
            self.machine
                .handle(now, Input::ConnectionOver { lane: over });
        }
    }

    /// Writes the connections' frames, one of each lane in turn. Returns whether there were any.
    fn write(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let mut moved = false;
        while self.machine.has_refusals() {
            if !self.room(cx, now) {
                return moved;
            }
            if let Some((lane, code)) = self.machine.next_refusal() {
                self.put(now, LaneFrame::Close { lane, code }.encode());
                moved = true;
            }
        }
        let mut quiet = 0;
        while quiet < self.machine.lanes() {
            if !self.room(cx, now) {
                return moved;
            }
            let lane = self.machine.next_lane().and_then(|lane| self.find(lane));
            match lane.and_then(|lane| lane.end.next_frame()) {
                Some(frame) => {
                    quiet = 0;
                    moved = true;
                    self.put(now, frame);
                }
                None => quiet += 1,
            }
        }
        if self.machine.has_over() {
            self.forget_over();
        }
        match Pin::new(&mut *self.socket).poll_flush(cx) {
            Poll::Ready(Err(_)) => self.machine.handle(now, Input::Broken),
            flushed => {
                let sent = self.count.sent();
                self.machine.on_write(now, sent, flushed.is_ready());
            }
        }
        moved
    }

    /// Forgets the lanes whose connections are over and whose frames are written.
    fn forget_over(&mut self) {
        let (entry, machine) = (&self.context.entry, &mut self.machine);
        self.lanes.retain(|lane| {
            let gone = machine.forget(lane.end.lane(), lane.end.has_frames());
            if gone {
                entry.lane_closed();
            }
            !gone
        });
    }

    fn room(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        match Pin::new(&mut *self.socket).poll_ready(cx) {
            Poll::Ready(Ok(())) => return true,
            Poll::Ready(Err(_)) => self.machine.handle(now, Input::Broken),
            Poll::Pending => self.machine.on_write(now, self.count.sent(), false),
        }
        false
    }

    fn put(&mut self, now: MonotonicTime, frame: Bytes) {
        let sent = Pin::new(&mut *self.socket).start_send(Message::Binary(frame));
        if sent.is_err() {
            self.machine.handle(now, Input::Broken);
        }
    }

    pub(super) const fn is_stopping(&self) -> bool {
        self.machine.is_stopping()
    }

    /// Feeds an input of the socket's task.
    pub(super) fn feed(&mut self, input: Input) {
        self.machine.handle(self.now(), input);
        self.execute();
    }

    fn ping(&mut self) {
        // A full buffer needs no ping: the relay's response to its contents proves liveness.
        let _ = Pin::new(&mut *self.socket).start_send(Message::Ping(Bytes::new()));
    }

    /// Executes the machine's effects. Returns whether there were any.
    fn execute(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self.machine.poll_effect() {
            any = true;
            match effect {
                Effect::Ping => self.ping(),
                Effect::GiveUpFullLanes => {
                    for lane in self.lanes.iter().filter(|lane| lane.end.is_full()) {
                        lane.end.give_up();
                        lane.handle.outbound.close(Reason::SlowConsumer);
                    }
                }
            }
        }
        any
    }

    /// Runs the machine's timeout if it is due; otherwise the task is woken when it is.
    fn expire(&mut self, cx: &mut Context<'_>) {
        while self.machine.ended().is_none() {
            let due = self.zero + Duration::from_millis(self.machine.poll_timeout().as_millis());
            // A timer that fires early is set again; that is cheaper than resetting it per message.
            if self.timer.is_elapsed() || self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.machine.handle_timeout(self.now());
            if self.execute() {
                // There is a ping to write, or room to read again.
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Closes every lane after the socket has ended, in bounded time.
    pub(super) async fn close(mut self, ended: Ended) {
        for lane in &self.lanes {
            lane.end.end();
        }
        let serving = poll_fn(|cx| {
            self.serve(cx);
            if self.serving.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        if timeout(PARTING, serving).await.is_err() {
            info!("connections did not end with their socket; they are dropped");
        }
        for _ in &self.lanes {
            self.context.entry.lane_closed();
        }
        self.lanes.clear();
        if let Some(reason) = ended.goodbye() {
            say_goodbye(self.socket, reason).await;
        }
    }
}
