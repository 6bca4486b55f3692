//! Breadth-first exploration of a machine over every input, to a bounded depth.
//!
//! A [`Model`] wraps a machine with the data that its invariants need. Nodes with equal keys are
//! explored once; breadth first, so a failure is reported with a shortest trail of steps.

use std::{collections::HashSet, fmt::Debug, hash::Hash, time::Instant};

/// A machine, its inputs and its invariants.
pub(crate) trait Model {
    /// The machine (and clock) at one point.
    type Node: Clone;
    /// One input, or the passing of time.
    type Step: Clone + Debug;
    /// The identity of nodes. Excludes absolute time and counters that only grow.
    type Key: Hash + Eq;

    /// The start nodes.
    fn start(&self) -> Vec<Self::Node>;
    /// Every step possible from a node.
    fn steps(&self, node: &Self::Node) -> Vec<Self::Step>;
    /// Takes the step and checks every invariant. The error starts with the invariant's name.
    fn apply(&self, node: &mut Self::Node, step: &Self::Step) -> Result<(), String>;
    /// The node's key.
    fn key(&self, node: &Self::Node) -> Self::Key;
}

/// Coverage of an exploration.
#[derive(Debug)]
pub(crate) struct Report {
    /// Number of distinct nodes.
    pub(crate) nodes: usize,
    /// Steps taken.
    pub(crate) steps: usize,
    /// Depth at which the last new node appeared.
    pub(crate) depth: usize,
    /// Whether every reachable node was found before the depth bound.
    pub(crate) complete: bool,
}

/// Explores `model` to `depth` steps. Fails with the shortest trail to a broken invariant.
pub(crate) fn explore<M: Model>(model: &M, depth: usize) -> Report {
    let began = Instant::now();
    let mut seen = HashSet::new();
    // The origin of each node: (index of its parent, step taken), for the trail.
    let mut parents: Vec<Option<(usize, M::Step)>> = Vec::new();
    let mut frontier = Vec::new();
    for node in model.start() {
        if seen.insert(model.key(&node)) {
            frontier.push((parents.len(), node));
            parents.push(None);
        }
    }
    let (mut steps_taken, mut deepest) = (0, 0);
    for level in 1..=depth {
        let mut next = Vec::new();
        for (index, node) in &frontier {
            for step in model.steps(node) {
                let mut after = node.clone();
                let outcome = model.apply(&mut after, &step);
                steps_taken += 1;
                if let Err(broken) = &outcome {
                    let trail = trail(&parents, *index, &step);
                    assert!(outcome.is_ok(), "{broken}\nafter {level} steps:\n{trail}");
                }
                if seen.insert(model.key(&after)) {
                    next.push((parents.len(), after));
                    parents.push(Some((*index, step)));
                    deepest = level;
                }
            }
        }
        frontier = next;
        if frontier.is_empty() {
            break;
        }
    }
    let report = Report {
        nodes: seen.len(),
        steps: steps_taken,
        depth: deepest,
        complete: frontier.is_empty(),
    };
    println!("{report:?} in {:?}", began.elapsed());
    report
}

/// Random histories of a model, the same ones for the same seed.
pub(crate) struct Walks {
    random: u64,
}

impl Walks {
    pub(crate) const fn of_seed(seed: u64) -> Self {
        Self { random: seed }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap_or_default() % bound
    }

    /// One history of so many steps. Fails with its trail to a broken invariant.
    pub(crate) fn walk<M: Model>(&mut self, model: &M, steps: usize) {
        let mut starts = model.start();
        let mut node = starts.swap_remove(self.below(starts.len()));
        let mut trail = Vec::new();
        for _ in 0..steps {
            let mut possible = model.steps(&node);
            let step = possible.swap_remove(self.below(possible.len()));
            let outcome = model.apply(&mut node, &step);
            trail.push(step);
            assert!(outcome.is_ok(), "{trail:#?}\n{outcome:?}");
        }
    }
}

fn trail<S: Debug>(parents: &[Option<(usize, S)>], mut index: usize, last: &S) -> String {
    let mut lines = vec![format!("  {last:?}")];
    while let Some(Some((parent, step))) = parents.get(index) {
        lines.push(format!("  {step:?}"));
        index = *parent;
    }
    lines.reverse();
    lines.join("\n")
}

mod tests {
    use super::{Model, Walks, explore};

    /// Counts up to nine; `broken_at` names a number that breaks its invariant.
    struct Counter {
        broken_at: Option<u8>,
    }

    impl Model for Counter {
        type Node = u8;
        type Step = u8;
        type Key = u8;

        fn start(&self) -> Vec<u8> {
            vec![0]
        }
        fn steps(&self, _: &u8) -> Vec<u8> {
            vec![1, 2]
        }
        fn apply(&self, node: &mut u8, step: &u8) -> Result<(), String> {
            *node = (*node + step).min(9);
            match self.broken_at {
                Some(number) if number == *node => Err(format!("broken at {number}")),
                Some(_) | None => Ok(()),
            }
        }
        fn key(&self, node: &u8) -> u8 {
            *node
        }
    }

    #[test]
    fn explores_every_node_once() {
        let report = explore(&Counter { broken_at: None }, 20);
        assert!(report.complete, "{report:?}");
        assert_eq!((report.nodes, report.steps, report.depth), (10, 20, 5));
        assert!(!explore(&Counter { broken_at: None }, 3).complete);
    }

    #[test]
    #[should_panic(expected = "broken at 7\nafter 4 steps:\n  1\n  2\n  2\n  2")]
    fn reports_a_shortest_trail() {
        explore(&Counter { broken_at: Some(7) }, 20);
    }

    #[test]
    #[should_panic(expected = "broken at 9")]
    fn a_walk_fails_with_what_broke() {
        Walks::of_seed(1).walk(&Counter { broken_at: Some(9) }, 20);
    }
}
