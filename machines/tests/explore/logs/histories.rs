//! The steps of a history of a log, and the histories that are walked (LD-2).

use super::{
    Node, Step, Which,
    checks::{check, converge},
    take,
};
use crate::explorer::{Model, explore};

struct Histories {
    items: u64,
    max_rows: usize,
}

impl Model for Histories {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = Node::new(self.items, self.max_rows);
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
        vec![fresh, ready, refreshing, fetching, extending]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![
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
            Step::Resume,
            Step::Reset,
            Step::Refresh,
            Step::LoadMore,
        ];
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

#[test]
fn ld_2_every_short_history_of_a_followed_log() {
    let model = Histories {
        items: 3,
        max_rows: 20,
    };
    let report = explore(&model, 3);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_2_every_short_history_of_a_log_that_does_not_fit() {
    let model = Histories {
        items: 3,
        max_rows: 2,
    };
    let report = explore(&model, 3);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_2_long_histories_of_items_that_are_replaced_and_grow() {
    let mut random = 11_u64;
    let mut below = |bound: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % bound
    };
    for round in 0..300 {
        let model = Histories {
            items: 3,
            max_rows: if round % 2 == 0 { 20 } else { 2 },
        };
        let starts = model.start();
        let mut node = starts[below(starts.len())].clone();
        let mut trail = Vec::new();
        for _ in 0..40 {
            let steps = model.steps(&node);
            let step = steps[below(steps.len())].clone();
            let outcome = model.apply(&mut node, &step);
            trail.push(step);
            assert!(outcome.is_ok(), "round {round}: {trail:#?}\n{outcome:?}");
        }
    }
}
