//! Every short history of a session cursor: welcomes and events of several connections in any
//! order.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::time::Duration;

use bowline_machines::{
    MonotonicTime,
    client::cursor::{AckGate, AckPolicy, Effect, EventCheck, SessionCursor},
};
use bowline_protocol::{Epoch, SessionState, handshake::SessionWelcome};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const POLICY: AckPolicy = AckPolicy {
    events: 2,
    interval: Duration::from_secs(1),
};
/// Largest number of an event.
const MOST: u64 = 8;

#[derive(Clone)]
struct Node {
    cursor: SessionCursor,
    gate: AckGate,
    /// The event of the numbering that the displayed data is as of.
    shown: Option<(u8, u64)>,
    /// Whether the displayed data lacks the events of a gap.
    lacks: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Attached {
        state: SessionState,
        epoch: u8,
        next_seq: u64,
    },
    Event {
        epoch: Option<u8>,
        seq: u64,
    },
    Gate(AckGate),
    Timer,
}

struct Cursors;

fn epoch(n: u8) -> Epoch {
    Epoch::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

impl Model for Cursors {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        vec![Node {
            cursor: SessionCursor::new(POLICY),
            gate: AckGate::Offline,
            shown: None,
            lacks: false,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps: Vec<_> = [AckGate::Offline, AckGate::Switching, AckGate::Open]
            .map(Step::Gate)
            .into();
        for epoch in [1, 2] {
            for state in [
                SessionState::Resumed,
                SessionState::Reset,
                SessionState::New,
            ] {
                for next_seq in [1, 3] {
                    steps.push(Step::Attached {
                        state,
                        epoch,
                        next_seq,
                    });
                }
            }
        }
        for epoch in [None, Some(1), Some(2)] {
            for seq in 1..=MOST {
                steps.push(Step::Event { epoch, seq });
            }
        }
        if node.cursor.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        take(node, step)
            .and_then(|()| check(&before, node))
            .map_err(|name| format!("{name}: {:?}", node.cursor))
    }

    fn key(&self, node: &Node) -> String {
        // Counts and attaches only grow; they are the last fields.
        let cursor = format!("{:?}", node.cursor);
        let state = cursor.split("counts").next().unwrap();
        format!("{:?} {:?} {} {state}", node.gate, node.shown, node.lacks)
    }
}

/// Applies the step as a driver does: events to apply are applied, then every effect is executed.
fn take(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    match step {
        Step::Attached {
            state,
            epoch: n,
            next_seq,
        } => {
            let welcome = SessionWelcome {
                state: *state,
                epoch: epoch(*n),
                next_seq: *next_seq,
                stamp: None,
            };
            let means = node.cursor.attached(NOW, &welcome);
            match (means, node.shown) {
                (SessionState::Resumed, Some((shown, _))) if shown == *n => {}
                (SessionState::Resumed, _) => {
                    return Err("only_the_numbering_shown_is_resumed (INV-3)");
                }
                (SessionState::New | SessionState::Reset, _) => {
                    node.shown = Some((*n, next_seq - 1));
                    node.lacks = false;
                }
            }
        }
        Step::Event { epoch: n, seq } => {
            match (
                node.cursor.receive(NOW, n.map(epoch).as_ref(), *seq),
                node.shown,
            ) {
                (EventCheck::Next, Some((shown, last)))
                    if Some(shown) == *n && *seq == last + 1 =>
                {
                    node.shown = Some((shown, *seq));
                }
                (EventCheck::AfterGap, Some((shown, last)))
                    if Some(shown) == *n && *seq > last + 1 =>
                {
                    node.shown = Some((shown, *seq));
                    node.lacks = true;
                }
                (EventCheck::Next | EventCheck::AfterGap, _) => {
                    return Err("each_event_is_applied_once_and_in_order (BX-2)");
                }
                (EventCheck::Repeated, Some((shown, last)))
                    if Some(shown) == *n && *seq <= last => {}
                (EventCheck::Repeated, _) => {
                    return Err("only_what_was_applied_is_repeated (BX-2)");
                }
                (EventCheck::Stale, Some((shown, _))) if Some(shown) == *n => {
                    return Err("only_another_numbering_is_stale (INV-3)");
                }
                (EventCheck::Stale, _) => {}
            }
        }
        Step::Gate(gate) => {
            node.gate = *gate;
            node.cursor.set_gate(NOW, *gate);
        }
        Step::Timer => {
            let due = node.cursor.poll_timeout().unwrap_or(NOW);
            node.cursor.handle_timeout(due);
        }
    }
    while let Some(effect) = node.cursor.poll_effect() {
        match effect {
            Effect::Refetch => node.lacks = false,
            Effect::Ack(resume) => {
                if node.gate != AckGate::Open {
                    return Err("nothing_is_acknowledged_while_a_resume_may_come_from_before");
                }
                if node.lacks {
                    return Err("a_gap_is_mended_before_it_is_acknowledged");
                }
                if node.shown.map(|(n, seq)| (epoch(n), seq))
                    != Some((resume.epoch, resume.last_seq))
                {
                    return Err("an_acknowledgement_is_what_was_applied");
                }
            }
        }
    }
    Ok(())
}

fn check(before: &Node, after: &Node) -> Result<(), &'static str> {
    if after.lacks {
        return Err("a_gap_always_leads_to_a_refetch (BX-2)");
    }
    let position = after.cursor.position();
    let position = position.map(|resume| (resume.epoch, resume.last_seq));
    if position != after.shown.map(|(n, seq)| (epoch(n), seq)) {
        return Err("the_cursor_is_what_is_shown (INV-3)");
    }
    let (old, new) = (before.cursor.counts(), after.cursor.counts());
    if (new.stale > old.stale || new.repeated > old.repeated)
        && before.cursor.position() != after.cursor.position()
    {
        return Err("what_is_dropped_changes_nothing (INV-10)");
    }
    let is_attached = new.resumed + new.reset > old.resumed + old.reset;
    if is_attached != (after.cursor.attach() > before.cursor.attach()) {
        return Err("each_attach_has_its_own_number (INV-10)");
    }
    let applied = new.applied + new.gaps > old.applied + old.gaps;
    let mut acked = after.cursor.clone();
    acked.set_gate(NOW, AckGate::Open);
    if applied
        && after.gate != AckGate::Open
        && acked.poll_timeout().is_none()
        && acked.poll_effect().is_none()
    {
        return Err("what_was_applied_is_acknowledged_in_the_end (INV-12)");
    }
    Ok(())
}

#[test]
fn bx_2_inv_3_every_history_of_a_session_cursor() {
    let report = explore(&Cursors, 12);
    assert!(report.complete && report.nodes > 100, "{report:?}");
}
