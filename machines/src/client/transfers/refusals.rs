//! What a transfer makes of refusals, and of bytes that turn out to be wrong: it moves all of them
//! again once, tries later, or ends.

use std::time::Duration;

use super::{Attempt, Direction, Effect, State, Transfer};
use crate::MonotonicTime;

/// A refusal of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Of the parameters (−32602): perhaps of bytes that are not those of the blob.
    Params,
    /// Final for another reason.
    Final,
    /// The daemon failed by itself (−32603), which another try may not mend.
    Broken,
    /// It may succeed later, after this pause at the earliest.
    Later(Option<Duration>),
}

/// Why a transfer is over without being whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// The daemon refused it, as it said last.
    Refused,
    /// The daemon answers, but again and again without what it says it has, or without taking what
    /// it was sent.
    Stalled,
    /// The smallest piece is larger than a message may be.
    TooLarge,
    /// What was got is not the blob, again.
    Corrupt,
}

/// Whether bytes that were there before may be the wrong ones, as after a power loss.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Old {
    /// The other side, or the file here, had some.
    are_there: bool,
    /// All were moved again once; another time it would be no use.
    were_dropped: bool,
    /// The daemon refused something for now.
    was_refused: bool,
}

impl Old {
    /// Whether all bytes are to be moved again.
    const fn drop_once(&mut self) -> bool {
        let is_first = !self.were_dropped;
        self.were_dropped = true;
        is_first
    }
}

impl Transfer {
    /// The daemon refused a request.
    pub fn refused(&mut self, now: MonotonicTime, attempt: Attempt, refusal: Refusal) {
        if attempt != self.attempt || self.state == State::Over {
            return;
        }
        match (refusal, self.direction) {
            (Refusal::Later(pause), _) => {
                self.old.was_refused = true;
                self.failed(now, attempt, pause);
                self.is_parked = true;
            }
            (Refusal::Broken, _) => self.stalled(now, GiveUp::Refused),
            (Refusal::Final, _) => self.give_up(GiveUp::Refused),
            // What the daemon had is not of this blob, and is dropped there.
            (Refusal::Params, Direction::Put) => self.move_again(now),
            // More is here than the blob has, or it was something else: asked before anything here
            // is dropped.
            (Refusal::Params, Direction::Get) if self.state != State::Sizing => {
                self.stop();
                self.state = State::Sizing;
                self.effects.push(Effect::Size(self.attempt));
            }
            (Refusal::Params, Direction::Get) => self.give_up(GiveUp::Refused),
        }
    }

    /// The size of the blob, as [`Effect::Size`] asked for.
    pub fn sized(&mut self, now: MonotonicTime, attempt: Attempt, size: u64) {
        if attempt == self.attempt && self.state == State::Sizing {
            self.old.are_there = self.done > size;
            self.move_again(now);
        }
    }

    /// What was got is not the blob, and was dropped.
    pub fn corrupt(&mut self, now: MonotonicTime) {
        if !self.old.drop_once() {
            return self.give_up(GiveUp::Corrupt);
        }
        self.done = 0;
        self.again(now);
    }

    /// Whether others may move while it waits: the daemon refused it for now.
    pub const fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// The daemon said how much it has of a blob that is put. Returns whether it goes on: not if
    /// what the daemon had taken is lost again, after a refusal.
    pub(super) const fn goes_on_at(&mut self, have: u64) -> bool {
        if have > 0 {
            self.old.are_there = true;
        }
        have >= self.done || self.old.drop_once() || !self.old.was_refused
    }

    /// Drops the bytes that are there, once, and moves all of them again.
    fn move_again(&mut self, now: MonotonicTime) {
        if !self.old.are_there || !self.old.drop_once() {
            return self.give_up(GiveUp::Refused);
        }
        self.done = 0;
        self.stop();
        if self.direction == Direction::Get {
            self.effects.push(Effect::Clear);
        }
        self.begin(now);
    }

    pub(super) fn give_up(&mut self, why: GiveUp) {
        self.end();
        self.effects.push(Effect::GiveUp(why));
    }
}
