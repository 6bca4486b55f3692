//! Every history of a host's recurring work, with an outbox that fails, recovers and takes its
//! time.

use std::time::Duration;

use bowline_machines::{
    MonotonicTime,
    client::upkeep::{ADOPTION, Effect, OutboxStatus, SWEEP, Upkeep},
};

use crate::explorer::{Model, explore};

const STATUSES: [OutboxStatus; 3] = [
    OutboxStatus::Available,
    OutboxStatus::Unavailable,
    OutboxStatus::InMaintenance,
];

#[derive(Clone)]
struct Node {
    upkeep: Upkeep,
    now: MonotonicTime,
    swept: MonotonicTime,
    maintained: MonotonicTime,
}

/// The timeout is handled this long after it was due, with this status of the outbox.
type Step = (OutboxStatus, Duration);

struct Hosts;

impl Model for Hosts {
    type Node = Node;
    type Step = Step;
    type Key = Duration;

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        vec![Node {
            upkeep: Upkeep::new(now),
            now,
            swept: now,
            maintained: now,
        }]
    }

    fn steps(&self, _: &Node) -> Vec<Step> {
        let late = [Duration::ZERO, Duration::from_secs(3)];
        let steps = STATUSES.map(|status| late.map(|late| (status, late)));
        steps.into_iter().flatten().collect()
    }

    fn apply(&self, node: &mut Node, (status, late): &Step) -> Result<(), String> {
        let fail = |name: &str| Err(name.to_owned());
        node.now = node.upkeep.poll_timeout() + *late;
        let waited = node.now.since(node.maintained);
        node.upkeep.handle_timeout(node.now, *status);
        let effects: Vec<_> = std::iter::from_fn(|| node.upkeep.poll_effect()).collect();
        let (sweeps, maintains) = match *effects {
            [Effect::Sweep] => (true, false),
            [Effect::Sweep, Effect::MaintainOutbox] => (true, true),
            _ => (false, false),
        };
        if !sweeps || node.now.since(node.swept) > SWEEP + *late {
            return fail("what_was_dropped_is_noticed_within_a_sweep");
        }
        let maintained = match status {
            OutboxStatus::Available if waited < SWEEP => false,
            OutboxStatus::Available if waited >= ADOPTION => true,
            OutboxStatus::Available => maintains,
            OutboxStatus::Unavailable => true,
            OutboxStatus::InMaintenance => false,
        };
        if maintains != maintained {
            return fail("bx_1_intents_left_behind_are_adopted_and_one_maintenance_runs_at_a_time");
        }
        node.swept = node.now;
        if maintains {
            node.maintained = node.now;
        }
        if node.upkeep.poll_timeout() <= node.now {
            return fail("timers_make_progress");
        }
        Ok(())
    }

    /// All older times act alike.
    fn key(&self, node: &Node) -> Duration {
        node.now.since(node.maintained).min(ADOPTION + SWEEP)
    }
}

#[test]
fn bx_1_every_history_of_a_hosts_upkeep() {
    let report = explore(&Hosts, 1_000);
    assert!(report.complete && report.nodes > 20, "{report:?}");
}
