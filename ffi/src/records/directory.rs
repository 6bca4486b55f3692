//! The agents of all hosts in one list, as changes.

use std::sync::Arc;

use bowline_runtime::{self as runtime, MergedDirectory, RowAgent};

use super::{
    agent::{AgentSummary, LoadFailure, PendingAgent},
    rev,
    state::DirectoryState,
};
use crate::diff::diff;

/// One row of the list: an agent that the daemon has, or one that is on its way there.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DirectoryRow {
    /// Names the row in this list, for ever: that of an agent which is being created stays when the daemon has it.
    pub key: String,
    /// Whose agent.
    pub server_id: String,
    /// The agent, if the daemon has it.
    pub agent: Option<AgentSummary>,
    /// What is being created, until then (UX-3).
    pub pending: Option<PendingAgent>,
}

/// How one host's part of the list stands.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct HostDirectory {
    /// Which host.
    pub server_id: String,
    /// Its name, for people.
    pub name: String,
    /// How its list stands.
    pub state: DirectoryState,
    /// Why its rows may be old (UX-4).
    pub error: Option<LoadFailure>,
    /// Whether the host has more agents than are held.
    pub truncated: bool,
}

/// What changed in the list. To be applied to the list of `base_rev`: take `removed` out, put each of `upserts` in the place of the row of its key or at
/// the end, then arrange the rows by `order` if there is one. Without a `base_rev` the list begins empty.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DirectoryUpdate {
    /// The list that this changes; none: an empty one.
    pub base_rev: Option<u32>,
    /// The list that comes of it.
    pub rev: u32,
    /// Keys of rows that are gone.
    pub removed: Vec<String>,
    /// Rows that are new or other than before.
    pub upserts: Vec<DirectoryRow>,
    /// All keys in order, if they do not stand so already.
    pub order: Option<Vec<String>>,
    /// Show a skeleton: there is nothing yet, and a first load runs somewhere.
    pub loading: bool,
    /// How each host's part stands.
    pub hosts: Vec<HostDirectory>,
}

/// Names a row: by the intent that created its agent, so that it stays the same row when the daemon has it (UX-3).
pub(crate) fn key_of(row: &runtime::DirectoryRow) -> String {
    let (agent_id, intent_id) = match &row.agent {
        RowAgent::Known(agent) => (Some(&agent.id), agent.intent_id),
        RowAgent::Pending(agent) => (None, Some(agent.intent_id)),
    };
    match (intent_id, agent_id) {
        (Some(intent_id), _) => format!("{}/{intent_id}", row.server_id),
        (None, Some(agent_id)) => format!("{}/{agent_id}", row.server_id),
        (None, None) => row.server_id.to_string(),
    }
}

impl From<&runtime::DirectoryRow> for DirectoryRow {
    fn from(row: &runtime::DirectoryRow) -> Self {
        let (agent, pending) = match &row.agent {
            RowAgent::Known(agent) => (Some(agent.as_ref().into()), None),
            RowAgent::Pending(agent) => (None, Some(agent.as_ref().into())),
        };
        Self {
            key: key_of(row),
            server_id: row.server_id.to_string(),
            agent,
            pending,
        }
    }
}

impl From<&runtime::HostDirectory> for HostDirectory {
    fn from(host: &runtime::HostDirectory) -> Self {
        Self {
            server_id: host.server_id.to_string(),
            name: host.name.clone(),
            state: DirectoryState::named(host.state),
            error: host.error.map(Into::into),
            truncated: host.truncated,
        }
    }
}

/// What makes `new` of what a subscriber has.
pub(crate) fn directory_update(
    base: Option<&MergedDirectory>,
    new: &MergedDirectory,
) -> DirectoryUpdate {
    let old = base.map(|base| base.rows.as_slice()).unwrap_or_default();
    let diff = diff(old, &new.rows, key_of);
    let row = |row: &Arc<runtime::DirectoryRow>| row.as_ref().into();
    DirectoryUpdate {
        base_rev: base.map(|base| rev(base.rev)),
        rev: rev(new.rev),
        removed: diff.removed,
        upserts: diff.upserts.iter().map(row).collect(),
        order: diff.order,
        loading: new.loading,
        hosts: new.hosts.iter().map(Into::into).collect(),
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{
        machines::optimistic::PendingAgent,
        protocol::{self, AgentStatus, IntentId, ServerId},
    };

    use super::*;

    #[test]
    fn ux_3_the_row_of_an_agent_stays_the_same_row_when_the_daemon_has_it() {
        let server_id = ServerId::of_public_key(&[1; 32]);
        let intent_id = IntentId::from_uuid(uuid::Uuid::from_u128(7));
        let pending = PendingAgent {
            intent_id,
            provider: "p".to_owned(),
            cwd: "/".to_owned(),
            title: None,
            prompt: None,
            at: 0,
        };
        let mut agent = protocol::AgentSummary {
            id: "agt_1".parse().unwrap(),
            title: String::new(),
            provider: "p".to_owned(),
            cwd: "/".to_owned(),
            status: AgentStatus::Idle,
            created_at: 0,
            updated_at: 0,
            attention: None,
            intent_id: Some(intent_id),
        };
        let row = |agent| runtime::DirectoryRow {
            server_id: server_id.clone(),
            agent,
        };
        let before = DirectoryRow::from(&row(RowAgent::Pending(Arc::new(pending))));
        let after = DirectoryRow::from(&row(RowAgent::Known(Arc::new(agent.clone()))));
        assert_eq!(before.key, after.key);
        let known = after.agent.unwrap().intent_id;
        assert_eq!(before.pending.unwrap().intent_id, known.unwrap());
        agent.intent_id = None;
        let unrelated = DirectoryRow::from(&row(RowAgent::Known(Arc::new(agent))));
        assert_ne!(unrelated.key, before.key);
    }
}
