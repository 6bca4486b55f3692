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
    pub(super) truncated: bool,
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
        if self.created.len() >= MAX_AGENTS && !self.created.contains_key(&agent.id) {
            self.truncated = true;
            return;
        }
        self.created.insert(agent.id.clone(), agent.created_at);
        self.by_age.insert(key, Row { seq, agent });
        self.changed();
    }

    fn remove(&mut self, id: &AgentId) {
        if self.created.contains_key(id) {
            self.take(id);
            self.changed();
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

    /// Puts a fetched list in place of the rows, each row as of the given event.
    pub(super) fn replace(&mut self, agents: Fetched, truncated: bool) {
        let gone: Vec<AgentId> = self
            .created
            .keys()
            .filter(|id| !agents.contains_key(*id))
            .cloned()
            .collect();
        for id in &gone {
            self.remove(id);
        }
        self.truncated = truncated;
        for (seq, agent) in agents.into_values() {
            self.put(seq, agent);
        }
    }

    fn changed(&mut self) {
        self.rev = self.rev.saturating_add(1);
        self.shown = None;
    }
}
