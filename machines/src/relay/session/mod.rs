//! One client session of a relay: its client sockets, each a lane, and the daemon's data socket
//! (RL-3).
//!
//! ```text
//!  Awaiting ──data socket──► Joined ──┐ a newer data socket: its lanes end and begin again
//!     ▲                        │  ◄───┘
//!     └──data socket ended─────┤           Awaiting for too long: its lanes end with `handshake_timeout`
//!                              ▼
//!      told to end ──► Ending ──► Over ◄── no client is left, and none is about to join
//! ```
//!
//! **Lanes.** Each client socket gets the next number, and numbers are never reused. At the limit
//! the client that has been silent longest is closed (LS-2). The daemon is informed of a lane once
//! there is a data socket, then of its messages, and of its end once, unless it requested the end.
//!
//! **Leaving.** Clients join at any time, so a session that has no lanes is over only once the
//! relay has removed it ([`SessionLanes::vacancy`]). One that is told to end refuses what arrives
//! until then, with the same text.
//!
//! **Backpressure.** While bytes are queued for the data socket, no client is read. A full lane
//! stops reads from the data socket ([`ReadStall`]). Before there is a data socket, a session holds
//! up to [`HELD_BYTES`] and leaves the rest in the senders' sockets.
//!
//! **Calls per frame.** [`SessionLanes::next_read`] returns the client socket to read and the
//! number of bytes; [`SessionLanes::on_read`] reports the result. [`SessionLanes::may_read_data`]
//! precedes every read of the data socket. After every write [`SessionLanes::on_lane_write`] or
//! [`SessionLanes::on_data_write`] reports the bytes still queued. None of them queues an effect.

mod ending;
#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{
    Reason,
    relay::{
        CloseText, Lane,
        limits::{HELD_BYTES, QUEUE_BYTES},
    },
};

pub use ending::Ending;

use crate::{
    MonotonicTime,
    effects::EffectQueue,
    stalls::{ReadStall, WriteStall},
};

/// A client's bytes may double when they are put into lane frames (an empty message is 6 bytes from
/// the client and 7 to the daemon, and memory grows in steps), so only this fraction of the bound
/// is read.
const HELD_SHARE: usize = 2;

/// Bounds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionConfig {
    /// Most lanes; for a further one, the client that has been silent longest is closed with
    /// `session_capacity`. 0: no limit.
    pub most_lanes: usize,
    /// Time from the first client to the data socket; then the clients are closed with
    /// `handshake_timeout`.
    pub data_wait: Duration,
}

/// State of the daemon's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No data socket.
    Awaiting {
        /// When the wait for one ends.
        until: MonotonicTime,
    },
    /// A data socket is open.
    Joined {
        /// Its write stall.
        written: WriteStall,
        /// Its read stall.
        reads: ReadStall,
    },
    /// Told to end; not removed yet.
    Ending {
        /// The close text for sockets that still arrive.
        text: CloseText,
    },
    /// Final; no transition leaves this state (INV-12).
    Over,
}

/// A session without lanes, which the relay is to remove unless a socket is about to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vacancy {
    /// If a socket is about to join, the daemon must first learn that the session closed and opened
    /// again, so that it dials a data socket.
    pub afresh: bool,
}

/// Inputs of a session, except bytes and new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A data socket opened. It replaces an earlier one.
    DataOpened,
    /// The data socket ended.
    DataEnded {
        /// How it ended.
        ending: Ending,
    },
    /// A client socket ended, or the daemon requested its end.
    LaneEnded {
        /// The lane.
        lane: Lane,
        /// How it ended; only the first ending counts.
        ending: Ending,
    },
    /// The session, which has no lanes, was removed: nothing more arrives.
    Retired,
    /// The session, which has no lanes, stays: a socket is about to join.
    Kept,
    /// The relay ends the session.
    End {
        /// The close text for all sockets.
        text: CloseText,
    },
}

/// Effects for the driver, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Use the data socket that opened last.
    UseData,
    /// Close the data socket that opened last, which is not in use.
    RefuseData {
        /// The close text.
        text: CloseText,
    },
    /// Close the data socket in use.
    CloseData {
        /// How it is closed.
        ending: Ending,
    },
    /// Announce a lane to the daemon, and forward the bytes held for it.
    Announce {
        /// The lane.
        lane: Lane,
    },
    /// Close a client socket.
    CloseLane {
        /// The lane.
        lane: Lane,
        /// How the client is closed.
        ending: Ending,
        /// The close code to send to the daemon first.
        tell: Option<u16>,
    },
}

/// One client socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LaneState {
    lane: Lane,
    /// The count of reads at its last read with data.
    heard: u64,
    /// Bytes held until there is a data socket.
    held: usize,
    written: WriteStall,
}

impl LaneState {
    /// Whether so many bytes are queued for the client that reads from the data socket stop.
    const fn is_full(&self) -> bool {
        self.written.queued() > QUEUE_BYTES
    }
}

/// The session machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLanes {
    config: SessionConfig,
    state: State,
    /// In order of lane number.
    lanes: Vec<LaneState>,
    /// Number of lanes opened so far.
    opened: u32,
    /// Index of the lane that is read first in the next round.
    first: usize,
    /// Number of reads that returned data.
    turn: u64,
    effects: EffectQueue<Effect>,
}

impl SessionLanes {
    /// Creates a session whose first client is about to join.
    pub fn new(config: SessionConfig, now: MonotonicTime) -> Self {
        Self {
            state: State::Awaiting {
                until: now + config.data_wait,
            },
            config,
            lanes: Vec::new(),
            opened: 0,
            first: 0,
            turn: 0,
            effects: EffectQueue::default(),
        }
    }

    /// Opens a lane for a client socket.
    ///
    /// # Errors
    /// The text to close the socket with, if the session ends or has no numbers left.
    pub fn open(&mut self) -> Result<Lane, CloseText> {
        let full = CloseText::from(Reason::SessionCapacity);
        match self.state {
            State::Awaiting { .. } | State::Joined { .. } => {}
            State::Ending { text } => return Err(text),
            State::Over => return Err(full),
        }
        self.opened = self.opened.checked_add(1).ok_or(full)?;
        self.make_room();
        let lane = Lane::new(self.opened);
        // Most sessions have one lane.
        self.lanes.reserve_exact(1);
        self.lanes.push(LaneState {
            lane,
            heard: self.turn,
            held: 0,
            written: WriteStall::default(),
        });
        if matches!(self.state, State::Joined { .. }) {
            self.effects.push(Effect::Announce { lane });
        }
        Ok(lane)
    }

    fn make_room(&mut self) {
        let most = self.config.most_lanes;
        if most == 0 || self.lanes.len() < most {
            return;
        }
        let silent = self.lanes.iter().min_by_key(|lane| (lane.heard, lane.lane));
        if let Some(lane) = silent.map(|lane| lane.lane) {
            self.end_lane(lane, Reason::SessionCapacity.into());
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match (self.state, input) {
            (State::Awaiting { .. }, Input::DataOpened) => self.join(),
            (State::Joined { .. }, Input::DataOpened) => {
                // Bytes in flight on the earlier socket are lost, so its clients reconnect.
                self.lose_data(now, Reason::Replaced.into());
                self.join();
            }
            (State::Joined { .. }, Input::DataEnded { ending }) => self.lose_data(now, ending),
            (State::Awaiting { .. } | State::Joined { .. }, Input::LaneEnded { lane, ending }) => {
                self.end_lane(lane, ending);
            }
            (State::Awaiting { .. } | State::Joined { .. }, Input::Retired) => {
                self.finish(State::Over, Ending::Finished);
            }
            (State::Awaiting { .. }, Input::Kept) => self.wait_for_data(now),
            (State::Awaiting { .. } | State::Joined { .. }, Input::End { text }) => {
                self.finish(State::Ending { text }, Ending::ByRelay(text));
            }
            (State::Ending { text }, Input::DataOpened) => {
                self.effects.push(Effect::RefuseData { text });
            }
            (State::Ending { .. }, Input::Retired) => self.state = State::Over,
            (State::Awaiting { .. }, Input::DataEnded { .. })
            | (State::Joined { .. }, Input::Kept)
            | (
                State::Ending { .. },
                Input::DataEnded { .. } | Input::LaneEnded { .. } | Input::Kept | Input::End { .. },
            )
            | (
                State::Over,
                Input::DataOpened
                | Input::DataEnded { .. }
                | Input::LaneEnded { .. }
                | Input::Retired
                | Input::Kept
                | Input::End { .. },
            ) => {}
        }
    }

    fn join(&mut self) {
        self.state = State::Joined {
            written: WriteStall::default(),
            reads: ReadStall::default(),
        };
        self.effects.push(Effect::UseData);
        for lane in &mut self.lanes {
            lane.held = 0;
            self.effects.push(Effect::Announce { lane: lane.lane });
        }
    }

    fn wait_for_data(&mut self, now: MonotonicTime) {
        self.state = State::Awaiting {
            until: now + self.config.data_wait,
        };
    }

    /// Ends the data socket and all lanes. Their clients reconnect.
    fn lose_data(&mut self, now: MonotonicTime, ending: Ending) {
        self.effects.push(Effect::CloseData { ending });
        self.wait_for_data(now);
        self.end_lanes(Reason::DaemonOffline.into());
    }

    fn finish(&mut self, to: State, ending: Ending) {
        if matches!(self.state, State::Joined { .. }) {
            self.effects.push(Effect::CloseData { ending });
        }
        self.state = to;
        self.end_lanes(ending);
    }

    fn end_lanes(&mut self, ending: Ending) {
        for LaneState { lane, .. } in std::mem::take(&mut self.lanes) {
            let tell = None;
            self.effects.push(Effect::CloseLane { lane, ending, tell });
        }
    }

    fn end_lane(&mut self, lane: Lane, ending: Ending) {
        let Some(index) = self.find(lane) else {
            return;
        };
        self.lanes.remove(index);
        let told = matches!(self.state, State::Joined { .. });
        let tell = ending.told().filter(|_| told);
        self.effects.push(Effect::CloseLane { lane, ending, tell });
    }

    fn find(&self, lane: Lane) -> Option<usize> {
        self.lanes.binary_search_by_key(&lane, |l| l.lane).ok()
    }

    /// The client socket to read at `step` of a round over all of them, and the most bytes to read.
    /// `None`: the round is over, or no bytes can be forwarded; the next round then starts at the
    /// socket that was next.
    pub fn next_read(&mut self, step: usize) -> Option<(Lane, usize)> {
        if step >= self.lanes.len() {
            return None;
        }
        let index = (self.first + step) % self.lanes.len();
        let room = self.room();
        if room == 0 {
            self.first = index;
            return None;
        }
        self.lanes.get(index).map(|lane| (lane.lane, room))
    }

    /// Bytes that can be forwarded or held.
    fn room(&self) -> usize {
        match &self.state {
            State::Joined { written, .. } if written.is_clear() => usize::MAX,
            State::Joined { .. } | State::Ending { .. } | State::Over => 0,
            State::Awaiting { .. } => {
                let held: usize = self.lanes.iter().map(|lane| lane.held).sum();
                HELD_BYTES.saturating_sub(held) / HELD_SHARE
            }
        }
    }

    /// Handles bytes read from a client socket; `held`: bytes kept for the data socket, or until a
    /// message is complete.
    pub fn on_read(&mut self, lane: Lane, held: usize) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(lane) = self.find(lane).and_then(|index| self.lanes.get_mut(index)) {
            lane.heard = turn;
            lane.held = held;
        }
    }

    /// Whether to read the data socket: one is open, and no lane is full.
    pub fn may_read_data(&mut self, now: MonotonicTime) -> bool {
        let full = self.lanes.iter().any(LaneState::is_full);
        match &mut self.state {
            State::Joined { reads, .. } => reads.may_read(now, full),
            State::Awaiting { .. } | State::Ending { .. } | State::Over => false,
        }
    }

    /// Reports the bytes queued for a client socket after a write; see [`WriteStall::update`].
    pub fn on_lane_write(&mut self, now: MonotonicTime, lane: Lane, queued: usize, clear: bool) {
        if let Some(lane) = self.find(lane).and_then(|index| self.lanes.get_mut(index)) {
            lane.written.update(now, queued, clear);
        }
    }

    /// Reports the bytes queued for the data socket after a write; see [`WriteStall::update`].
    pub fn on_data_write(&mut self, now: MonotonicTime, queued: usize, clear: bool) {
        if let State::Joined { written, .. } = &mut self.state {
            written.update(now, queued, clear);
        }
    }

    /// Call when [`SessionLanes::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        let count = self.lanes.len();
        let held_up = match &mut self.state {
            State::Awaiting { until } => {
                if *until <= now {
                    self.end_lanes(Reason::HandshakeTimeout.into());
                }
                false
            }
            State::Joined { written, .. } if written.is_over(now) => {
                self.lose_data(now, Reason::SlowConsumer.into());
                false
            }
            State::Joined { reads, .. } => reads.expire(now, count),
            State::Ending { .. } | State::Over => false,
        };
        let slow = |lane: &&LaneState| lane.written.is_over(now) || (held_up && lane.is_full());
        while let Some(lane) = self.lanes.iter().find(slow).map(|lane| lane.lane) {
            self.end_lane(lane, Reason::SlowConsumer.into());
        }
    }

    /// When to call [`SessionLanes::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let (first, second) = match &self.state {
            State::Awaiting { until } => (Some(*until).filter(|_| !self.lanes.is_empty()), None),
            State::Joined { written, reads } => {
                (written.deadline(), reads.deadline(self.lanes.len()))
            }
            State::Ending { .. } | State::Over => (None, None),
        };
        let lanes = self.lanes.iter().map(|lane| lane.written.deadline());
        lanes.chain([first, second]).flatten().min()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// State of the daemon's side.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether the lane is open.
    pub fn is_open(&self, lane: Lane) -> bool {
        self.find(lane).is_some()
    }

    /// Number of open lanes.
    pub const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Whether the session is to be removed unless a socket is about to join; answer with
    /// [`Input::Retired`] or [`Input::Kept`].
    pub const fn vacancy(&self) -> Option<Vacancy> {
        if !self.lanes.is_empty() {
            return None;
        }
        match self.state {
            State::Awaiting { .. } => Some(Vacancy { afresh: true }),
            State::Joined { .. } | State::Ending { .. } => Some(Vacancy { afresh: false }),
            State::Over => None,
        }
    }

    /// Whether the session is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether a data socket is open.
    pub const fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Hashes the state that determines future behaviour, relative to `now`, for the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        let left = |deadline: Option<MonotonicTime>| deadline.map(|at| at.since(now));
        match &self.state {
            State::Awaiting { until } => left(Some(*until)).hash(hasher),
            State::Joined { written, reads } => {
                (left(written.deadline()), written.queued()).hash(hasher);
                left(reads.deadline(1)).hash(hasher);
            }
            State::Ending { text } => text.reason.hash(hasher),
            State::Over => {}
        }
        std::mem::discriminant(&self.state).hash(hasher);
        let mut order: Vec<_> = self.lanes.iter().map(|lane| lane.heard).collect();
        order.sort_unstable();
        (self.first % self.lanes.len().max(1)).hash(hasher);
        for lane in &self.lanes {
            order.binary_search(&lane.heard).ok().hash(hasher);
            (
                lane.held,
                lane.written.queued(),
                left(lane.written.deadline()),
            )
                .hash(hasher);
        }
    }
}
