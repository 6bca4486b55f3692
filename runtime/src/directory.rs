//! The agents of all hosts in one list, made of the same snapshots as each host's own list (DS: one refresh path serves every
//! surface).

use std::{cmp::Ordering, sync::Arc};

use bowline_machines::optimistic::PendingAgent;
use bowline_protocol::{AgentSummary, ServerId, model::UnixMillis};
use tokio::sync::watch;

use crate::snapshot::{DirectoryView, HostSnapshot, Snapshot};

/// All agents of all hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MergedDirectory {
    /// Grows with every change that one subscriber is given; a smaller one is older.
    pub rev: u64,
    /// Show a skeleton: there is nothing to show yet, and a first load runs somewhere. Derives from the directory machines
    /// alone.
    pub loading: bool,
    /// Each host's standing, in order of `serverId`.
    pub hosts: Vec<HostDirectory>,
    /// Oldest first over all hosts; agents on their way stand at the end.
    pub rows: Vec<Arc<DirectoryRow>>,
}

/// How one host's part of the list stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDirectory {
    /// Which host.
    pub server_id: ServerId,
    /// Its name, for people.
    pub name: String,
    /// State of its directory machine, in snake_case.
    pub state: &'static str,
    /// Why its rows may be old (UX-4).
    pub error: Option<bowline_machines::load::LoadError>,
    /// Whether the host has more agents than are held.
    pub truncated: bool,
    /// How many more.
    pub left_out: u64,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    /// Whose agent.
    pub server_id: ServerId,
    /// Which.
    pub agent: RowAgent,
}

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowAgent {
    /// An agent that the daemon has.
    Known(Arc<AgentSummary>),
    /// One that is being created from here (UX-3).
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
    /// The merged list of a snapshot. Rows that are as they were in `before` are the same values.
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
        let is_loading = |host: &Arc<HostSnapshot>| host.directory.is_loading();
        Self {
            rev: before.rev + 1,
            loading: rows.is_empty() && snapshot.hosts.iter().any(is_loading),
            hosts,
            rows,
        }
    }
}

/// Puts the values of before in the places of equal ones. Both are in the same order.
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

/// The merged list, the newest only. What it costs is paid by its reader, when it reads.
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

    /// The list as it was last returned.
    pub fn current(&self) -> Arc<MergedDirectory> {
        Arc::clone(&self.current)
    }

    /// Waits until the list is another one and returns the newest; `None` when the runtime is gone. Cancel-safe. What else
    /// changes of hosts does not wake its reader.
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
    /// Whether a first load runs or is about to: a skeleton stands for the rows.
    pub fn is_loading(&self) -> bool {
        matches!(self.state, "idle" | "initial_loading")
    }

    fn is_same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.error == other.error
            && self.left_out == other.left_out
            && Arc::ptr_eq(&self.agents, &other.agents)
            && Arc::ptr_eq(&self.creating, &other.creating)
    }
}
