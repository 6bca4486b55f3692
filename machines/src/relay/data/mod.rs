//! A daemon's data socket: its lanes, its backpressure and its liveness (RL-3, RL-4).
//!
//! ```text
//!  Open ──stop──► Stopping ──last lane is over──► Ended
//!   └───────────────┴──closed, broken, dropped, silence, stall, violation──► Ended
//! ```
//!
//! **Lanes.** The relay opens them; each becomes a connection. A lane beyond [`MAX_LANES`], one
//! without a connection permit, and any while the daemon is stopping is refused with the reason. A
//! lane is forgotten when its connection is over and its last frame is written. Opening a number
//! that is in use is a violation, which ends the socket.
//!
//! **Backpressure.** A full lane stops reads from the socket, by the same rule as in the relay
//! ([`ReadStall`]). Silence does not count as a dead peer while the socket is not read, or while it
//! accepts no bytes. A socket that accepts none for
//! [`SOCKET_STALL`](bowline_protocol::relay::limits::SOCKET_STALL) ends, whatever is heard on it
//! (TR-8): a relay that only sends would block every connection of the socket for ever.
//!
//! **Per frame** the driver calls [`DataLanes::may_read`], [`DataLanes::next_lane`] and
//! [`DataLanes::on_write`]; none of them queues an effect.

mod ended;
#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{Reason, relay::Lane};

pub use ended::Ended;

use crate::{
    MonotonicTime,
    effects::EffectQueue,
    socket_health::{HealthAction, SocketHealth},
    stalls::ReadStall,
};

/// Most lanes of one data socket; a further one is closed with `session_capacity`. Well over the
/// default limit of relays, and over the limit of connections per session.
pub const MAX_LANES: usize = 64;
/// The same of a session whose device the daemon does not know: as many as a relay admits by
/// default (TR-10).
pub const MAX_STRANGER_LANES: usize = 8;
/// Most refusals waiting to be written; at this number reads stop.
pub const MAX_REFUSALS: usize = 64;

/// Result of a lane opened by the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It becomes a connection.
    Served,
    /// It is closed; its close frame is in [`DataLanes::next_refusal`].
    Refused,
}

/// State of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stopping,
    Ended(Ended),
}

/// Inputs, except lanes that open, bytes and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The relay closed the socket.
    Closed {
        /// The close code, if there is one.
        code: Option<u16>,
        /// The relay's retry-after.
        retry_after: Option<Duration>,
    },
    /// The socket broke.
    Broken,
    /// The relay sent what is no frame of a lane.
    Violated,
    /// The registration does not need it any more.
    Dropped,
    /// The daemon stops: new lanes are refused, and the socket ends with the last one.
    Stop,
    /// The socket may be half-open.
    ProbeNow,
    /// The connection of a lane is over.
    ConnectionOver {
        /// The lane.
        lane: Lane,
    },
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send a ping.
    Ping,
    /// Close the connections of all full lanes with `slow_consumer`, and drop their queued
    /// messages.
    GiveUpFullLanes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LaneState {
    lane: Lane,
    /// Whether its connection is over; frames may still be queued.
    over: bool,
}

/// The data socket machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataLanes {
    /// Most lanes.
    most: usize,
    state: State,
    lanes: Vec<LaneState>,
    /// Index of the lane that wrote last.
    last: usize,
    refusals: Vec<(Lane, u16)>,
    health: SocketHealth,
    reads: ReadStall,
    effects: EffectQueue<Effect>,
}

impl DataLanes {
    /// Creates the machine of a socket that just opened. `heartbeat`: the relay's interval.
    pub fn new(now: MonotonicTime, heartbeat: Duration) -> Self {
        Self {
            most: MAX_LANES,
            state: State::Open,
            lanes: Vec::new(),
            last: 0,
            refusals: Vec::new(),
            health: SocketHealth::new(now, heartbeat),
            reads: ReadStall::default(),
            effects: EffectQueue::default(),
        }
    }

    /// The same for a session whose device the daemon does not know.
    #[must_use]
    pub fn of_stranger(self) -> Self {
        Self {
            most: MAX_STRANGER_LANES,
            ..self
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match (self.state, input) {
            (State::Open | State::Stopping, Input::Closed { code, retry_after }) => {
                self.state = State::Ended(Ended::by_close(code, retry_after));
            }
            (State::Open | State::Stopping, Input::Broken) => {
                self.end(Ended::lost(Reason::ConnectionLost));
            }
            (State::Open | State::Stopping, Input::Violated) => {
                self.end(Ended::Violation(Reason::BadRequest));
            }
            (State::Open | State::Stopping, Input::Dropped) => self.end(Ended::Dropped),
            (State::Open, Input::Stop) => self.state = State::Stopping,
            (State::Open | State::Stopping, Input::ProbeNow) => {
                if self.health.probe_now(now) {
                    self.effects.push(Effect::Ping);
                }
            }
            (State::Open | State::Stopping | State::Ended(_), Input::ConnectionOver { lane }) => {
                let mut lanes = self.lanes.iter_mut();
                if let Some(served) = lanes.find(|served| served.lane == lane) {
                    served.over = true;
                }
            }
            (State::Stopping, Input::Stop)
            | (
                State::Ended(_),
                Input::Closed { .. }
                | Input::Broken
                | Input::Violated
                | Input::Dropped
                | Input::Stop
                | Input::ProbeNow,
            ) => {}
        }
    }

    /// Handles a lane opened by the relay. `place`: whether a connection permit is available.
    pub fn open(&mut self, lane: Lane, place: bool) -> Admission {
        let refused = match self.state {
            State::Ended(_) => return Admission::Refused,
            _ if self.is_served(lane) => {
                self.end(Ended::Violation(Reason::BadRequest));
                return Admission::Refused;
            }
            State::Stopping => Some(Reason::ServerRestarting),
            State::Open if self.lanes.len() >= self.most => Some(Reason::SessionCapacity),
            State::Open if !place => Some(Reason::RateLimited),
            State::Open => None,
        };
        match refused.and_then(Reason::close_code) {
            Some(code) => {
                self.refusals.push((lane, code));
                Admission::Refused
            }
            None => {
                let over = false;
                self.lanes.push(LaneState { lane, over });
                Admission::Served
            }
        }
    }

    /// Whether the lane is served; frames for other lanes are dropped.
    pub fn is_served(&self, lane: Lane) -> bool {
        self.lanes.iter().any(|served| served.lane == lane)
    }

    /// Whether the connection of any lane is over, so that lanes may be forgotten.
    pub fn has_over(&self) -> bool {
        self.lanes.iter().any(|served| served.over)
    }

    /// Whether the lane can be forgotten, and forgets it; `waiting`: frames of it are queued.
    pub fn forget(&mut self, lane: Lane, waiting: bool) -> bool {
        let before = self.lanes.len();
        self.lanes
            .retain(|served| served.lane != lane || !served.over || waiting);
        self.lanes.len() < before
    }

    /// The next close frame of a refused lane; call when there is room to write it.
    pub fn next_refusal(&mut self) -> Option<(Lane, u16)> {
        self.refusals.pop()
    }

    /// Whether refusals are queued.
    pub const fn has_refusals(&self) -> bool {
        !self.refusals.is_empty()
    }

    /// The lane that writes the next frame, round robin.
    pub fn next_lane(&mut self) -> Option<Lane> {
        self.last = (self.last + 1) % self.lanes.len().max(1);
        self.lanes.get(self.last).map(|served| served.lane)
    }

    /// Whether the socket may be read; call before every read. `full`: whether any lane is full.
    pub fn may_read(&mut self, now: MonotonicTime, full: bool) -> bool {
        let is_ended = matches!(self.state, State::Ended(_));
        self.reads.may_read(now, full) && self.refusals.len() < MAX_REFUSALS && !is_ended
    }

    /// Whether the last call of [`DataLanes::may_read`] returned false.
    pub const fn is_held_up(&self) -> bool {
        self.reads.is_on()
    }

    /// Handles received bytes.
    pub fn on_received(&mut self, now: MonotonicTime) {
        self.health.heard(now);
    }

    /// Handles a write. `sent`: all bytes that the socket has accepted so far; `clear`: nothing is
    /// queued any more.
    pub fn on_write(&mut self, now: MonotonicTime, sent: u64, clear: bool) {
        self.health.on_sent(now, sent, clear);
    }

    /// Whether the daemon is stopping.
    pub const fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping)
    }

    /// Call when [`DataLanes::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        if self.reads.expire(now, self.lanes.len()) {
            self.effects.push(Effect::GiveUpFullLanes);
        }
        let excused = self.reads.is_on() || !self.health.is_clear();
        match self.health.on_timer(now, excused) {
            HealthAction::Wait => {}
            HealthAction::Ping => self.effects.push(Effect::Ping),
            HealthAction::End(reason) => self.end(Ended::lost(reason)),
        }
    }

    /// When to call [`DataLanes::handle_timeout`] next.
    pub fn poll_timeout(&self) -> MonotonicTime {
        let health = self.health.deadline();
        let stall = self.reads.deadline(self.lanes.len());
        stall.map_or(health, |stall| stall.min(health))
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Lanes not yet forgotten.
    pub const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// How the socket ended, if it has.
    pub const fn ended(&self) -> Option<Ended> {
        match self.state {
            State::Ended(ended) => Some(ended),
            State::Stopping if self.lanes.is_empty() && self.refusals.is_empty() => {
                Some(Ended::Finished)
            }
            State::Open | State::Stopping => None,
        }
    }

    const fn end(&mut self, ended: Ended) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(ended);
        }
    }

    /// Hashes the state that determines future behaviour, relative to `now` and without the
    /// liveness, for the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        std::mem::discriminant(&self.state).hash(hasher);
        let over: Vec<_> = self.lanes.iter().map(|served| served.over).collect();
        (
            over,
            self.refusals.len(),
            self.last % self.lanes.len().max(1),
        )
            .hash(hasher);
        self.reads.deadline(1).map(|at| at.since(now)).hash(hasher);
        self.health.fingerprint_writes(now, hasher);
    }
}
