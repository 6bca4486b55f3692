//! The client's view of its session: which event was applied last, what arrives again, what to acknowledge.

use bowline_machines::Moment;
use bowline_protocol::{
    Epoch, Resume, SessionState, Stamp,
    handshake::SessionWelcome,
    limits::{ACK_EVENTS, ACK_INTERVAL},
};

/// What an attach means for what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// Everything shown must be fetched (again).
    Fresh,
    /// Nothing was missed that will not come.
    Resumed,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    Apply,
    /// It was applied before (BX-2): a second connection or a replay brought it again.
    Repeated,
    /// Events before it are missing, which the protocol rules out.
    Gap,
    /// It belongs to a numbering that is over.
    Stale,
}

/// The session as one client install sees it, over all its connections (INV-3).
#[derive(Debug, Default)]
pub(crate) struct SessionMirror {
    epoch: Option<Epoch>,
    /// Of the last welcome: what was applied since the epoch began is what the daemon had then.
    stamp: Option<Stamp>,
    last_seq: u64,
    acked: u64,
    /// When the first event after the last acknowledgement was applied.
    unacked_since: Option<Moment>,
}

impl SessionMirror {
    /// Takes note of a welcome.
    pub(crate) fn attached(&mut self, now: Moment, welcome: &SessionWelcome) -> Attached {
        self.stamp.clone_from(&welcome.stamp);
        let same_epoch = self.epoch.as_ref() == Some(&welcome.epoch);
        match welcome.state {
            SessionState::Resumed if same_epoch => {
                // What was acknowledged last may not have arrived, and a hello acknowledges nothing.
                if self.last_seq > 0 {
                    self.unacked_since.get_or_insert(now);
                }
                Attached::Resumed
            }
            // A resume into another numbering than ours cannot be: fetch, to be safe.
            SessionState::Resumed | SessionState::New | SessionState::Reset => {
                self.epoch = Some(welcome.epoch.clone());
                self.last_seq = welcome.next_seq.saturating_sub(1);
                self.acked = self.last_seq;
                self.unacked_since = None;
                Attached::Fresh
            }
        }
    }

    /// Judges an event of a connection that was welcomed into `epoch`.
    pub(crate) fn receive(&mut self, now: Moment, epoch: Option<&Epoch>, seq: u64) -> Verdict {
        if epoch.is_none() || epoch != self.epoch.as_ref() {
            return Verdict::Stale;
        }
        if seq <= self.last_seq {
            return Verdict::Repeated;
        }
        let gap = seq != self.last_seq + 1;
        self.last_seq = seq;
        self.unacked_since.get_or_insert(now);
        if gap { Verdict::Gap } else { Verdict::Apply }
    }

    /// Where the next connection goes on.
    pub(crate) fn cursor(&self) -> Option<Resume> {
        self.epoch.clone().map(|epoch| Resume {
            epoch,
            last_seq: self.last_seq,
            stamp: self.stamp.clone(),
        })
    }

    /// Last event applied.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The cursor to acknowledge now, if it is time: after 64 events or a second.
    pub(crate) fn poll_ack(&mut self, now: Moment) -> Option<Resume> {
        let due = self.last_seq - self.acked >= ACK_EVENTS
            || self.ack_deadline().is_some_and(|deadline| deadline <= now);
        if !due {
            return None;
        }
        self.acked = self.last_seq;
        self.unacked_since = None;
        self.cursor()
    }

    /// When an acknowledgement falls due.
    pub(crate) fn ack_deadline(&self) -> Option<Moment> {
        self.unacked_since.map(|since| since + ACK_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(5_000);

    fn epoch(n: u8) -> Epoch {
        Epoch::from_uuid(uuid::Uuid::from_bytes([n; 16]))
    }

    fn welcome(state: SessionState, n: u8, next_seq: u64) -> SessionWelcome {
        SessionWelcome {
            state,
            epoch: epoch(n),
            next_seq,
            stamp: Some(Stamp::from_uuid(uuid::Uuid::from_bytes([n; 16]))),
        }
    }

    #[test]
    fn bx_2_each_event_is_applied_once_and_in_order_whatever_connection_brings_it() {
        let mut session = SessionMirror::default();
        assert_eq!(
            session.attached(NOW, &welcome(SessionState::New, 1, 1)),
            Attached::Fresh
        );
        let one = epoch(1);
        assert_eq!(session.receive(NOW, Some(&one), 1), Verdict::Apply);
        assert_eq!(session.receive(NOW, Some(&one), 2), Verdict::Apply);
        assert_eq!(
            session.attached(NOW, &welcome(SessionState::Resumed, 1, 4)),
            Attached::Resumed
        );
        assert_eq!(session.receive(NOW, Some(&one), 2), Verdict::Repeated);
        assert_eq!(session.receive(NOW, Some(&one), 3), Verdict::Apply);
        assert_eq!(session.receive(NOW, Some(&epoch(2)), 4), Verdict::Stale);
        assert_eq!(session.receive(NOW, None, 4), Verdict::Stale);
        assert_eq!(session.receive(NOW, Some(&one), 5), Verdict::Gap);
        assert_eq!(session.cursor().unwrap().last_seq, 5);
    }

    #[test]
    fn what_was_acknowledged_on_a_connection_that_broke_is_acknowledged_again() {
        let mut session = SessionMirror::default();
        session.attached(NOW, &welcome(SessionState::New, 1, 1));
        session.receive(NOW, Some(&epoch(1)), 1);
        assert!(session.poll_ack(NOW + ACK_INTERVAL).is_some());
        assert_eq!(session.ack_deadline(), None);
        session.attached(NOW, &welcome(SessionState::Resumed, 1, 2));
        assert_eq!(session.poll_ack(NOW), None);
        let again = session.poll_ack(NOW + ACK_INTERVAL).unwrap();
        assert_eq!(again.last_seq, 1);
    }

    #[test]
    fn lesson_13_the_cursor_is_known_before_any_event() {
        let mut session = SessionMirror::default();
        assert!(session.cursor().is_none());
        session.attached(NOW, &welcome(SessionState::Reset, 3, 41));
        assert_eq!(
            session.cursor(),
            Some(Resume {
                epoch: epoch(3),
                last_seq: 40,
                stamp: welcome(SessionState::Reset, 3, 41).stamp,
            })
        );
    }

    #[test]
    fn acknowledgements_fall_due_after_64_events_or_a_second() {
        let mut session = SessionMirror::default();
        session.attached(NOW, &welcome(SessionState::New, 1, 1));
        assert_eq!(session.poll_ack(NOW), None);
        for seq in 1..64 {
            session.receive(NOW, Some(&epoch(1)), seq);
        }
        assert_eq!(session.poll_ack(NOW), None);
        session.receive(NOW, Some(&epoch(1)), 64);
        assert_eq!(session.poll_ack(NOW).unwrap().last_seq, 64);
        session.receive(NOW, Some(&epoch(1)), 65);
        assert_eq!(session.ack_deadline(), Some(NOW + ACK_INTERVAL));
        assert_eq!(session.poll_ack(NOW + ACK_INTERVAL), session.cursor());
        assert_eq!(session.cursor().unwrap().last_seq, 65);
        assert_eq!(session.ack_deadline(), None);
    }
}
