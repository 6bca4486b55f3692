//! The adaptive failure detector of a client's connection: whether its path may be dead while a
//! request waits (SP-1).
//!
//! It is active only while the host has another working path ([`FailureDetector::set_armed`]), and
//! while a request is unanswered or events arrived within the last 2 s. Silence then causes an
//! early ping, and a ping unanswered within the deadline of [`RoundTrips`] makes the connection
//! suspected. A suspicion closes nothing: the host tries the other path beside this one, and any
//! received byte ends it. [`super::Liveness`] alone declares a connection dead.
//!
//! ```text
//!   Listening ── silence while requests wait: ping ───► Asked ── no byte within the deadline ──► Suspected
//!       ▲                                                 │                                          │
//!       └───────────────── received ──────────────────────┴──────────────────────────────────────────┘
//! ```

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use super::{RoundTrips, time_lost};
use crate::MonotonicTime;

/// Least silence before an early ping, doubled after the first answered one: two deadlines and the
/// dial of the other path must fit into one second.
const SILENCE: Duration = Duration::from_millis(250);
/// Time after its last event for which a stream is expected to continue.
const STREAM: Duration = Duration::from_secs(2);

/// Action for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorAction {
    /// Nothing.
    Wait,
    /// Send a ping.
    Ping,
    /// Report to the host that the path may be dead.
    Suspect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No ping is in flight.
    Listening {
        /// Whether an early ping was answered since requests began to wait; the next silence may
        /// then be longer.
        answered: bool,
    },
    /// An early ping is in flight.
    Asked { deadline: MonotonicTime },
    /// The early ping was not answered in time.
    Suspected,
}

/// The detector of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailureDetector {
    round_trips: RoundTrips,
    is_armed: bool,
    /// Time since which a request is unanswered.
    waiting_since: Option<MonotonicTime>,
    /// Time of the last event, or of the opening of the connection.
    streamed_at: Option<MonotonicTime>,
    phase: Phase,
}

impl Default for FailureDetector {
    fn default() -> Self {
        Self {
            round_trips: RoundTrips::default(),
            is_armed: false,
            waiting_since: None,
            streamed_at: None,
            phase: Phase::Listening { answered: false },
        }
    }
}

impl FailureDetector {
    /// Handles an opened connection, whose handshake took `round_trip`. Missed events and a stream
    /// begun on the previous connection are expected to follow. The host arms the detector again.
    pub fn opened(&mut self, now: MonotonicTime, round_trip: Duration) {
        *self = Self {
            streamed_at: Some(now),
            ..Self::default()
        };
        self.round_trips.record(round_trip);
    }

    /// Sets whether there is another working path.
    pub fn set_armed(&mut self, is_armed: bool) {
        self.is_armed = is_armed;
        if !is_armed && self.phase != Phase::Suspected {
            self.phase = Phase::Listening { answered: false };
        }
    }

    /// Sets whether a request is unanswered, as of `now`.
    pub fn set_waiting(&mut self, now: MonotonicTime, is_waiting: bool) {
        if is_waiting && self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            self.begin();
        } else if !is_waiting {
            self.waiting_since = None;
        }
    }

    /// Handles received events. Hot path: a few stores.
    pub fn streamed(&mut self, now: MonotonicTime) {
        self.streamed_at = Some(now);
        self.begin();
    }

    fn begin(&mut self) {
        if let Phase::Listening { answered } = &mut self.phase {
            *answered = false;
        }
    }

    /// Handles received bytes. Hot path. Returns true if that ends a suspicion.
    pub fn heard(&mut self) -> bool {
        match self.phase {
            Phase::Listening { .. } => false,
            Phase::Asked { .. } => {
                self.phase = Phase::Listening { answered: true };
                false
            }
            Phase::Suspected => {
                self.phase = Phase::Listening { answered: false };
                true
            }
        }
    }

    /// Handles an answered ping, or an answered request, whose time may include the daemon's work.
    pub fn answered(&mut self, round_trip: Duration, is_ping: bool) {
        if is_ping {
            self.round_trips.record(round_trip);
        } else {
            self.round_trips.record_request(round_trip);
        }
    }

    /// When to call [`Self::on_timer`] next; `None` while inactive. `heard`: when bytes last
    /// arrived.
    pub fn deadline(&self, heard: MonotonicTime) -> Option<MonotonicTime> {
        if !self.is_armed {
            return None;
        }
        match self.phase {
            Phase::Listening { answered } => {
                let least = if answered { SILENCE * 2 } else { SILENCE };
                let silence = self.round_trips.deadline().max(least);
                if let Some(since) = self.waiting_since {
                    return Some(heard.max(since) + silence);
                }
                let expected_until = self.streamed_at? + STREAM;
                Some(heard + silence).filter(|at| *at <= expected_until)
            }
            Phase::Asked { deadline } => Some(deadline),
            Phase::Suspected => None,
        }
    }

    /// Handles the timer, which may fire early or late. This process may have been suspended for as
    /// long as the path was silent, so a timer later than the path's deadline counts as a clock
    /// jump: the peer is pinged again.
    pub fn on_timer(&mut self, now: MonotonicTime, heard: MonotonicTime) -> DetectorAction {
        let Some(due) = self.deadline(heard).filter(|due| *due <= now) else {
            return DetectorAction::Wait;
        };
        let patience = self.round_trips.deadline();
        let is_asked = matches!(self.phase, Phase::Asked { .. });
        if is_asked && time_lost(now, due, patience).is_none() {
            self.phase = Phase::Suspected;
            return DetectorAction::Suspect;
        }
        self.phase = Phase::Asked {
            deadline: now + patience,
        };
        DetectorAction::Ping
    }

    /// Hashes the state that determines future behaviour, relative to `now`.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, heard: MonotonicTime, hasher: &mut H) {
        let phase = match self.phase {
            Phase::Listening { answered } => u8::from(answered),
            Phase::Asked { .. } => 2,
            Phase::Suspected => 3,
        };
        let expected = self.streamed_at.map(|at| (at + STREAM).since(now));
        (phase, self.is_armed, self.round_trips.deadline()).hash(hasher);
        (
            self.waiting_since.is_some(),
            expected.filter(|left| !left.is_zero()),
            self.deadline(heard)
                .map(|at| (at.since(now), now.since(at))),
        )
            .hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: MonotonicTime = MonotonicTime::from_millis(1_000_000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn armed() -> FailureDetector {
        let mut detector = FailureDetector::default();
        detector.opened(START, ms(20));
        detector.set_armed(true);
        detector
    }

    #[test]
    fn sp_1_silence_under_a_stream_is_suspected_after_two_deadlines() {
        let mut it = armed();
        it.streamed(START);
        assert_eq!(it.deadline(START), Some(START + ms(250)));
        assert_eq!(it.on_timer(START + ms(249), START), DetectorAction::Wait);
        assert_eq!(it.on_timer(START + ms(250), START), DetectorAction::Ping);
        assert_eq!(it.on_timer(START + ms(500), START), DetectorAction::Suspect);
        assert_eq!(it.deadline(START), None, "the host knows");
        assert!(it.heard(), "any byte ends it");
        assert!(!it.heard());
    }

    /// A path that freezes right after a switch: the stream belongs to the session, whichever
    /// connection carries it.
    #[test]
    fn sp_1_a_connection_that_just_opened_is_watched_before_its_first_event() {
        let it = armed();
        assert_eq!(it.deadline(START), Some(START + ms(250)));
        assert_eq!(it.deadline(START + ms(1_900)), None, "for two seconds");
    }

    #[test]
    fn sp_1_a_request_that_waits_is_watched_from_its_sending() {
        let mut it = armed();
        let sent = START + ms(3_000);
        it.set_waiting(sent, true);
        assert_eq!(it.deadline(START), Some(sent + ms(250)));
        it.set_waiting(sent + ms(100), true);
        assert_eq!(
            it.deadline(START),
            Some(sent + ms(250)),
            "the oldest counts"
        );
        it.set_waiting(sent + ms(200), false);
        assert_eq!(it.deadline(sent), None, "nothing waits any more");
    }

    #[test]
    fn sp_1_a_stream_that_ends_costs_few_pings() {
        let mut it = armed();
        it.streamed(START);
        let (mut heard, mut pings) = (START, 0);
        while let Some(at) = it.deadline(heard) {
            assert_eq!(it.on_timer(at, heard), DetectorAction::Ping);
            heard = at + ms(20);
            assert!(!it.heard());
            pings += 1;
        }
        assert!(heard.since(START) < STREAM && pings <= 4, "{pings}");
    }

    #[test]
    fn sp_1_nothing_is_asked_where_no_other_path_is() {
        let mut it = armed();
        it.streamed(START);
        it.set_armed(false);
        assert_eq!(it.deadline(START), None);
    }

    #[test]
    fn ls_5_a_process_that_stood_still_asks_again() {
        let mut it = armed();
        it.set_waiting(START, true);
        assert_eq!(it.on_timer(START + ms(250), START), DetectorAction::Ping);
        assert_eq!(it.on_timer(START + ms(900), START), DetectorAction::Ping);
        assert_eq!(
            it.on_timer(START + ms(1_150), START),
            DetectorAction::Suspect
        );
    }
}
