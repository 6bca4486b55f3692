//! Bounds on timelines kept without readers, and the record of those that are not kept (UX-2).

use std::collections::{BTreeSet, VecDeque};

use bowline_protocol::AgentId;

use super::KeptBounds;

/// A timeline without readers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unread {
    /// When its last reader left; the first field, since it determines the order.
    pub(super) left_at: u64,
    pub(super) agent_id: AgentId,
    /// Approximate bytes held.
    pub(super) bytes: usize,
    /// Whether a load succeeded.
    pub(super) has_loaded: bool,
}

/// The timelines to forget, in order of closing, until the others are within the bounds. One that
/// was never loaded is not kept, and neither is one so large that it would displace all others.
pub(super) fn to_forget(mut unread: Vec<Unread>, bounds: &KeptBounds) -> Vec<Unread> {
    unread.sort();
    let (mut count, mut total, mut is_full) = (0, 0, false);
    unread.reverse();
    unread.retain(|one| {
        let is_worth_it = one.has_loaded && one.bytes <= bounds.bytes_largest;
        is_full |=
            is_worth_it && (count >= bounds.timelines || total + one.bytes > bounds.bytes_total);
        let is_kept = is_worth_it && !is_full;
        if is_kept {
            count += 1;
            total += one.bytes;
        }
        !is_kept
    });
    unread
}

/// Agents whose timelines were loaded in this run and forgotten: opening them again shows no
/// overlay.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadedMemory {
    agents: BTreeSet<AgentId>,
    /// The same agents in the order of forgetting.
    order: VecDeque<AgentId>,
}

impl LoadedMemory {
    pub(super) fn contains(&self, agent_id: &AgentId) -> bool {
        self.agents.contains(agent_id)
    }

    /// Records an agent; at the bound the one forgotten longest ago is removed.
    pub(super) fn insert(&mut self, agent_id: AgentId, bounds: &KeptBounds) {
        if self.agents.insert(agent_id.clone()) {
            self.order.push_back(agent_id);
        }
        while self.order.len() > bounds.loaded {
            if let Some(oldest) = self.order.pop_front() {
                self.agents.remove(&oldest);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
