//! The agents of all hosts in one list, built from the same snapshots as each host's own list
//! (DS-2: one refresh path serves every surface).

use std::{cmp::Ordering, sync::Arc};

use bowline_machines::data::{
    directory::DirectoryState, load::LoadError, optimistic::PendingAgent, view::ListDiff,
};
use bowline_protocol::{AgentSummary, ServerId, model::UnixMillis};
use tokio::sync::watch;

use crate::snapshot::{DirectoryView, HostSnapshot, Snapshot};

/// All agents of all hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MergedDirectory {
    /// Increases with every change delivered to a subscriber; a smaller one is older.
    pub rev: u64,
    /// Show a skeleton: the list is empty and a first load is in progress. Derived from the
    /// directory machines alone.
    pub loading: bool,
    /// Each host's status, ordered by `serverId`.
    pub hosts: Vec<HostDirectory>,
    /// Oldest first over all hosts; agents being created are at the end.
    pub rows: Vec<Arc<DirectoryRow>>,
}

/// Status of one host's part of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDirectory {
    /// The host.
    pub server_id: ServerId,
    /// Display name.
    pub name: String,
    /// State of its directory machine.
    pub state: DirectoryState,
    /// The reason why its rows may be outdated (UX-4).
    pub error: Option<LoadError>,
    /// Whether the host has more agents than the list holds.
    pub truncated: bool,
    /// Number of agents that the list does not hold.
    pub left_out: u64,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    /// The agent's host.
    pub server_id: ServerId,
    /// The agent.
    pub agent: RowAgent,
}

/// Content of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowAgent {
    /// An existing agent.
    Known(Arc<AgentSummary>),
    /// An agent being created by this client (UX-3).
    Pending(Arc<PendingAgent>),
}

impl DirectoryRow {
    fn order(&self) -> (bool, UnixMillis, &ServerId) {
        match &self.agent {
            RowAgent::Known(agent) => (false, agent.created_at, &self.server_id),
            RowAgent::Pending(agent) => (true, agent.at, &self.server_id),
        }
    }

    fn is_of(&self, server_id: &ServerId, agent: &RowAgent) -> bool {
        let same = match (&self.agent, agent) {
            (RowAgent::Known(one), RowAgent::Known(other)) => Arc::ptr_eq(one, other),
            (RowAgent::Pending(one), RowAgent::Pending(other)) => Arc::ptr_eq(one, other),
            (RowAgent::Known(_), RowAgent::Pending(_))
            | (RowAgent::Pending(_), RowAgent::Known(_)) => false,
        };
        same && self.server_id == *server_id
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_age = self.order().cmp(&other.order());
        by_age.then_with(|| match (&self.agent, &other.agent) {
            (RowAgent::Known(one), RowAgent::Known(other)) => one.id.cmp(&other.id),
            (RowAgent::Pending(one), RowAgent::Pending(other)) => {
                one.intent_id.as_bytes().cmp(other.intent_id.as_bytes())
            }
            (RowAgent::Known(_), RowAgent::Pending(_)) => Ordering::Less,
            (RowAgent::Pending(_), RowAgent::Known(_)) => Ordering::Greater,
        })
    }
}

impl MergedDirectory {
    /// The merged list of a snapshot. Rows unchanged since `before` share their values.
    pub fn of(snapshot: &Snapshot, before: &Self) -> Self {
        let mut rows: Vec<Arc<DirectoryRow>> = Vec::new();
        for host in &snapshot.hosts {
            let known = host.directory.agents.iter().cloned().map(RowAgent::Known);
            let pending = host
                .directory
                .creating
                .iter()
                .cloned()
                .map(RowAgent::Pending);
            rows.extend(known.chain(pending).map(|agent| {
                Arc::new(DirectoryRow {
                    server_id: host.server_id.clone(),
                    agent,
                })
            }));
        }
        rows.sort_by(|one, other| one.compare(other));
        reuse(&mut rows, &before.rows);
        let hosts = snapshot.hosts.iter().map(|host| standing(host)).collect();
        let is_loading = |host: &Arc<HostSnapshot>| host.directory.state.is_loading();
        Self {
            rev: before.rev + 1,
            loading: rows.is_empty() && snapshot.hosts.iter().any(is_loading),
            hosts,
            rows,
        }
    }

    /// The changes that turn `base` into this list; with `None`, from an empty list. Computed at
    /// delivery, against the list delivered last.
    pub fn diff(&self, base: Option<&Self>) -> ListDiff<DirectoryRow> {
        let base = base.map(|base| (base.rev, base.rows.as_slice()));
        ListDiff::of_sorted(base, (self.rev, &self.rows), DirectoryRow::compare)
    }
}

/// Replaces rows by equal ones of `before`. Both are in the same order.
fn reuse(rows: &mut [Arc<DirectoryRow>], before: &[Arc<DirectoryRow>]) {
    let mut before = before.iter().peekable();
    for row in rows {
        while before
            .next_if(|old| old.compare(row) == Ordering::Less)
            .is_some()
        {}
        if let Some(old) = before.peek()
            && old.is_of(&row.server_id, &row.agent)
        {
            *row = Arc::clone(old);
        }
    }
}

fn standing(host: &HostSnapshot) -> HostDirectory {
    HostDirectory {
        server_id: host.server_id.clone(),
        name: host.name.clone(),
        state: host.directory.state,
        error: host.directory.error,
        truncated: host.directory.truncated,
        left_out: host.directory.left_out,
    }
}

/// The latest merged list. The reader computes it when it reads.
#[derive(Clone, Debug)]
pub struct DirectorySubscription {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    seen: Arc<Snapshot>,
    current: Arc<MergedDirectory>,
}

impl DirectorySubscription {
    pub(crate) fn new(mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let seen = Arc::clone(&snapshots.borrow_and_update());
        let current = Arc::new(MergedDirectory::of(&seen, &MergedDirectory::default()));
        Self {
            snapshots,
            seen,
            current,
        }
    }

    /// The list as last returned.
    pub fn current(&self) -> Arc<MergedDirectory> {
        Arc::clone(&self.current)
    }

    /// Waits for a changed list and returns the newest; `None` after the runtime has ended.
    /// Cancel-safe. Other changes of hosts do not wake the reader.
    pub async fn next(&mut self) -> Option<Arc<MergedDirectory>> {
        loop {
            self.snapshots.changed().await.ok()?;
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            let is_same = same_directories(&self.seen, &snapshot);
            self.seen = snapshot;
            if !is_same {
                self.current = Arc::new(MergedDirectory::of(&self.seen, &self.current));
                return Some(self.current());
            }
        }
    }
}

fn same_directories(one: &Snapshot, other: &Snapshot) -> bool {
    let same = |(one, other): (&Arc<HostSnapshot>, &Arc<HostSnapshot>)| {
        Arc::ptr_eq(one, other)
            || (one.server_id == other.server_id
                && one.name == other.name
                && one.directory.is_same(&other.directory))
    };
    one.hosts.len() == other.hosts.len() && one.hosts.iter().zip(&other.hosts).all(same)
}

impl DirectoryView {
    fn is_same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.error == other.error
            && self.left_out == other.left_out
            && Arc::ptr_eq(&self.agents, &other.agents)
            && self.creating == other.creating
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::{AgentId, AgentStatus, PublicKey, Reason};
    use uuid::Uuid;

    use super::*;
    use crate::HostRecord;

    /// A host with a directory state and agents of these creation times.
    fn host(n: u8, state: DirectoryState, created: &[i64]) -> HostSnapshot {
        let record = HostRecord {
            server_id: ServerId::of_public_key(&[n; 32]),
            name: format!("host {n}"),
            transport_key: PublicKey::from_bytes([n; 32]),
            psk: None,
            addresses: Vec::new(),
        };
        let agent = |&created_at: &i64| {
            Arc::new(AgentSummary {
                id: AgentId::from_uuid(Uuid::from_u64_pair(u64::from(n), 0)),
                title: String::new(),
                provider: "shell".into(),
                cwd: "/".into(),
                status: AgentStatus::Idle,
                created_at,
                updated_at: created_at,
                attention: None,
                intent_id: None,
            })
        };
        let mut host = HostSnapshot::of_record(&record, 0, None);
        host.directory.state = state;
        host.directory.agents = created.iter().map(agent).collect();
        host
    }

    fn merged(hosts: Vec<HostSnapshot>, before: &MergedDirectory) -> MergedDirectory {
        let snapshot = Snapshot {
            hosts: hosts.into_iter().map(Arc::new).collect(),
            ..Snapshot::default()
        };
        MergedDirectory::of(&snapshot, before)
    }

    fn ages(merged: &MergedDirectory) -> Vec<i64> {
        let rows = merged.rows.iter().map(|row| row.order().1);
        rows.collect()
    }

    #[test]
    fn ds_2_all_hosts_are_one_list_and_one_in_trouble_takes_nothing_from_it() {
        let first = host(1, DirectoryState::Ready, &[1, 3]);
        let second = host(2, DirectoryState::Ready, &[2, 4]);
        let both = merged(
            vec![first.clone(), second.clone()],
            &MergedDirectory::default(),
        );
        assert_eq!(ages(&both), [1, 2, 3, 4]);

        let mut away = second;
        away.directory.state = DirectoryState::ErrorAfterReady;
        away.directory.error = Some(LoadError::Lost(Reason::Unreachable));
        let still = merged(vec![first, away], &both);
        assert!(!still.loading);
        assert_eq!(
            still.hosts.iter().filter(|h| h.error.is_some()).count(),
            1,
            "the error belongs to one host"
        );
        let same = still.rows.iter().zip(&both.rows);
        assert_eq!(still.rows.len(), both.rows.len());
        assert!(same.into_iter().all(|(new, old)| Arc::ptr_eq(new, old)));
    }

    #[test]
    fn ds_3_a_skeleton_stands_where_a_first_load_is_awaited_and_there_are_no_rows() {
        let nothing = MergedDirectory::default();
        for state in DirectoryState::ALL {
            let skeleton = matches!(state, DirectoryState::Idle | DirectoryState::InitialLoading);
            let alone = merged(vec![host(1, state, &[])], &nothing);
            assert_eq!(alone.loading, skeleton, "{state:?}");
            let beside_rows = merged(
                vec![host(1, state, &[]), host(2, DirectoryState::Ready, &[1])],
                &nothing,
            );
            assert!(!beside_rows.loading, "{state:?}");
        }
    }
}
