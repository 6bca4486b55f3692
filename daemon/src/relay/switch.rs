//! An open data socket as its lanes see it: what splits it and serves each lane as a connection of its own (RL-3, INV-4).
//!
//! One task owns the socket and polls the connections of all its lanes. One turn reads what has arrived, lets the
//! connections work, and writes what they say with one flush. A lane that does not take what came for it stops the
//! reading, and is closed before its neighbours have waited for a second; without neighbours it may hold its client back
//! for longer. The relay keeps the same rules from its side.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::{
    Path,
    relay::{Heartbeat, Pulse},
};
use bowline_protocol::{
    Reason,
    relay::{
        Lane, LaneFrame,
        limits::{LANE_STALL, SOCKET_STALL},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tracing::{debug, info};

use super::{
    board::RelayEntry,
    control::{closed, say_goodbye},
    dial::Socket,
    lane::{LaneEnd, lane},
    link::moment,
    peer::Ended,
};
use crate::{
    connection::{Environment, list, serve},
    outbound::ConnectionHandle,
};

/// Lanes of one data socket; one more is closed with `session_capacity`. Well over what relays allow by default, and over
/// the connections that a session may have.
const MAX_LANES: usize = 64;
/// Messages read in one turn before connections work and write.
const TURN: usize = 128;
/// Turns before other tasks have theirs.
const TURNS: usize = 16;
/// How late a timer may be; see [`Heartbeat`].
const CLOCK_JUMP: Duration = Duration::from_secs(3);
/// How long connections may take to end after their socket did.
const PARTING: Duration = Duration::from_secs(5);

const LOST: Ended = Ended::Lost {
    reason: Reason::ConnectionLost,
    retry_after: None,
};

/// A lane and its connection.
struct Served {
    end: LaneEnd,
    handle: ConnectionHandle,
    /// The connection is over; frames may still wait.
    over: bool,
}

type Serving = Pin<Box<dyn Future<Output = Lane> + Send>>;

/// An open data socket and its lanes.
pub(super) struct Switch {
    socket: Box<Socket>,
    environment: Arc<Environment>,
    places: Arc<Semaphore>,
    entry: Arc<RelayEntry>,
    lanes: Vec<Served>,
    serving: FuturesUnordered<Serving>,
    /// Which lane writes first in this turn.
    first: usize,
    /// Closes of lanes that were never served.
    refusals: Vec<Bytes>,
    zero: Instant,
    heartbeat: Heartbeat,
    /// A full lane keeps the socket from being read.
    not_read_since: Option<Instant>,
    /// The socket takes no bytes.
    not_written_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    stopping: bool,
}

impl Switch {
    pub(super) fn new(
        socket: Box<Socket>,
        environment: Arc<Environment>,
        places: Arc<Semaphore>,
        entry: Arc<RelayEntry>,
        heartbeat: Duration,
    ) -> Self {
        let zero = Instant::now();
        Self {
            socket,
            environment,
            places,
            entry,
            lanes: Vec::new(),
            serving: FuturesUnordered::new(),
            first: 0,
            refusals: Vec::new(),
            zero,
            heartbeat: Heartbeat::new(moment(zero), heartbeat, CLOCK_JUMP),
            not_read_since: None,
            not_written_since: None,
            timer: Box::pin(sleep_until(zero)),
            stopping: false,
        }
    }

    /// One turn after another, while there is something to do.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match self.turns(cx) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }

    fn turns(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        for _ in 0..TURNS {
            let read = self.read(cx)?;
            self.serve(cx);
            let written = self.write(cx)?;
            if self.stopping && self.lanes.is_empty() && self.refusals.is_empty() {
                return Err(Ended::Finished);
            }
            // Nothing wakes this task for what it left unread because of a lane that has room again by now.
            let freed = self.not_read_since.is_some() && !self.is_held_up();
            if !read && !written && !freed {
                return self.look_at_the_clock(cx);
            }
        }
        cx.waker().wake_by_ref();
        self.look_at_the_clock(cx)
    }

    /// Takes what has arrived, a bounded amount of it; whether there was anything.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut moved = false;
        for _ in 0..TURN {
            if self.is_held_up() {
                self.not_read_since.get_or_insert_with(Instant::now);
                break;
            }
            self.not_read_since = None;
            let Poll::Ready(message) = Pin::new(&mut *self.socket).poll_next(cx) else {
                break;
            };
            moved = true;
            match message {
                Some(Ok(Message::Binary(frame))) => self.take(frame)?,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    if frame.as_ref().map(|frame| frame.code) == Some(CloseCode::Normal) {
                        return Err(Ended::Gone);
                    }
                    let failure = closed(frame.as_ref());
                    return Err(Ended::Lost {
                        reason: failure.reason,
                        retry_after: failure.retry_after,
                    });
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Err(Ended::Violation(Reason::BadRequest));
                }
                Some(Err(_)) | None => return Err(LOST),
            }
        }
        if moved {
            self.heartbeat.heard(moment(self.zero));
        }
        Ok(moved)
    }

    /// Whether a lane takes so little that nothing more is read.
    fn is_held_up(&self) -> bool {
        self.lanes.iter().any(|lane| lane.end.is_full())
    }

    fn take(&mut self, frame: Bytes) -> Result<(), Ended> {
        let violation = Ended::Violation(Reason::BadRequest);
        let frame = LaneFrame::decode(frame).map_err(|error| {
            debug!(%error, "a relay that breaks the rules");
            violation
        })?;
        match frame {
            LaneFrame::Open { lane } if self.find(lane).is_some() => Err(violation),
            LaneFrame::Open { lane } => {
                self.open(lane);
                Ok(())
            }
            // Those of lanes that are gone are dropped.
            LaneFrame::Data { lane, payload } => {
                if let Some(served) = self.find(lane) {
                    served.end.deliver(payload);
                }
                Ok(())
            }
            LaneFrame::Close { lane, .. } => {
                if let Some(served) = self.find(lane) {
                    served.end.end();
                }
                Ok(())
            }
        }
    }

    fn find(&self, lane: Lane) -> Option<&Served> {
        self.lanes.iter().find(|served| served.end.lane() == lane)
    }

    /// A client socket is there: it becomes a connection like any other.
    fn open(&mut self, number: Lane) {
        let refused = if self.stopping {
            Some(Reason::ServerRestarting)
        } else if self.lanes.len() >= MAX_LANES {
            Some(Reason::SessionCapacity)
        } else {
            None
        };
        let permit = match refused {
            None => Arc::clone(&self.places).try_acquire_owned().ok(),
            Some(_) => None,
        };
        let Some(permit) = permit else {
            self.environment.registry.turned_away(Path::Relay);
            let reason = refused.unwrap_or(Reason::RateLimited);
            if let Some(code) = reason.close_code() {
                let lane = number;
                self.refusals.push(LaneFrame::Close { lane, code }.encode());
            }
            return;
        };
        let listed = list(&self.environment, Path::Relay, None);
        let handle = listed.entry().handle().clone();
        let (end, socket) = lane(number);
        let environment = Arc::clone(&self.environment);
        let accepted_at = environment.clock.now();
        let connection = serve(environment, socket, listed, accepted_at);
        self.serving.push(Box::pin(async move {
            // A defect in an author's service costs one connection, as it does where each has a task.
            let _ = AssertUnwindSafe(connection).catch_unwind().await;
            drop(permit);
            number
        }));
        self.entry.lane_opened();
        self.lanes.push(Served {
            end,
            handle,
            over: false,
        });
    }

    /// Lets the connections work that have something to do.
    fn serve(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(over)) = Pin::new(&mut self.serving).poll_next(cx) {
            let mut lanes = self.lanes.iter_mut();
            if let Some(served) = lanes.find(|served| served.end.lane() == over) {
                served.over = true;
            }
        }
    }

    /// Writes what the connections said, one frame of each in turn; whether there was anything.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut moved = false;
        while let Some(frame) = self.refusals.pop() {
            if !self.room(cx)? {
                self.refusals.push(frame);
                return Ok(moved);
            }
            self.put(frame)?;
            moved = true;
        }
        let count = self.lanes.len();
        let mut quiet = 0;
        while quiet < count {
            if !self.room(cx)? {
                return Ok(moved);
            }
            self.first = (self.first + 1) % count;
            let frame = self
                .lanes
                .get(self.first)
                .and_then(|lane| lane.end.next_frame());
            match frame {
                Some(frame) => {
                    quiet = 0;
                    moved = true;
                    self.put(frame)?;
                }
                None => quiet += 1,
            }
        }
        let entry = &self.entry;
        self.lanes.retain(|lane| {
            let stays = !lane.over || lane.end.has_frames();
            if !stays {
                entry.lane_closed();
            }
            stays
        });
        match Pin::new(&mut *self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => self.not_written_since = None,
            Poll::Ready(Err(_)) => return Err(LOST),
            Poll::Pending => self.stuck(),
        }
        Ok(moved)
    }

    fn room(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        match Pin::new(&mut *self.socket).poll_ready(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(LOST),
            Poll::Pending => {
                self.stuck();
                Ok(false)
            }
        }
    }

    fn stuck(&mut self) {
        self.not_written_since.get_or_insert_with(Instant::now);
    }

    fn put(&mut self, frame: Bytes) -> Result<(), Ended> {
        Pin::new(&mut *self.socket)
            .start_send(Message::Binary(frame))
            .map_err(|_| LOST)
    }

    pub(super) const fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Takes no more lanes, and ends with the last one.
    pub(super) const fn stop(&mut self) {
        self.stopping = true;
    }

    /// The link has a reason to believe that this socket is half-open.
    pub(super) fn doubt(&mut self) {
        if self.heartbeat.doubt(moment(self.zero)) == Pulse::Ask {
            self.ping();
        }
    }

    fn ping(&mut self) {
        // A full buffer needs no ping: what is in it asks as well.
        let _ = Pin::new(&mut *self.socket).start_send(Message::Ping(Bytes::new()));
    }

    /// Liveness, and lanes that hold up their neighbours. Asks to be woken when either is due.
    fn look_at_the_clock(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let silence = Duration::from_millis(self.heartbeat.deadline().as_millis());
            let mut due = self.zero + silence;
            if let Some(stall) = self.hold_up() {
                due = due.min(stall);
            }
            // One that is early fires early and looks again, which is cheaper than setting it for every message.
            if self.timer.is_elapsed() || self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            if self.hold_up().is_some_and(|stall| stall <= now) {
                self.close_slow_lanes();
                cx.waker().wake_by_ref();
            }
            let stuck = self.not_written_since;
            let held_up = self.not_read_since.is_some()
                || stuck.is_some_and(|since| now.duration_since(since) < SOCKET_STALL);
            match self.heartbeat.on_timer(moment(self.zero), held_up) {
                Pulse::Wait => {}
                Pulse::Ask => {
                    self.ping();
                    cx.waker().wake_by_ref();
                }
                Pulse::Dead => {
                    return Err(Ended::Lost {
                        reason: Reason::HeartbeatTimeout,
                        retry_after: None,
                    });
                }
            }
        }
    }

    /// When a lane will have kept its neighbours waiting for too long.
    fn hold_up(&self) -> Option<Instant> {
        let since = self.not_read_since.filter(|_| self.lanes.len() > 1)?;
        Some(since + LANE_STALL)
    }

    fn close_slow_lanes(&mut self) {
        self.not_read_since = None;
        for lane in self.lanes.iter().filter(|lane| lane.end.is_full()) {
            lane.end.give_up();
            lane.handle.outbound.close(Reason::SlowConsumer);
        }
    }

    /// The end of the socket is the end of every lane, in bounded time.
    pub(super) async fn part(mut self, ended: Ended) {
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
            self.entry.lane_closed();
        }
        self.lanes.clear();
        match ended {
            Ended::Finished => say_goodbye(self.socket, Reason::ServerRestarting).await,
            Ended::Violation(reason) => say_goodbye(self.socket, reason).await,
            Ended::Gone | Ended::Lost { .. } | Ended::Dropped => {}
        }
    }
}
