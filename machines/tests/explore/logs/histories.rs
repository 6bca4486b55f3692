//! The steps of a history of a log, and the histories that are walked (LD-2).

use super::{
    Doing, Node, Step, Which,
    checks::{check, converge},
    take,
};
use crate::explorer::{Model, Walks, explore};

struct Histories {
    items: u64,
    max_rows: usize,
    intents: usize,
}

impl Model for Histories {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = Node::new(self.items, self.max_rows, self.intents);
        let mut ready = fresh.clone();
        for step in [Step::Reset, Step::Process, Step::Answer] {
            self.apply(&mut ready, &step).unwrap();
        }
        // What many steps lead to: items are on their way, as of what was before the next step.
        let mut refreshing = ready.clone();
        let mut fetching = ready.clone();
        for step in [Step::Refresh, Step::Process] {
            self.apply(&mut refreshing, &step).unwrap();
        }
        for step in [
            Step::ReplaceLarge(Which::Newest),
            Step::Deliver,
            Step::Process,
        ] {
            self.apply(&mut fetching, &step).unwrap();
        }
        let mut extending = ready.clone();
        for step in [Step::LoadMore, Step::Process] {
            self.apply(&mut extending, &step).unwrap();
        }
        let mut starts = vec![fresh, ready, refreshing, fetching, extending];
        if self.intents > 0 {
            let mut sent = starts[1].clone();
            for intent in 0..self.intents {
                self.apply(&mut sent, &Step::Send(intent)).unwrap();
            }
            starts = vec![starts[0].clone(), sent];
        }
        starts
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = steps_of_intents(node);
        // Beside intents, fewer changes by others are of interest.
        let others = [
            Step::Append,
            Step::AppendLarge,
            Step::Grow(Which::Newest),
            Step::GrowLarge,
            Step::Replace(Which::Newest),
            Step::Replace(Which::Oldest),
            Step::ReplaceLarge(Which::Newest),
            Step::ReplaceLarge(Which::Oldest),
            Step::Grow(Which::Oldest),
            Step::Together,
            Step::Drop,
            Step::LoadMore,
        ];
        let others = others.into_iter().enumerate();
        let others = others.filter(|(at, _)| self.intents == 0 || *at < 2);
        steps.extend(others.map(|(_, step)| step));
        steps.extend([Step::Resume, Step::Reset, Step::Refresh]);
        if node.is_attached {
            steps.extend([Step::Cut, Step::Switch]);
            if !node.events.is_empty() {
                steps.push(Step::Deliver);
            }
        }
        let mut asked = node.asked.iter();
        if asked.any(|asked| asked.page.is_none() && !asked.is_lost) {
            steps.push(Step::Process);
        }
        if let Some(asked) = node.asked.front() {
            if asked.page.is_some() || asked.is_lost {
                steps.push(Step::Answer);
            } else {
                steps.push(Step::Refuse);
            }
        }
        if node.followed.is_some() && !node.is_opened {
            steps.push(Step::Lapse);
        }
        if node.logs.poll_timeout().is_some() {
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

fn steps_of_intents(node: &Node) -> Vec<Step> {
    let mut steps = Vec::new();
    if !node.intents.is_empty() {
        steps.extend([Step::Reopen, Step::Restart]);
    }
    let unsent = node.intents.iter().position(|one| !one.is_sent);
    steps.extend(unsent.map(Step::Send));
    for (number, one) in node.intents.iter().enumerate() {
        let is_undecided = one.is_sent && one.done.is_none() && !one.is_refused;
        if is_undecided && node.is_attached {
            let all = [Doing::Expected, Doing::Large, Doing::Other];
            steps.extend(all.map(|doing| Step::Do(number, doing)));
            steps.push(Step::Reject(number));
        }
        let is_done = one.done.is_some() && !one.is_answered;
        if is_done && node.is_attached && !node.is_waiting(number) {
            steps.push(Step::Repeat(number));
        }
        if one.is_answered && one.is_refused && !one.is_dismissed {
            steps.push(Step::Dismiss(number));
        }
    }
    if node.is_attached && !node.answers.is_empty() {
        steps.push(Step::Receive);
    }
    steps
}

#[test]
fn ld_2_every_short_history_of_a_followed_log() {
    let model = Histories {
        items: 3,
        max_rows: 20,
        intents: 0,
    };
    let report = explore(&model, 3);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_2_every_short_history_of_a_log_that_does_not_fit() {
    let model = Histories {
        items: 3,
        max_rows: 2,
        intents: 0,
    };
    let report = explore(&model, 3);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_3_every_short_history_of_items_that_intents_are_expected_to_add() {
    let model = Histories {
        items: 3,
        max_rows: 20,
        intents: 2,
    };
    let report = explore(&model, 3);
    assert!(report.nodes > 1_500, "{report:?}");
}

#[test]
fn ld_2_and_ld_3_long_histories_of_items_that_are_replaced_and_grow() {
    let mut walks = Walks::of_seed(11);
    for round in 0..300 {
        let model = Histories {
            items: 3,
            max_rows: if round % 2 == 0 { 20 } else { 2 },
            intents: round % 3,
        };
        walks.walk(&model, 40);
    }
}
