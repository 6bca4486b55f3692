//! Is the other end of a socket still there? One question after a silence, the end after twice as much.
//!
//! Any received byte answers (lesson 16). A timer that comes far too late means that this machine slept: the other end is
//! asked once more instead of blamed (lesson 5).

use std::time::Duration;

use crate::Moment;

/// Bounds put on what a peer may ask for: never a ping storm, never a dead peer unnoticed for long.
const HEARTBEATS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing.
    Wait,
    /// Ask whether the other end is there.
    Ask,
    /// It is gone.
    Dead,
}

/// The liveness of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    every: Duration,
    jump: Duration,
    heard: Moment,
    /// Asked, and when the silence that follows is the end.
    asked: Option<Moment>,
    /// Somebody has a reason to believe that it is the end.
    doubted: bool,
}

impl Heartbeat {
    /// For a socket that was heard of now. `every` is bounded; `jump` is how late a timer may be.
    pub fn new(now: Moment, every: Duration, jump: Duration) -> Self {
        let (least, most) = HEARTBEATS;
        Self {
            every: every.clamp(least, most),
            jump,
            heard: now,
            asked: None,
            doubted: false,
        }
    }

    /// Silence after which the other end is asked.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Bytes arrived. On the hot path: two stores.
    pub const fn heard(&mut self, now: Moment) {
        self.heard = now;
        self.asked = None;
        self.doubted = false;
    }

    /// When [`Heartbeat::on_timer`] wants to be called.
    pub fn deadline(&self) -> Moment {
        self.asked.unwrap_or(self.heard + self.every)
    }

    /// The timer fired, perhaps early, perhaps far too late. `held_up`: bytes wait to be sent or to be read, so that question
    /// or answer may be stuck behind them; that excuses silence, unless somebody doubts.
    pub fn on_timer(&mut self, now: Moment, held_up: bool) -> Pulse {
        let deadline = self.deadline();
        if now < deadline {
            return Pulse::Wait;
        }
        if held_up && !self.doubted {
            self.heard(now);
            return Pulse::Wait;
        }
        if self.asked.is_some() && now.since(deadline) <= self.jump {
            return Pulse::Dead;
        }
        self.asked = Some(now + self.every);
        Pulse::Ask
    }

    /// Someone doubts that the other end is there. Never moves the end of a question under way further off, so that
    /// repeated doubts cannot keep a dead socket.
    pub fn doubt(&mut self, now: Moment) -> Pulse {
        self.doubted = true;
        if self.asked.is_some() {
            return Pulse::Wait;
        }
        self.asked = Some(now + self.every);
        Pulse::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    fn beat() -> Heartbeat {
        Heartbeat::new(at(0), Duration::from_secs(4), Duration::from_secs(3))
    }

    #[test]
    fn lesson_3_silence_is_asked_after_one_heartbeat_and_the_end_after_two() {
        let mut beat = beat();
        assert_eq!(beat.on_timer(at(3), false), Pulse::Wait);
        assert_eq!(beat.on_timer(at(4), false), Pulse::Ask);
        assert_eq!(beat.deadline(), at(8));
        assert_eq!(beat.on_timer(at(7), false), Pulse::Wait);
        assert_eq!(beat.on_timer(at(8), false), Pulse::Dead);
    }

    #[test]
    fn lesson_16_any_byte_is_life() {
        let mut beat = beat();
        beat.on_timer(at(4), false);
        beat.heard(at(7));
        assert_eq!(beat.deadline(), at(11));
        assert_eq!(beat.on_timer(at(11), false), Pulse::Ask);
    }

    #[test]
    fn lesson_5_a_machine_that_slept_asks_again() {
        let mut beat = beat();
        beat.on_timer(at(4), false);
        assert_eq!(beat.on_timer(at(900), false), Pulse::Ask, "slept, not dead");
        assert_eq!(beat.on_timer(at(904), false), Pulse::Dead);
    }

    #[test]
    fn doubts_do_not_keep_a_dead_socket() {
        let mut beat = beat();
        assert_eq!(beat.doubt(at(1)), Pulse::Ask);
        assert_eq!(beat.doubt(at(4)), Pulse::Wait);
        assert_eq!(beat.on_timer(at(5), false), Pulse::Dead);
    }

    #[test]
    fn what_is_stuck_behind_other_bytes_is_no_silence_unless_somebody_doubts() {
        let mut beat = beat();
        beat.on_timer(at(4), false);
        assert_eq!(beat.on_timer(at(8), true), Pulse::Wait);
        assert_eq!(beat.deadline(), at(12));
        beat.doubt(at(9));
        assert_eq!(beat.on_timer(at(13), true), Pulse::Dead);
    }

    #[test]
    fn what_a_peer_asks_for_is_bounded() {
        let wild = |every| Heartbeat::new(at(0), every, Duration::ZERO).every();
        assert_eq!(wild(Duration::ZERO), Duration::from_millis(10));
        assert_eq!(wild(Duration::MAX), Duration::from_secs(60));
    }
}
