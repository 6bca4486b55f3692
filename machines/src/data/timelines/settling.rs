//! The time limit for displaying an accepted message whose item does not arrive (UX-3).

use std::{collections::BTreeMap, time::Duration};

use bowline_protocol::{AgentId, IntentId};

use crate::{Attach, MonotonicTime};

/// Accepted messages whose items are overdue.
#[derive(Clone, Debug, Default)]
pub(super) struct Overdue {
    /// The attach and the time of each message's first note.
    since: BTreeMap<IntentId, (Attach, MonotonicTime)>,
}

impl Overdue {
    /// Records the messages that are overdue now, and returns those overdue for longer than `grace`
    /// under this attach. All others are forgotten.
    pub(super) fn note(
        &mut self,
        now: MonotonicTime,
        attach: Attach,
        messages: impl Iterator<Item = (AgentId, IntentId)>,
        grace: Duration,
    ) -> Vec<(AgentId, IntentId)> {
        let before = std::mem::take(&mut self.since);
        let mut over = Vec::new();
        for (agent_id, intent_id) in messages {
            let since = before.get(&intent_id).filter(|(under, _)| *under == attach);
            let since = since.map_or(now, |(_, since)| *since);
            if since + grace <= now {
                over.push((agent_id, intent_id));
            } else {
                self.since.insert(intent_id, (attach, since));
            }
        }
        over
    }
}
