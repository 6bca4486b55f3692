//! The rows of the directory: ordered, each knowing as of which event it is, handed out as shared values.

use std::{collections::BTreeMap, sync::Arc};

use bowline_protocol::{AgentId, AgentSummary, model::UnixMillis};

use super::{Change, MAX_AGENTS, Snapshot};

#[derive(Clone, Debug)]
struct Row {
    /// The event it is as of.
    seq: u64,
    agent: Arc<AgentSummary>,
}

/// A fetched list: each row with the event it is as of.
pub(super) type Fetched = BTreeMap<AgentId, (u64, Arc<AgentSummary>)>;

/// The rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    by_age: BTreeMap<(UnixMillis, AgentId), Row>,
    created: BTreeMap<AgentId, UnixMillis>,
    rev: u64,
    /// The list as of `rev`, until the rows change.
    shown: Option<Arc<[Arc<AgentSummary>]>>,
    /// How many agents the host has beyond these, as far as it is known: exact after a load.
    pub(super) left_out: u64,
}

impl Rows {
    pub(super) const fn rev(&self) -> u64 {
        self.rev
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Arc<AgentSummary>> {
        self.row(id).map(|row| &row.agent)
    }

    fn row(&self, id: &AgentId) -> Option<&Row> {
        let created = *self.created.get(id)?;
        self.by_age.get(&(created, id.clone()))
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let rows = &self.by_age;
        let agents = self
            .shown
            .get_or_insert_with(|| rows.values().map(|row| row.agent.clone()).collect());
        Snapshot {
            rev: self.rev,
            agents: agents.clone(),
        }
    }

    /// Applies one event unless the row is as of it or a later one already.
    pub(super) fn apply(&mut self, id: &AgentId, change: &Change) {
        if self.row(id).is_some_and(|row| row.seq >= change.seq) {
            return;
        }
        match &change.agent {
            Some(agent) => self.put(change.seq, agent.clone()),
            None => self.remove(id),
        }
    }

    fn put(&mut self, seq: u64, agent: Arc<AgentSummary>) {
        let key = (agent.created_at, agent.id.clone());
        match self.by_age.get_mut(&key) {
            // Equal content keeps the shared value, so that consumers can compare pointers.
            Some(row) if row.agent == agent => {
                row.seq = seq;
                return;
            }
            Some(_) => {}
            // Known under another time of creation, perhaps.
            None => self.take(&agent.id),
        }
        if self.created.len() >= MAX_AGENTS {
            self.make_room(&key);
        }
        self.created.insert(agent.id.clone(), agent.created_at);
        self.by_age.insert(key, Row { seq, agent });
        self.changed();
    }

    /// The oldest row goes for one that something happens to: that is what its user wants to see.
    fn make_room(&mut self, coming: &(UnixMillis, AgentId)) {
        let is_new = self
            .by_age
            .last_key_value()
            .is_none_or(|(newest, _)| newest < coming);
        if let Some(((_, id), _)) = self.by_age.pop_first() {
            self.created.remove(&id);
        }
        // One that is older than the newest row was left out before, and takes another's place.
        if is_new || self.left_out == 0 {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn remove(&mut self, id: &AgentId) {
        if self.created.contains_key(id) {
            self.take(id);
            self.changed();
        } else {
            self.left_out = self.left_out.saturating_sub(1);
        }
    }

    fn take(&mut self, id: &AgentId) {
        if let Some(created) = self.created.remove(id) {
            self.by_age.remove(&(created, id.clone()));
        }
    }

    /// Begins another numbering: every event of it is newer than the rows.
    pub(super) fn renumber(&mut self) {
        for row in self.by_age.values_mut() {
            row.seq = 0;
        }
    }

    /// Puts a fetched list in place of the rows, each row as of the given event: the newest of it, if it is too long. `total` is
    /// how many agents the host has.
    pub(super) fn replace(&mut self, mut agents: Fetched, total: u64) {
        let over = agents.len().saturating_sub(MAX_AGENTS);
        if over > 0 {
            let mut ages: Vec<_> = agents
                .iter()
                .map(|(id, (_, agent))| (agent.created_at, id.clone()))
                .collect();
            ages.sort_unstable();
            for (_, id) in ages.into_iter().take(over) {
                agents.remove(&id);
            }
        }
        let held = u64::try_from(agents.len()).unwrap_or(u64::MAX);
        let gone: Vec<AgentId> = self
            .created
            .keys()
            .filter(|id| !agents.contains_key(*id))
            .cloned()
            .collect();
        for id in &gone {
            self.remove(id);
        }
        for (seq, agent) in agents.into_values() {
            self.put(seq, agent);
        }
        self.left_out = total.saturating_sub(held);
    }

    fn changed(&mut self) {
        self.rev = self.rev.saturating_add(1);
        self.shown = None;
    }
}
