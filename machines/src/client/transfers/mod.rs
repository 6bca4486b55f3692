//! One blob on its way (LD-8): what is asked for next, how much at once, and when again.
//!
//! ```text
//!            ┌────────────lost, refused for now──────────┐
//!            ▼                                           │
//!  waiting ──due──► asking ──how much is there──► moving ─┴─all is there──► over
//!                     └──────refused for good, cancelled──────────────────► over
//! ```
//!
//! Whatever happens, a transfer goes on at what the other side, or the file here, has: it asks
//! first. The bytes on their way are bounded by a window, which grows while answers come about as
//! fast as an empty one did, and shrinks when they come late, so that a blob does not make pings
//! and events wait on a slow link.

mod refusals;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use bowline_protocol::limits::BLOB_PIECE_BYTES;

use self::refusals::Old;
pub use self::refusals::{GiveUp, Refusal};
use crate::{MonotonicTime, effects::EffectQueue};

/// Bytes on their way at first.
const FIRST_WINDOW: u64 = 64 * 1024;
/// Fewest bytes on their way, unless the daemon takes smaller pieces only.
const LEAST_WINDOW: u64 = 16 * 1024;
/// Fewest bytes in a piece that is not the last one; the smallest message of a daemon holds it.
const LEAST_PIECE: u64 = 1024;
/// Most requests on their way, well below what a daemon queues for one device.
const MOST_REQUESTS: usize = 8;
/// Answers in a row that bring nothing, after which it gives up.
const MOST_STALLS: u32 = 6;
/// Most bytes on their way.
const MOST_WINDOW: u64 = 2 << 20;
/// Delay by a queue, beyond the round trip without one, up to which the window grows …
const EARLY: Duration = Duration::from_millis(150);
/// … and from which on it shrinks.
const LATE: Duration = Duration::from_millis(600);
/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause after a failure, unless the daemon asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the daemon.
    Put,
    /// From the daemon.
    Get,
}

/// One try of a transfer. A result of an earlier one is ignored (INV-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(u64);

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask how much of the blob the daemon has.
    Ask(Attempt),
    /// Send these bytes.
    Put(Attempt, Part),
    /// Get these bytes.
    Get(Attempt, Part),
    /// Ask for the size of the blob, and report it with [`Transfer::sized`].
    Size(Attempt),
    /// Drop the bytes that are here.
    Clear,
    /// All requests of earlier attempts are over: drop them.
    Abandon,
    /// All bytes are there. If they turn out to be others, report [`Transfer::corrupt`].
    Finish,
    /// It is over.
    GiveUp(GiveUp),
}

/// Some of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Of the first.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Waiting {
        until: MonotonicTime,
    },
    Asking {
        since: MonotonicTime,
    },
    /// The size of a blob is asked for, of which more is here than the daemon sends.
    Sizing,
    Moving,
    Over,
}

/// The machine of one transfer. The driver reports the answers of an attempt in the order in which
/// it got the effects.
#[derive(Clone, Debug)]
pub struct Transfer {
    direction: Direction,
    state: State,
    attempt: Attempt,
    /// All bytes; of a get unknown until the first answer.
    size: Option<u64>,
    /// Bytes that are there, at the daemon or here.
    done: u64,
    /// Most bytes that ever were.
    most: u64,
    /// The next byte to ask for or to send.
    next: u64,
    window: u64,
    /// Most bytes of a piece.
    piece: u64,
    on_their_way: VecDeque<(Part, MonotonicTime)>,
    /// The fastest answer of this attempt.
    fastest: Option<Duration>,
    pause: Duration,
    /// Answers since something moved that brought nothing.
    stalls: u32,
    old: Old,
    is_parked: bool,
    effects: EffectQueue<Effect>,
}

impl Transfer {
    /// Puts a blob of so many bytes.
    pub fn put(now: MonotonicTime, size: u64) -> Self {
        Self::new(now, Direction::Put, Some(size), 0)
    }

    /// Gets a blob of which `have` bytes are here.
    pub fn get(now: MonotonicTime, have: u64) -> Self {
        Self::new(now, Direction::Get, None, have)
    }

    fn new(now: MonotonicTime, direction: Direction, size: Option<u64>, done: u64) -> Self {
        let mut transfer = Self {
            direction,
            state: State::Waiting { until: now },
            attempt: Attempt::default(),
            size,
            done,
            most: done,
            next: done,
            window: FIRST_WINDOW,
            piece: BLOB_PIECE_BYTES as u64,
            on_their_way: VecDeque::new(),
            fastest: None,
            pause: FIRST_PAUSE,
            stalls: 0,
            old: Old::default(),
            is_parked: false,
            effects: EffectQueue::default(),
        };
        transfer.begin(now);
        transfer
    }

    /// Bytes that are there, and all bytes if that is known.
    pub const fn progress(&self) -> (u64, Option<u64>) {
        (self.done, self.size)
    }

    /// Whether bytes move; otherwise it waits for a connection or a first answer.
    pub const fn is_moving(&self) -> bool {
        matches!(self.state, State::Moving)
    }

    /// The daemon answered a request without bytes, or took a piece: it has so many bytes, or all.
    pub fn taken(&mut self, now: MonotonicTime, attempt: Attempt, have: u64, is_all: bool) {
        if attempt != self.attempt {
            return;
        }
        let size = self.size.unwrap_or(0);
        match self.state {
            _ if is_all => {
                self.done = size;
                self.finish();
            }
            State::Asking { since } => {
                if !self.goes_on_at(have) {
                    return self.give_up(GiveUp::Refused);
                }
                self.measured(now.since(since), false);
                (self.done, self.next) = (have.min(size), have.min(size));
                if have >= size {
                    return self.stalled(now, GiveUp::Stalled);
                }
                self.state = State::Moving;
                self.fill(now);
            }
            State::Moving => self.moved(now, have),
            State::Waiting { .. } | State::Sizing | State::Over => {}
        }
    }

    fn moved(&mut self, now: MonotonicTime, have: u64) {
        let Some((part, sent)) = self.on_their_way.pop_front() else {
            return;
        };
        self.measured(now.since(sent), true);
        if have != part.offset + part.length {
            // Another connection, or a restart, came between: it has something else than was
            // believed. After a pause, for a daemon whose answers never fit.
            return self.failed(now, self.attempt, None);
        }
        if self.size.is_some_and(|size| have >= size) {
            return self.stalled(now, GiveUp::Stalled);
        }
        self.progressed(have);
        self.fill(now);
    }

    /// Bytes came, at most as many as were asked for, of a blob of that size.
    pub fn came(&mut self, now: MonotonicTime, attempt: Attempt, length: u64, size: u64) {
        if attempt != self.attempt || !matches!(self.state, State::Asking { .. } | State::Moving) {
            return;
        }
        let Some((part, sent)) = self.on_their_way.pop_front() else {
            return;
        };
        let since = now.since(sent);
        self.measured(since, matches!(self.state, State::Moving));
        self.size = Some(size);
        if length == 0 && part.offset < size {
            return self.stalled(now, GiveUp::Stalled);
        }
        self.state = State::Moving;
        let end = part.offset.saturating_add(length).min(size);
        self.progressed(end);
        if end >= size {
            return self.finish();
        }
        if length < part.length {
            // The daemon sends less at once; what else is on its way begins too far on.
            self.piece = length.max(LEAST_PIECE);
            return self.again(now);
        }
        self.fill(now);
    }

    /// A request failed but may succeed later, after `pause` at the earliest.
    pub fn failed(&mut self, now: MonotonicTime, attempt: Attempt, pause: Option<Duration>) {
        if attempt != self.attempt || self.state == State::Over {
            return;
        }
        let wait = self.pause.max(pause.unwrap_or_default());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.stop();
        self.window = FIRST_WINDOW;
        self.state = State::Waiting { until: now + wait };
    }

    /// A piece was larger than a message may be: smaller ones are tried.
    pub fn too_large(&mut self, now: MonotonicTime, attempt: Attempt) {
        if attempt != self.attempt || self.state == State::Over {
            return;
        }
        if self.piece <= LEAST_PIECE {
            return self.give_up(GiveUp::TooLarge);
        }
        self.piece = (self.piece / 2).max(LEAST_PIECE);
        self.again(now);
    }

    /// Ends it: it was cancelled, or refused for good.
    pub fn end(&mut self) {
        self.stop();
        self.state = State::Over;
    }

    /// Call when [`Transfer::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        if let State::Waiting { until } = self.state
            && until <= now
        {
            self.begin(now);
        }
    }

    /// When to call [`Transfer::handle_timeout`] next. Requests have deadlines of their own, past
    /// which they fail.
    pub const fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Asking { .. } | State::Sizing | State::Moving | State::Over => None,
        }
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    fn begin(&mut self, now: MonotonicTime) {
        self.attempt = Attempt(self.attempt.0.saturating_add(1));
        self.fastest = None;
        self.is_parked = false;
        self.state = State::Asking { since: now };
        match self.direction {
            Direction::Put => self.effects.push(Effect::Ask(self.attempt)),
            Direction::Get => {
                self.next = self.done;
                self.request(now, LEAST_WINDOW.min(self.piece));
            }
        }
    }

    fn again(&mut self, now: MonotonicTime) {
        self.stop();
        self.begin(now);
    }

    fn stop(&mut self) {
        self.on_their_way.clear();
        self.attempt = Attempt(self.attempt.0.saturating_add(1));
        self.effects.take_if(|_| true);
        self.effects.push(Effect::Abandon);
    }

    fn finish(&mut self) {
        self.stop();
        self.state = State::Over;
        self.effects.push(Effect::Finish);
    }

    /// An answer brought nothing: the next try comes after a pause, and the last one ends it.
    fn stalled(&mut self, now: MonotonicTime, why: GiveUp) {
        self.stalls += 1;
        if self.stalls < MOST_STALLS {
            return self.failed(now, self.attempt, None);
        }
        self.give_up(why);
    }

    fn progressed(&mut self, done: u64) {
        self.done = done;
        // Bytes that were there before are no news: the other side may lose them again.
        if done > self.most {
            self.most = done;
            self.stalls = 0;
            self.pause = FIRST_PAUSE;
        }
    }

    /// Adapts the window to how long an answer took.
    fn measured(&mut self, took: Duration, is_piece: bool) {
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        let queued = took.saturating_sub(fastest);
        if is_piece && queued <= EARLY {
            self.window = (self.window * 2).min(MOST_WINDOW);
        } else if queued >= LATE {
            self.window = (self.window / 2).max(LEAST_WINDOW);
        }
    }

    /// Asks for as much as the window has room for.
    fn fill(&mut self, now: MonotonicTime) {
        let size = self.size.unwrap_or(0);
        let mut flying: u64 = self.on_their_way.iter().map(|(part, _)| part.length).sum();
        while self.next < size && self.on_their_way.len() < MOST_REQUESTS {
            // Several pieces on their way keep the link busy while answers come back.
            let quarter = (self.window / 4).max(LEAST_WINDOW);
            let length = self.piece.min(quarter).min(size - self.next);
            if flying > 0 && flying + length > self.window {
                return;
            }
            flying += length;
            self.request(now, length);
        }
    }

    fn request(&mut self, now: MonotonicTime, length: u64) {
        let part = Part {
            offset: self.next,
            length,
        };
        self.next += length;
        self.on_their_way.push_back((part, now));
        self.effects.push(match self.direction {
            Direction::Put => Effect::Put(self.attempt, part),
            Direction::Get => Effect::Get(self.attempt, part),
        });
    }
}
