//! The agents of all hosts in one list, as changes.

use bowline_runtime::{self as runtime, MergedDirectory, RowAgent};

use super::{
    agent::{AgentSummary, LoadFailure, PendingAgent},
    list::{Crossing, ListChange},
    mirror,
    state::DirectoryState,
};

/// One row of the list: an agent of a daemon, or one being created.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DirectoryRow {
    /// Key of the row, permanent: the row of an agent being created keeps it when the daemon has
    /// the agent.
    pub key: String,
    /// The agent's host.
    pub server_id: String,
    /// The agent, once the daemon has it.
    pub agent: Option<AgentSummary>,
    /// The agent being created, until then (UX-3).
    pub pending: Option<PendingAgent>,
}

mirror! {
    /// State of one host's part of the list.
    #[derive(Eq)]
    HostDirectory of host: &runtime::HostDirectory {
        /// The host.
        server_id: String = host.server_id.to_string(),
        /// Its name for people.
        name: String = host.name.clone(),
        /// State of its list.
        state: DirectoryState = host.state.into(),
        /// Why its rows may be stale (UX-4).
        error: Option<LoadFailure> = host.error.map(Into::into),
        /// Whether the host has more agents than the list holds.
        truncated: bool = host.truncated,
    }
}

/// The changes since the listener's last update.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DirectoryUpdate {
    /// Revision of the list that the changes apply to; none: an empty list.
    pub base_rev: Option<u32>,
    /// Revision of the resulting list.
    pub rev: u32,
    /// Changes of the list, in the order in which they apply.
    pub changes: Vec<ListChange>,
    /// The rows of all insertions and replacements in `changes`, in order of use.
    pub rows: Vec<DirectoryRow>,
    /// Whether to show a skeleton: the list is empty and a first load is running.
    pub loading: bool,
    /// State of each host's part.
    pub hosts: Vec<HostDirectory>,
}

/// Key of a row: the intent that created its agent, so that the row stays the same when the daemon
/// has it (UX-3).
fn key_of(row: &runtime::DirectoryRow) -> String {
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

/// The changes from the listener's value to the new one.
impl From<(Option<&MergedDirectory>, &MergedDirectory)> for DirectoryUpdate {
    fn from((base, new): (Option<&MergedDirectory>, &MergedDirectory)) -> Self {
        let list = Crossing::from(new.diff(base));
        Self {
            base_rev: list.base_rev,
            rev: list.rev,
            changes: list.changes,
            rows: list.rows,
            loading: new.loading,
            hosts: new.hosts.iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_runtime::{
        machines::data::optimistic::PendingAgent,
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
