//! Tests of the session cursor.

use super::*;

const NOW: MonotonicTime = MonotonicTime::from_millis(5_000);

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

/// Online and attached to a new session.
fn attached() -> SessionCursor {
    let mut cursor = SessionCursor::default();
    cursor.set_gate(NOW, AckGate::Open);
    cursor.attached(NOW, &welcome(SessionState::New, 1, 1));
    cursor
}

fn acked(cursor: &mut SessionCursor) -> Option<u64> {
    match cursor.poll_effect()? {
        Effect::Ack(resume) => Some(resume.last_seq),
        Effect::Refetch => panic!("nothing is missing"),
    }
}

#[test]
fn every_welcome_means_what_the_table_says() {
    use SessionState::{New, Reset, Resumed};
    for (state, n, means, last_seq) in [
        (Resumed, 1, Resumed, 2),
        (Resumed, 2, Reset, 6),
        (Reset, 1, Reset, 6),
        (Reset, 2, Reset, 6),
        (New, 1, New, 6),
        (New, 2, New, 6),
    ] {
        let mut cursor = attached();
        cursor.receive(NOW, Some(&epoch(1)), 1);
        cursor.receive(NOW, Some(&epoch(1)), 2);
        let session = cursor.attached(NOW, &welcome(state, n, 7));
        assert_eq!((session, cursor.last_seq()), (means, last_seq), "{state:?}");
        let resume = cursor.position().unwrap();
        assert_eq!(
            (resume.epoch, resume.stamp),
            (epoch(n), welcome(state, n, 7).stamp)
        );
    }
}

#[test]
fn bx_2_each_event_is_applied_once_and_in_order_whatever_connection_brings_it() {
    let mut cursor = attached();
    let one = epoch(1);
    assert_eq!(cursor.receive(NOW, Some(&one), 1), EventCheck::Next);
    assert_eq!(cursor.receive(NOW, Some(&one), 2), EventCheck::Next);
    let session = cursor.attached(NOW, &welcome(SessionState::Resumed, 1, 4));
    assert_eq!(session, SessionState::Resumed);
    assert_eq!(cursor.receive(NOW, Some(&one), 2), EventCheck::Repeated);
    assert_eq!(cursor.receive(NOW, Some(&one), 3), EventCheck::Next);
    assert_eq!(cursor.receive(NOW, Some(&epoch(2)), 4), EventCheck::Stale);
    assert_eq!(cursor.receive(NOW, None, 4), EventCheck::Stale);
    assert_eq!(cursor.poll_effect(), None);
    assert_eq!(cursor.receive(NOW, Some(&one), 5), EventCheck::AfterGap);
    assert_eq!(cursor.poll_effect(), Some(Effect::Refetch));
    assert_eq!(cursor.poll_effect(), None);
    assert_eq!(cursor.last_seq(), 5);
    let counts = Counts {
        resumed: 1,
        reset: 1,
        applied: 3,
        repeated: 1,
        stale: 2,
        gaps: 1,
    };
    assert_eq!(cursor.counts(), counts);
}

#[test]
fn what_was_acknowledged_on_a_connection_that_broke_is_acknowledged_again() {
    let mut cursor = attached();
    cursor.receive(NOW, Some(&epoch(1)), 1);
    cursor.handle_timeout(NOW + ACK_INTERVAL);
    assert_eq!(acked(&mut cursor), Some(1));
    assert_eq!(cursor.poll_timeout(), None);
    cursor.attached(NOW, &welcome(SessionState::Resumed, 1, 2));
    assert_eq!(acked(&mut cursor), None);
    cursor.handle_timeout(NOW + ACK_INTERVAL);
    assert_eq!(acked(&mut cursor), Some(1));
}

#[test]
fn ls_13_the_cursor_is_known_before_any_event() {
    let mut cursor = SessionCursor::default();
    assert!(cursor.position().is_none());
    cursor.attached(NOW, &welcome(SessionState::Reset, 3, 41));
    assert_eq!(
        cursor.position(),
        Some(Resume {
            epoch: epoch(3),
            last_seq: 40,
            stamp: welcome(SessionState::Reset, 3, 41).stamp,
        })
    );
}

#[test]
fn acknowledgements_fall_due_after_64_events_or_a_second() {
    let mut cursor = attached();
    assert_eq!(acked(&mut cursor), None);
    for seq in 1..64 {
        cursor.receive(NOW, Some(&epoch(1)), seq);
    }
    assert_eq!(acked(&mut cursor), None);
    cursor.receive(NOW, Some(&epoch(1)), 64);
    assert_eq!(acked(&mut cursor), Some(64));
    cursor.receive(NOW, Some(&epoch(1)), 65);
    assert_eq!(cursor.poll_timeout(), Some(NOW + ACK_INTERVAL));
    cursor.handle_timeout(NOW + ACK_INTERVAL);
    assert_eq!(acked(&mut cursor), Some(65));
    assert_eq!(cursor.poll_timeout(), None);
}

#[test]
fn nothing_is_acknowledged_while_offline_or_while_another_client_is_on_its_way() {
    for gate in [AckGate::Offline, AckGate::Switching] {
        let mut cursor = attached();
        cursor.set_gate(NOW, gate);
        for seq in 1..=64 {
            cursor.receive(NOW, Some(&epoch(1)), seq);
        }
        assert_eq!((acked(&mut cursor), cursor.poll_timeout()), (None, None));
        cursor.set_gate(NOW, AckGate::Open);
        assert_eq!(acked(&mut cursor), Some(64));
    }
}
