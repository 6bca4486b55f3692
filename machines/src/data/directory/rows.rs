//! The rows of the directory: ordered, each with the number of its latest event, returned as shared
//! values.

use std::{collections::BTreeMap, sync::Arc};

use bowline_protocol::{AgentId, AgentSummary, model::UnixMillis};

use super::{Change, MAX_AGENTS};

#[derive(Clone, Debug)]
struct Row {
    /// Number of the event that the row is as of.
    seq: u64,
    agent: Arc<AgentSummary>,
}

/// A fetched list: each row with the number of the event it is as of.
pub(super) type Fetched = BTreeMap<AgentId, (u64, Arc<AgentSummary>)>;

/// The rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    by_age: BTreeMap<(UnixMillis, AgentId), Row>,
    created: BTreeMap<AgentId, UnixMillis>,
    rev: u64,
    /// The list as of `rev`; `None` after the rows changed.
    shown: Option<Arc<[Arc<AgentSummary>]>>,
    /// Agents of the host beyond these, as far as known: exact after a load.
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

    pub(super) fn agents(&mut self) -> Arc<[Arc<AgentSummary>]> {
        let rows = self.by_age.values();
        let shown = self
            .shown
            .get_or_insert_with(|| rows.map(|row| row.agent.clone()).collect());
        Arc::clone(shown)
    }

    /// Applies one event, unless the row is as of this or a later one.
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
            // The row may have another creation time.
            None => self.take(&agent.id),
        }
        if self.created.len() >= MAX_AGENTS {
            self.make_room(&key);
        }
        self.created.insert(agent.id.clone(), agent.created_at);
        self.by_age.insert(key, Row { seq, agent });
        self.changed();
    }

    /// Removes the oldest row to make room for one that changed, since recent activity matters to
    /// the user.
    fn make_room(&mut self, coming: &(UnixMillis, AgentId)) {
        let is_new = self
            .by_age
            .last_key_value()
            .is_none_or(|(newest, _)| newest < coming);
        if let Some(((_, id), _)) = self.by_age.pop_first() {
            self.created.remove(&id);
        }
        // An agent older than the newest row was left out before, and now replaces another.
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

    /// Starts another numbering: every event of it is newer than the rows.
    pub(super) fn renumber(&mut self) {
        for row in self.by_age.values_mut() {
            row.seq = 0;
        }
    }

    /// Replaces the rows by a fetched list, each row as of its event; only the newest rows of a
    /// list over the bound. `total`: number of agents of the host.
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
