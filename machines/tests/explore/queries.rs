//! Every history of a few queries: hosts go online and offline, attaches follow one another, and
//! callers stop waiting.

use std::{collections::BTreeMap, time::Duration};

use bowline_machines::{
    Attach, MonotonicTime,
    client::queries::{Effect, HostStatus, Queries, QueriesConfig, QueryId, Ticket},
};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const MOST_WAITING: usize = 2;
const MOST_QUERIES: usize = 3;
const MOST_ATTACHES: u8 = 3;

/// The end of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    Asked(Ticket, Attach),
    Answered,
    Refused,
    Withdrawn,
}

#[derive(Clone)]
struct Node {
    queries: Queries,
    host: HostStatus,
    attach: Attach,
    attaches: u8,
    /// The end of each query, and the attach under which it was last asked.
    fates: BTreeMap<QueryId, (Fate, Attach)>,
}

#[derive(Clone, Debug)]
enum Step {
    Add,
    Attached,
    Connecting,
    Offline,
    Answered(QueryId),
    NeverSent(QueryId, Ticket),
    Withdraw(QueryId),
    Timer,
}

struct Hosts;

impl Model for Hosts {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        vec![Node {
            queries: Queries::new(QueriesConfig {
                most_waiting: MOST_WAITING,
                longest_wait: Duration::from_secs(10),
            }),
            host: HostStatus::Connecting,
            attach: Attach::NONE,
            attaches: 0,
            fates: BTreeMap::new(),
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Connecting, Step::Offline];
        if node.fates.len() < MOST_QUERIES {
            steps.push(Step::Add);
        }
        if node.attaches < MOST_ATTACHES {
            steps.push(Step::Attached);
        }
        for (id, (fate, _)) in &node.fates {
            match fate {
                Fate::Waits => steps.push(Step::Withdraw(*id)),
                Fate::Asked(ticket, _) => {
                    steps.push(Step::Answered(*id));
                    steps.push(Step::NeverSent(*id, *ticket));
                }
                Fate::Answered | Fate::Refused | Fate::Withdrawn => {}
            }
        }
        if node.queries.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        take(node, step)
            .and_then(|()| check(node, step))
            .map_err(|name| format!("{name}: {:?} {:?}", node.fates, node.queries))
    }

    fn key(&self, node: &Node) -> String {
        format!("{:?} {:?} {:?}", node.host, node.fates, node.queries)
    }
}

fn take(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    let mut set = |id: QueryId, fate: Fate| {
        let known = node.fates.entry(id).or_insert((fate, Attach::NONE));
        known.0 = fate;
    };
    match step {
        Step::Add => {
            let id = node.queries.add(NOW);
            set(id, Fate::Waits);
            node.queries.set_host(NOW, node.host);
        }
        Step::Attached => {
            node.attaches += 1;
            node.attach = node.attach.next();
            node.host = HostStatus::Online(node.attach);
            node.queries.set_host(NOW, node.host);
        }
        Step::Connecting => {
            node.host = HostStatus::Connecting;
            node.queries.set_host(NOW, node.host);
        }
        Step::Offline => {
            node.host = HostStatus::Offline;
            node.queries.set_host(NOW, node.host);
        }
        Step::Answered(id) => set(*id, Fate::Answered),
        Step::NeverSent(id, ticket) => {
            set(*id, Fate::Waits);
            node.queries.never_sent(*ticket);
            node.queries.set_host(NOW, node.host);
        }
        Step::Withdraw(id) => {
            set(*id, Fate::Withdrawn);
            node.queries.withdraw(*id);
        }
        Step::Timer => {
            let due = node.queries.poll_timeout().unwrap_or(NOW);
            node.queries.handle_timeout(due);
            if node.queries.poll_timeout().is_some_and(|next| next <= due) {
                return Err("nothing_waits_beyond_its_deadline (INV-12)");
            }
        }
    }
    while let Some(effect) = node.queries.poll_effect() {
        let (Effect::Refuse(id) | Effect::Ask(Ticket { id, .. })) = effect;
        let Some((fate, last)) = node.fates.get_mut(&id) else {
            return Err("only_what_was_added_is_asked");
        };
        if *fate != Fate::Waits {
            return Err("each_query_has_one_end");
        }
        *fate = match (effect, node.host) {
            (Effect::Refuse(_), _) => Fate::Refused,
            (Effect::Ask(_), HostStatus::Online(attach)) if *last == attach => {
                return Err("nothing_is_asked_twice_under_an_attach (INV-13)");
            }
            (Effect::Ask(ticket), HostStatus::Online(attach)) => {
                *last = attach;
                Fate::Asked(ticket, attach)
            }
            (Effect::Ask(_), HostStatus::Connecting | HostStatus::Offline) => {
                return Err("only_a_host_that_is_online_is_asked");
            }
        };
    }
    Ok(())
}

fn check(node: &Node, step: &Step) -> Result<(), &'static str> {
    let waits = |(fate, _): &&(Fate, Attach)| *fate == Fate::Waits;
    let waiting = node.fates.values().filter(waits).count();
    if waiting > MOST_WAITING {
        return Err("what_waits_is_bounded");
    }
    if (waiting > 0) != node.queries.poll_timeout().is_some() {
        return Err("what_waits_has_a_deadline (INV-12)");
    }
    if node.host == HostStatus::Offline && waiting > 0 {
        return Err("nothing_waits_where_nothing_is_tried");
    }
    if matches!(step, Step::Attached) && waiting > 0 {
        return Err("an_attach_asks_everything_that_waits");
    }
    Ok(())
}

#[test]
fn inv_12_inv_13_every_history_of_a_few_queries() {
    let report = explore(&Hosts, 60);
    assert!(report.complete && report.nodes > 1_000, "{report:?}");
}
