//! One client session: its client sockets, each a lane, and the daemon's one data socket (RL-3).
//!
//! One task owns all of them and passes bytes from one to the other in the same turn, so there are no queues between
//! tasks. What a receiver does not take waits in its socket's bounded queue, and nothing more is read for it:
//!
//! * a full data socket stops the reading of every client of the session;
//! * a full lane stops the reading of the data socket, and with it its neighbours. It is closed with `slow_consumer`
//!   before that lasts a second; a lane without neighbours may hold its sender back for longer.

pub(crate) mod mailbox;
mod peer;
mod timer;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_protocol::{
    Reason, RouteKey, ServerId,
    identity::short_hash,
    relay::{
        CloseText, Lane,
        limits::{HELD_BYTES, LANE_STALL, SOCKET_STALL},
    },
};
use mailbox::{Mail, Mailbox};
use peer::{ABNORMAL, DataPeer, Ending, LanePeer, Lanes, part};
use timer::Timer;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::{
    hub::Hub,
    metrics::Metrics,
    scratch::{self, Scratch},
    websocket::{frame::Masked, write_binary},
};

/// Rounds over all sockets before other sessions have their turn: about half a megabyte for a session at full rate.
const ROUNDS: usize = 4;

/// The daemon's side.
#[derive(Debug)]
enum Daemon {
    /// Not there yet.
    Awaited { until: Instant },
    /// There.
    Present(Box<DataPeer>),
}

/// The task of one session.
#[derive(Debug)]
pub(crate) struct Session {
    hub: Arc<Hub>,
    server: ServerId,
    route: RouteKey,
    mailbox: Arc<Mailbox>,
    daemon: Daemon,
    lanes: Vec<LanePeer>,
    next_lane: u32,
    /// Whose turn it is to be read first.
    first: usize,
    /// Counts what was heard.
    turn: u64,
    /// Since when a full lane has kept the data socket from being read.
    blocked: Option<Instant>,
    timer: Timer,
}

impl Session {
    pub(crate) fn new(
        hub: Arc<Hub>,
        server: ServerId,
        route: RouteKey,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let until = Instant::now() + hub.limits.peer_wait;
        Self {
            hub,
            server,
            route,
            mailbox,
            daemon: Daemon::Awaited { until },
            lanes: Vec::new(),
            next_lane: 1,
            first: 0,
            turn: 0,
            blocked: None,
            timer: Timer::default(),
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..ROUNDS {
            if let Some(text) = self.take_mail(cx, scratch) {
                self.end(text);
                return Poll::Ready(());
            }
            let mut moved = self.flush(cx);
            moved |= self.read_daemon(cx, scratch);
            moved |= self.read_lanes(cx, scratch);
            // Whoever was waited for may be gone now.
            moved |= self.settle(cx);
            if self.lanes.is_empty() && self.retire() {
                return Poll::Ready(());
            }
            if !moved && !self.expire(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_mail(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Option<CloseText> {
        for mail in self.mailbox.take(cx.waker()) {
            match mail {
                Mail::Client(socket, member) => {
                    self.make_room();
                    self.part_with_ended(cx);
                    let lane = Lane::new(self.next_lane);
                    // Four thousand million client sockets of one session would be needed to see one twice.
                    self.next_lane = self.next_lane.wrapping_add(1);
                    let peer = LanePeer::new(lane, socket, member, self.turn);
                    if let Daemon::Present(data) = &mut self.daemon {
                        scratch.output.clear();
                        peer.write_open(&mut scratch.output);
                        data.send(cx, &scratch.output);
                    }
                    // Mostly there is one.
                    self.lanes.reserve_exact(1);
                    self.lanes.push(peer);
                }
                Mail::Data(socket) => self.meet_daemon(cx, scratch, DataPeer::new(socket)),
                Mail::End(text) => return Some(text),
            }
        }
        None
    }

    /// At the limit the client socket that has been silent longest gives way (lesson 2); below it none ever does (RL-3).
    fn make_room(&mut self) {
        let most = self.hub.limits.sockets_per_session as usize;
        if most == 0 || self.lanes.len() < most {
            return;
        }
        let lanes = self.lanes.iter_mut();
        if let Some(silent) = lanes.min_by_key(|lane| (lane.heard, lane.lane)) {
            silent.ending = Some(Ending::ByRelay(Reason::SessionCapacity));
        }
    }

    fn meet_daemon(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, mut data: DataPeer) {
        if let Daemon::Present(earlier) = &mut self.daemon {
            // What was said on the earlier socket is lost to the new one, so its clients begin again.
            earlier.ending = Some(Ending::ByRelay(Reason::Replaced));
            self.lose_daemon();
            self.part_with_ended(cx);
        }
        scratch.output.clear();
        for lane in &mut self.lanes {
            lane.write_open(&mut scratch.output);
            scratch.output.append(&mut lane.held);
            lane.held = Vec::new();
        }
        data.send(cx, &scratch.output);
        self.hub.metrics.data_sockets.one();
        debug!(server_id = %self.server, session = %self.hash(), lanes = self.lanes.len(), "data socket");
        self.daemon = Daemon::Present(Box::new(data));
    }

    /// The data socket is gone: everything on it is. Its clients come back on their own.
    fn lose_daemon(&mut self) {
        let until = Instant::now() + self.hub.limits.peer_wait;
        if let Daemon::Present(data) =
            std::mem::replace(&mut self.daemon, Daemon::Awaited { until })
        {
            if let Some(Ending::ByRelay(reason)) = data.ending {
                self.hub.metrics.closed(reason);
                debug!(server_id = %self.server, session = %self.hash(), %reason, "data socket closed");
            }
            data.part();
            self.blocked = None;
            for lane in &mut self.lanes {
                lane.ending
                    .get_or_insert(Ending::ByRelay(Reason::DaemonOffline));
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        if let Daemon::Present(data) = &mut self.daemon {
            moved |= data.flush(cx);
        }
        for lane in &mut self.lanes {
            moved |= lane.flush(cx);
        }
        moved
    }

    fn read_daemon(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        let Daemon::Present(data) = &mut self.daemon else {
            return false;
        };
        if self.lanes.iter().any(LanePeer::is_full) {
            self.blocked.get_or_insert_with(Instant::now);
            return false;
        }
        self.blocked = None;
        scratch.output.clear();
        let mut delivery = Delivery {
            lanes: &mut self.lanes,
            metrics: &self.hub.metrics,
            current: None,
            output: &mut scratch.output,
            messages: 0,
            bytes: 0,
        };
        let moved = data.read(cx, &mut scratch.input, &mut delivery);
        delivery.finish(cx);
        moved
    }

    fn read_lanes(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        let mut moved = false;
        let count = self.lanes.len();
        for index in (self.first..count).chain(0..self.first.min(count)) {
            // Nothing is read that cannot be passed on.
            let room = match &self.daemon {
                Daemon::Present(data) if !data.socket.is_clear() => 0,
                Daemon::Present(_) => usize::MAX,
                Daemon::Awaited { .. } => {
                    let held: usize = self.lanes.iter().map(LanePeer::held_bytes).sum();
                    HELD_BYTES.saturating_sub(held) / HELD_SHARE
                }
            };
            let room = room.min(scratch.input.len());
            let (Some(lane), Some(input)) =
                (self.lanes.get_mut(index), scratch.input.get_mut(..room))
            else {
                break;
            };
            if room == 0 {
                self.first = index;
                break;
            }
            if lane.ending.is_some() {
                continue;
            }
            scratch.output.clear();
            let Some(haul) = lane.read(cx, input, &mut scratch.output) else {
                continue;
            };
            moved = true;
            self.turn += 1;
            lane.heard = self.turn;
            self.hub.metrics.upward.messages.add(haul.messages);
            self.hub.metrics.upward.bytes.add(haul.bytes);
            match &mut self.daemon {
                Daemon::Present(data) => data.send(cx, &scratch.output),
                Daemon::Awaited { .. } => lane.held.extend_from_slice(&scratch.output),
            }
        }
        moved
    }

    /// Draws the consequences of what has ended; whether anything had.
    fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        let lost = self.lose_ended_daemon();
        let parted = self.part_with_ended(cx);
        // Telling the daemon of a lane's end may have been what showed that it is gone.
        if self.lose_ended_daemon() {
            self.part_with_ended(cx);
        }
        lost || parted
    }

    fn lose_ended_daemon(&mut self) -> bool {
        let ended = matches!(&self.daemon, Daemon::Present(data) if data.ending.is_some());
        if ended {
            self.lose_daemon();
        }
        ended
    }

    /// Lets go of lanes that have ended, and tells the daemon; whether there were any.
    fn part_with_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let mut parted = false;
        while let Some(index) = self.lanes.iter().position(|lane| lane.ending.is_some()) {
            let lane = self.lanes.swap_remove(index);
            parted = true;
            let ending = lane.ending.unwrap_or(Ending::Lost);
            let told = match ending {
                Ending::ByClient(code) => Some(code),
                Ending::Lost => Some(ABNORMAL),
                Ending::ByRelay(reason) => {
                    self.hub.metrics.closed(reason);
                    debug!(server_id = %self.server, session = %self.hash(), lane = %lane.lane, %reason, "lane closed");
                    reason.close_code()
                }
                Ending::ByDaemon(_) => None,
            };
            if let (Daemon::Present(data), Some(code)) = (&mut self.daemon, told) {
                let mut frame = Vec::new();
                lane.write_close(&mut frame, code);
                data.send(cx, &frame);
            }
            part(lane.socket, ending);
        }
        parted
    }

    /// Ends the session when its last client is gone and no other is on its way.
    fn retire(&mut self) -> bool {
        let awaited = matches!(self.daemon, Daemon::Awaited { .. });
        let hub = Arc::clone(&self.hub);
        let retired = hub
            .registry
            .retire(&self.server, &self.route, &self.mailbox, awaited);
        if retired {
            info!(server_id = %self.server, session = %self.hash(), "session closed");
            self.lose_daemon();
        } else if let Daemon::Awaited { until } = &mut self.daemon {
            *until = Instant::now() + hub.limits.peer_wait;
        }
        retired
    }

    /// Closes what has waited too long; whether anything had. Otherwise the task is woken when it will have.
    fn expire(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.deadline() else {
            self.timer.rest();
            return false;
        };
        if !self.timer.is_past(cx, deadline) {
            return false;
        }
        let now = Instant::now();
        if let Daemon::Awaited { until } = self.daemon
            && until <= now
        {
            for lane in &mut self.lanes {
                lane.ending = Some(Ending::ByRelay(Reason::HandshakeTimeout));
            }
        }
        if let Daemon::Present(data) = &mut self.daemon
            && data.socket.stall_deadline().is_some_and(|at| at <= now)
        {
            data.ending = Some(Ending::ByRelay(Reason::SlowConsumer));
        }
        let hold_up = self.hold_up_deadline().is_some_and(|at| at <= now);
        for lane in &mut self.lanes {
            let stalled = lane.socket.stall_deadline().is_some_and(|at| at <= now);
            if stalled || (hold_up && lane.is_full()) {
                lane.ending
                    .get_or_insert(Ending::ByRelay(Reason::SlowConsumer));
            }
        }
        true
    }

    /// When something will have waited too long.
    fn deadline(&self) -> Option<Instant> {
        let daemon = match &self.daemon {
            Daemon::Awaited { until } => Some(*until),
            Daemon::Present(data) => data.socket.stall_deadline(),
        };
        let lanes = self.lanes.iter().map(|lane| lane.socket.stall_deadline());
        lanes
            .chain([daemon, self.hold_up_deadline()])
            .flatten()
            .min()
    }

    /// When a full lane will have kept the data socket from being read for too long.
    fn hold_up_deadline(&self) -> Option<Instant> {
        let neighbours = self.lanes.len() > 1;
        let longest = if neighbours { LANE_STALL } else { SOCKET_STALL };
        self.blocked.map(|since| since + longest)
    }

    /// Ends everything with one reason.
    fn end(&mut self, text: CloseText) {
        let hub = Arc::clone(&self.hub);
        info!(server_id = %self.server, session = %self.hash(), reason = %text.reason, "session ended");
        for lane in self.lanes.drain(..) {
            hub.metrics.closed(text.reason);
            lane.socket.dismiss(text);
        }
        let until = Instant::now();
        if let Daemon::Present(data) =
            std::mem::replace(&mut self.daemon, Daemon::Awaited { until })
        {
            hub.metrics.closed(text.reason);
            data.socket.dismiss(text);
        }
        // Whoever came meanwhile is told the same.
        while !hub
            .registry
            .retire(&self.server, &self.route, &self.mailbox, false)
        {
            for mail in self.mailbox.take(std::task::Waker::noop()) {
                match mail {
                    Mail::Client(socket, _) | Mail::Data(socket) => socket.dismiss(text),
                    Mail::End(_) => {}
                }
            }
        }
    }

    /// What logs call the session (OB).
    fn hash(&self) -> String {
        short_hash(self.route.as_str())
    }
}

/// A client's bytes may double on their way into lane frames (a message of no bytes is 6 bytes from the client and 7 to the
/// daemon, and memory grows in steps), so only half of what may be held is read.
const HELD_SHARE: usize = 2;

impl Future for Session {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        scratch::with(|scratch| session.run(cx, scratch))
    }
}

/// Hands the daemon's frames to their lanes: one write for each run of frames of one lane.
struct Delivery<'a> {
    lanes: &'a mut [LanePeer],
    metrics: &'a Metrics,
    /// Whose messages `output` has.
    current: Option<Lane>,
    output: &'a mut Vec<u8>,
    messages: u64,
    bytes: u64,
}

impl Delivery<'_> {
    fn lane(&mut self, lane: Lane) -> Option<&mut LanePeer> {
        self.lanes
            .iter_mut()
            .find(|peer| peer.lane == lane && peer.ending.is_none())
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        if let Some(lane) = self.current.take() {
            let output = std::mem::take(self.output);
            if let Some(peer) = self.lane(lane) {
                peer.send(cx, &output);
            }
            *self.output = output;
            self.output.clear();
        }
    }

    fn finish(mut self, cx: &mut Context<'_>) {
        self.write(cx);
        self.metrics.downward.messages.add(self.messages);
        self.metrics.downward.bytes.add(self.bytes);
    }
}

impl Lanes for Delivery<'_> {
    fn deliver(&mut self, cx: &mut Context<'_>, lane: Lane, payload: Masked<'_>) {
        if self.current != Some(lane) {
            self.write(cx);
            // The client of a lane that is not known has gone while this was on its way.
            if self.lane(lane).is_none() {
                return;
            }
            self.current = Some(lane);
        }
        self.messages += 1;
        self.bytes += payload.len() as u64;
        write_binary(self.output, &[], payload);
    }

    fn close(&mut self, cx: &mut Context<'_>, lane: Lane, code: u16) {
        self.write(cx);
        if let Some(peer) = self.lane(lane) {
            peer.ending = Some(Ending::ByDaemon(code));
        }
    }
}
