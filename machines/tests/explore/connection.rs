//! Every history of a daemon's connection with a few requests, until no new state appears.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{sync::Arc, time::Duration};

use bowline_machines::{
    MonotonicTime, Path,
    daemon::connection::{
        Admission, Connection, ConnectionConfig, Effect, Input, RequestSlot, State,
    },
    liveness::SWEPT_CLOCK_JUMP,
};
use bowline_protocol::Reason;

use crate::explorer::{Model, explore};

const LIMIT: u32 = 2;

fn config(hello: bool) -> Arc<ConnectionConfig> {
    Arc::new(ConnectionConfig {
        hello_deadline: hello.then_some(Duration::from_millis(1_000)),
        idle_timeout: Duration::from_millis(1_000),
        request_timeout: Duration::from_millis(1_000),
        max_pending: LIMIT,
        closing_deadline: Duration::from_millis(500),
    })
}

#[derive(Clone)]
struct Node {
    connection: Connection,
    now: MonotonicTime,
    /// Requests run by the driver, with their start.
    running: Vec<(RequestSlot, MonotonicTime)>,
    /// A finished request.
    over: Option<RequestSlot>,
    begun_close: u32,
    terminated: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Feed(Input),
    Start,
    Finish(usize),
    FinishOver,
    Timer { late: Duration },
    Pass,
}

struct Connections;

impl Model for Connections {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        [true, false]
            .into_iter()
            .map(|hello| Node {
                connection: Connection::new(config(hello), Path::Direct, now),
                now,
                running: Vec::new(),
                over: None,
                begun_close: 0,
                terminated: 0,
            })
            .collect()
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let reason = Reason::ServerRestarting;
        let mut steps = vec![
            Step::Feed(Input::HandshakeDone),
            Step::Feed(Input::Received),
            Step::Feed(Input::Sent),
            Step::Feed(Input::OutboundOverflow),
            Step::Feed(Input::PeerClosed { reason }),
            Step::Feed(Input::Close { reason }),
            Step::Start,
            Step::FinishOver,
            Step::Pass,
        ];
        steps.extend((0..node.running.len()).map(Step::Finish));
        if node.connection.poll_timeout().is_some() {
            for late in [Duration::ZERO, SWEPT_CLOCK_JUMP * 2] {
                steps.push(Step::Timer { late });
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        let broken = |name: &str, node: &Node| Err(format!("{name}: {:?}", node.connection));
        match *step {
            Step::Feed(input) => node.connection.handle(node.now, input),
            Step::Start => match node.connection.start_request(node.now) {
                Admission::Admitted(slot) => node.running.push((slot, node.now)),
                Admission::Overloaded if before.connection.pending() == LIMIT => {}
                Admission::Overloaded => return broken("overloaded_only_at_the_limit", node),
                Admission::Refused if !before.connection.is_open() => {}
                Admission::Refused => return broken("an_open_connection_takes_requests", node),
            },
            Step::Finish(place) => {
                let (slot, _) = node.running.remove(place);
                if !node.connection.finish_request(node.now, slot) {
                    return broken("a_running_request_is_answered (SV-4)", node);
                }
                node.over = Some(slot);
            }
            Step::FinishOver => {
                if let Some(slot) = node.over {
                    let sent = node.connection.finish_request(node.now, slot);
                    if sent || before.connection.state() != node.connection.state() {
                        return broken("stale_results_change_nothing (INV-10)", node);
                    }
                }
            }
            Step::Timer { late } => {
                let due = node.connection.poll_timeout().unwrap_or(node.now);
                node.now = due.max(node.now) + late;
                node.connection.handle_timeout(node.now);
            }
            Step::Pass => {
                node.now = node.now + Duration::from_millis(250);
                node.connection.handle_timeout(node.now);
            }
        }
        let records = std::iter::from_fn(|| node.connection.poll_transition()).count();
        follow(node)
            .and_then(|()| check(&before, node, step, records))
            .or_else(|name| broken(name, node))
    }

    fn key(&self, node: &Node) -> String {
        let age = |moment: MonotonicTime| {
            node.now
                .since(moment)
                .min(Duration::from_secs(2))
                .as_millis()
        };
        let ages: Vec<_> = node.running.iter().map(|(_, began)| age(*began)).collect();
        let due = node.connection.poll_timeout();
        format!(
            "{} {:?} {ages:?} {} {} {}",
            node.connection.state().name(),
            due.map(|due| (due.since(node.now), node.now.since(due))),
            age(node.connection.active_at()),
            node.over.is_some(),
            node.begun_close + node.terminated,
        )
    }
}

/// Executes the effects as a driver does and checks their invariants.
fn follow(node: &mut Node) -> Result<(), &'static str> {
    while let Some(effect) = node.connection.poll_effect() {
        if node.terminated > 0 {
            return Err("nothing_is_asked_after_terminate");
        }
        match effect {
            Effect::BeginClose { .. } => {
                node.begun_close += 1;
                node.running.clear();
            }
            Effect::Terminate { .. } => {
                node.terminated += 1;
                node.running.clear();
            }
            Effect::RequestTimedOut { slot } => {
                let place = node
                    .running
                    .iter()
                    .position(|(running, _)| *running == slot);
                let Some(place) = place else {
                    return Err("only_running_requests_time_out (SV-4)");
                };
                let (_, began) = node.running.remove(place);
                if node.now.since(began) < Duration::from_millis(1_000) {
                    return Err("no_request_times_out_early (SV-4)");
                }
                node.over = Some(slot);
            }
        }
    }
    Ok(())
}

fn check(before: &Node, after: &Node, step: &Step, records: usize) -> Result<(), &'static str> {
    let (old, new) = (&before.connection, &after.connection);
    if old.is_closed() && old.state() != new.state() {
        return Err("closed_is_terminal (INV-12)");
    }
    if !new.is_closed() && new.poll_timeout().is_none() {
        return Err("every_waiting_state_has_a_deadline (INV-12, LS-6)");
    }
    let running = u32::try_from(after.running.len()).unwrap();
    if new.pending() != running || new.pending() > LIMIT {
        return Err("machine_and_driver_agree_on_what_runs");
    }
    let pending = match *new.state() {
        State::Processing { pending } => pending,
        State::New { .. } | State::Active | State::Idle { .. } => 0,
        State::Closing { .. } | State::Closed { .. } => 0,
    };
    if pending != running {
        return Err("processing_counts_what_runs");
    }
    if after.begun_close > 1 || after.terminated != u32::from(new.is_closed()) {
        return Err("a_connection_ends_once");
    }
    let open = |connection: &Connection| connection.is_open();
    let changed = old.state().name() != new.state().name() && !(open(old) && open(new));
    if records != usize::from(changed) {
        return Err("every_change_of_its_life_is_recorded_once (OB-1)");
    }
    if matches!(step, Step::Timer { late } if *late > SWEPT_CLOCK_JUMP) && open(old) && !open(new) {
        return Err("a_machine_that_slept_closes_nothing (LS-5)");
    }
    if new.refused() > 0 {
        return Err("every_change_is_in_the_table");
    }
    Ok(())
}

#[test]
fn sv_4_inv_12_every_history_of_a_connection() {
    let report = explore(&Connections, 60);
    assert!(report.complete, "{report:?}");
}
