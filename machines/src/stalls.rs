//! The two kinds of stall of a receiver, and the time limit of each (LS-19).
//!
//! * A socket accepts none of the bytes queued for it: [`WriteStall`], at most [`SOCKET_STALL`].
//! * A lane is full, which blocks reads from the data socket and thereby its other lanes:
//!   [`ReadStall`], at most [`LANE_STALL`], or [`SOCKET_STALL`] if there are no other lanes.

use bowline_protocol::relay::limits::{LANE_STALL, SOCKET_STALL};

use crate::MonotonicTime;

/// Time since a socket last accepted queued bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteStall {
    /// Bytes queued.
    queued: usize,
    /// Bytes accepted so far, for a driver that counts these.
    sent: u64,
    since: Option<MonotonicTime>,
}

impl WriteStall {
    /// Call after every write. `queued`: bytes queued, 0 if the driver cannot tell; `clear`:
    /// nothing is queued, in the layers below included. A queue that became shorter is no stall.
    pub fn update(&mut self, now: MonotonicTime, queued: usize, clear: bool) {
        if clear {
            self.since = None;
        } else if self.since.is_none() || queued < self.queued {
            self.since = Some(now);
        }
        self.queued = queued;
    }

    /// The same for a driver that counts all bytes `sent` so far, and not those queued. One more is
    /// no stall.
    pub fn update_sent(&mut self, now: MonotonicTime, sent: u64, clear: bool) {
        if std::mem::replace(&mut self.sent, sent) != sent {
            self.since = None;
        }
        self.update(now, 0, clear);
    }

    /// Whether nothing is queued.
    pub const fn is_clear(&self) -> bool {
        self.since.is_none()
    }

    /// Bytes queued.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// When the stall exceeds its limit; `None` while nothing is queued.
    pub fn deadline(&self) -> Option<MonotonicTime> {
        self.since.map(|since| since + SOCKET_STALL)
    }

    /// Whether the stall exceeds its limit.
    pub fn is_over(&self, now: MonotonicTime) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

/// Time since a full lane first blocked reads from its data socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadStall {
    since: Option<MonotonicTime>,
}

impl ReadStall {
    /// Whether the data socket may be read; call before every read. `full`: whether any lane is
    /// full.
    pub fn may_read(&mut self, now: MonotonicTime, full: bool) -> bool {
        if full {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
        }
        !full
    }

    /// Whether the last call of [`ReadStall::may_read`] returned false.
    pub const fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// When the full lanes are to be closed; `lanes`: number of all lanes, full or not.
    pub fn deadline(&self, lanes: usize) -> Option<MonotonicTime> {
        let longest = if lanes > 1 { LANE_STALL } else { SOCKET_STALL };
        self.since.map(|since| since + longest)
    }

    /// Whether to close the full lanes now. Returning true ends the stall: the next one has its
    /// full time.
    pub fn expire(&mut self, now: MonotonicTime, lanes: usize) -> bool {
        let over = self.deadline(lanes).is_some_and(|deadline| deadline <= now);
        if over {
            self.since = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_millis(millis)
    }

    #[test]
    fn ls_19_a_socket_that_takes_a_little_is_not_stalled_and_one_that_takes_nothing_is() {
        let mut stall = WriteStall::default();
        stall.update(at(0), 0, true);
        assert_eq!(stall.deadline(), None);
        stall.update(at(10), 500, false);
        stall.update(at(20), 900, false);
        assert_eq!(
            stall.deadline(),
            Some(at(10) + SOCKET_STALL),
            "more to write is no progress"
        );
        stall.update(at(30), 899, false);
        assert_eq!(stall.deadline(), Some(at(30) + SOCKET_STALL));
        assert!(!stall.is_over(at(29) + SOCKET_STALL));
        assert!(stall.is_over(at(30) + SOCKET_STALL));
        stall.update(at(40), 0, true);
        assert!(stall.is_clear());
    }

    #[test]
    fn rl_4_a_full_lane_has_less_time_when_others_wait_for_it() {
        let mut stall = ReadStall::default();
        assert!(stall.may_read(at(0), false));
        assert!(!stall.may_read(at(5), true));
        assert!(!stall.may_read(at(9), true));
        assert_eq!(stall.deadline(1), Some(at(5) + SOCKET_STALL));
        assert_eq!(stall.deadline(2), Some(at(5) + LANE_STALL));
        assert!(!stall.expire(at(4) + LANE_STALL, 2));
        assert!(stall.expire(at(5) + LANE_STALL, 2));
        assert_eq!(stall.deadline(2), None, "told once");
        assert!(!stall.may_read(at(900), true));
        assert!(stall.may_read(at(901), false));
        assert!(!stall.is_on());
    }
}
