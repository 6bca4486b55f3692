//! The steps of a history of patches, and the histories that are walked (LD-3).

use super::{
    Change, Doing, Node, Step,
    checks::{check, converge},
    take,
};
use crate::explorer::{Model, Walks, explore};

struct Histories {
    intents: &'static [(&'static str, Change)],
    rows: &'static [&'static str],
}

impl Model for Histories {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = Node::new(self.intents, self.rows);
        let mut ready = fresh.clone();
        for step in [Step::Reset, Step::Process, Step::Page] {
            self.apply(&mut ready, &step).unwrap();
        }
        let mut sent = ready.clone();
        for intent in 0..self.intents.len() {
            self.apply(&mut sent, &Step::Send(intent)).unwrap();
        }
        vec![fresh, ready, sent]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Reset, Step::Refresh, Step::Reopen, Step::Restart];
        let unsent = node.intents.iter().position(|one| !one.is_sent);
        steps.extend(unsent.map(Step::Send));
        for (number, one) in node.intents.iter().enumerate() {
            let is_undecided = one.is_sent && one.done.is_none() && !one.is_refused;
            if is_undecided && node.is_attached {
                let all = [Doing::Expected, Doing::Large, Doing::Other];
                steps.extend(all.map(|doing| Step::Do(number, doing)));
                steps.push(Step::Refuse(number));
            }
            let is_done = one.done.is_some() && !one.is_answered;
            if is_done && node.is_attached && !node.is_waiting(number) {
                steps.push(Step::Repeat(number));
            }
            if one.is_answered && one.is_refused && !one.is_dismissed {
                steps.push(Step::Dismiss(number));
            }
        }
        steps.extend([Step::OthersPut("k/a"), Step::OthersRemove("k/a")]);
        if node.is_attached {
            steps.push(Step::Cut);
            if !node.events.is_empty() {
                steps.push(Step::Deliver);
            }
            if !node.answers.is_empty() {
                steps.push(Step::Answer);
            }
        } else {
            steps.push(Step::Resume);
        }
        if node.followed_since.is_some() && !node.is_attached {
            steps.push(Step::Lapse);
        }
        if let Some(asked) = node.asked.front() {
            if asked.page.is_some() || asked.is_lost {
                steps.push(Step::Page);
            } else {
                steps.extend([Step::Process, Step::RefuseTable]);
            }
        }
        if node.tables.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        take(node, step);
        check(node)
            .and_then(|()| converge(node.clone(), true))
            .and_then(|()| converge(node.clone(), false))
            .map_err(|name| format!("{name}: {node:?}"))
    }

    fn key(&self, node: &Node) -> String {
        format!("{node:?}")
    }
}

const NEW: Histories = Histories {
    intents: &[("k/a", Change::Upsert), ("k/a", Change::Remove)],
    rows: &[],
};

const CHANGED: Histories = Histories {
    intents: &[("k/a", Change::Merge), ("k/b", Change::Upsert)],
    rows: &["k/a"],
};

const GONE: Histories = Histories {
    intents: &[
        ("k/a", Change::Remove),
        ("k/a", Change::Upsert),
        ("k/a", Change::Merge),
    ],
    rows: &["k/a", "k/b"],
};

#[test]
fn ld_3_every_short_history_of_a_row_that_is_made_and_removed() {
    let report = explore(&NEW, 4);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_3_every_short_history_of_a_row_that_is_changed_beside_another() {
    let report = explore(&CHANGED, 4);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_3_long_histories_of_patches_that_overlap() {
    let mut walks = Walks::of_seed(7);
    for _ in 0..300 {
        for model in [&NEW, &CHANGED, &GONE] {
            walks.walk(model, 40);
        }
    }
}
