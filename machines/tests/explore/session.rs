//! Every history of a daemon's session with a few connections, until no new state appears.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::time::Duration;

use bowline_machines::{
    MonotonicTime, Path,
    daemon::session::{
        AttachPlan, ConnectionId, Effect, Input, ReplayWindow, Session, SessionConfig, State,
    },
};
use bowline_protocol::Reason;

use crate::explorer::{Model, explore};

const CAP: u16 = 2;
const CONNECTIONS: u64 = 3;
const CONFIG: SessionConfig = SessionConfig {
    grace: Duration::from_secs(2),
    max_connections: CAP,
};

#[derive(Clone)]
struct Node {
    session: Session,
    now: MonotonicTime,
    /// Connections attached by the driver, and neither closed nor lost, oldest first.
    held: Vec<ConnectionId>,
    expire_effects: u32,
    grace: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Feed(Input),
    Timer { late: Duration },
    Pass(Duration),
}

struct Sessions;

impl Model for Sessions {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        let for_ever = SessionConfig {
            grace: Duration::ZERO,
            ..CONFIG
        };
        [
            (Session::new(CONFIG, now), true),
            (Session::restored(CONFIG, now, Duration::from_secs(9)), true),
            (Session::new(for_ever, now), false),
        ]
        .into_iter()
        .map(|(session, grace)| Node {
            session,
            now,
            held: Vec::new(),
            expire_effects: 0,
            grace,
        })
        .collect()
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![
            Step::Feed(Input::Revoke),
            Step::Pass(Duration::from_millis(500)),
        ];
        for connection in (1..=CONNECTIONS).map(ConnectionId) {
            let path = Path::Relay;
            let reason = Reason::ConnectionLost;
            steps.push(Step::Feed(Input::Attach { connection, path }));
            steps.push(Step::Feed(Input::Activity { connection }));
            steps.push(Step::Feed(Input::Detach { connection, reason }));
        }
        if node.session.poll_timeout().is_some() {
            for late in [Duration::ZERO, Duration::from_secs(86_400)] {
                steps.push(Step::Timer { late });
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        match *step {
            Step::Feed(input) => node.session.handle(node.now, input),
            Step::Timer { late } => {
                node.now = node
                    .session
                    .poll_timeout()
                    .unwrap_or(node.now)
                    .max(node.now)
                    + late;
                node.session.handle_timeout(node.now);
            }
            Step::Pass(time) => {
                node.now = node.now + time;
                node.session.handle_timeout(node.now);
            }
        }
        let effects: Vec<_> = std::iter::from_fn(|| node.session.poll_effect()).collect();
        let records = std::iter::from_fn(|| node.session.poll_transition()).count();
        follow(node, step, &effects);
        check(&before, node, step, &effects, records)
            .map_err(|name| format!("{name}: {:?}", node.session))
    }

    fn key(&self, node: &Node) -> String {
        let state = match node.session.state() {
            State::Detached {
                grace_left,
                checked_at,
                ..
            } if node.grace => format!("{grace_left:?} {:?}", node.now.since(*checked_at)),
            State::Detached { .. } => "for ever".to_owned(),
            State::Attached { connections } => {
                let mut by_activity: Vec<_> = connections.iter().collect();
                by_activity.sort_by_key(|link| link.active_at);
                let order: Vec<_> = by_activity
                    .iter()
                    .map(|link| (link.id, link.active_at == node.now))
                    .collect();
                format!("{order:?}")
            }
            State::Expired => "expired".to_owned(),
        };
        let fresh = plan(&node.session) == AttachPlan::New;
        format!("{} {fresh} {state} {:?}", node.grace, node.held)
    }
}

/// The plan of an attach without a cursor.
fn plan(session: &Session) -> AttachPlan {
    let window = ReplayWindow {
        epoch: "ep_1".parse().unwrap(),
        first_seq: 1,
        next_seq: 1,
        shared_to: 1,
    };
    session.plan_attach(None, &window)
}

/// Updates the driver's connections after the step.
fn follow(node: &mut Node, step: &Step, effects: &[Effect]) {
    match step {
        Step::Feed(Input::Attach { connection, .. }) => {
            node.held.retain(|held| held != connection);
            node.held.push(*connection);
        }
        Step::Feed(Input::Detach { connection, .. }) => {
            node.held.retain(|held| held != connection);
        }
        Step::Feed(Input::Activity { .. } | Input::Revoke) | Step::Timer { .. } | Step::Pass(_) => {
        }
    }
    for effect in effects {
        match effect {
            Effect::Close { connection, .. } => node.held.retain(|held| held != connection),
            Effect::Expire => node.expire_effects += 1,
        }
    }
}

fn check(
    before: &Node,
    after: &Node,
    step: &Step,
    effects: &[Effect],
    records: usize,
) -> Result<(), String> {
    let fail = |name: &str| Err(name.to_owned());
    let (old, new) = (&before.session, &after.session);
    if old.is_expired() && !new.is_expired() {
        return fail("expired_is_terminal (INV-12)");
    }
    if after.expire_effects != u32::from(new.is_expired()) {
        return fail("the_driver_forgets_a_session_exactly_once");
    }
    if new.connections().len() > usize::from(CAP) {
        return fail("never_over_the_cap (LS-2)");
    }
    let ids: Vec<_> = new.connections().iter().map(|link| link.id).collect();
    if ids != after.held {
        return fail("session_and_driver_agree_on_who_holds_it (INV-3)");
    }
    if matches!(new.state(), State::Attached { connections } if connections.is_empty()) {
        return fail("attached_means_held");
    }
    if matches!(new.state(), State::Detached { .. }) && new.poll_timeout().is_some() != after.grace
    {
        return fail("every_waiting_state_has_a_deadline (INV-12)");
    }
    if let Step::Feed(Input::Attach { connection, .. }) = step
        && !old.is_expired()
        && !ids.contains(connection)
    {
        return fail("the_new_connection_is_never_the_one_closed (LS-2)");
    }
    if new.stale() > old.stale() && (old.state() != new.state() || !effects.is_empty()) {
        return fail("stale_results_change_nothing (INV-10)");
    }
    if old.state().name() != new.state().name() && records != 1 {
        return fail("every_change_is_recorded_once (OB-1)");
    }
    if matches!(step, Step::Timer { late } if *late > CONFIG.grace)
        && matches!(old.state(), State::Detached { grace_left, .. } if *grace_left > Duration::from_secs(1))
        && new.is_expired()
    {
        return fail("a_night_asleep_costs_one_step (LS-5)");
    }
    if !new.connections().is_empty() && plan(new) != (AttachPlan::Reset { keep_epoch: true }) {
        return fail("a_newcomer_never_renews_the_epoch_of_others (INV-3)");
    }
    if new.refused() > 0 {
        return fail("every_change_is_in_the_table");
    }
    Ok(())
}

#[test]
fn inv_2_inv_3_inv_12_every_history_of_a_session() {
    let report = explore(&Sessions, 40);
    assert!(report.complete, "{report:?}");
}
