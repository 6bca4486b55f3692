//! The list of a host's agents on the client: a collection, newest first (DS-1, UX-4).
//!
//! Every agent is wanted, so a load is all pages of `agents.list`. The rest is
//! [`crate::data::collection`]: states, loads, and events on top of the rows.

#[cfg(test)]
mod tests;

use std::{
    cmp::{Ordering, Reverse},
    convert::Infallible,
    sync::Arc,
};

use bowline_protocol::{
    AgentId, AgentSummary, Reason, SessionState, methods::AgentsPage, model::UnixMillis,
};

pub use super::collection::{CollectionState as DirectoryState, MAX_PAGES, State};

use super::{
    collection::{self, Collection, CollectionConfig, Entry, Page, Request, RowChange},
    load::LoadError,
    view::Placed,
};
use crate::{Generation, MonotonicTime, Transition};

/// Most agents of one host that are held: the newest, and older ones that change.
/// [`Directory::left_out`] has the number of the others, which can still be reached by id.
pub const MAX_AGENTS: usize = 10_000;

/// All agents of the daemon, as far as they fit.
const CONFIG: CollectionConfig = CollectionConfig {
    page: MAX_AGENTS,
    max_rows: MAX_AGENTS,
    max_bytes: usize::MAX,
};

/// By age, newest first, as the daemon's pages; then by id.
impl Placed for AgentSummary {
    type Place = Reverse<(UnixMillis, AgentId)>;

    fn place(&self) -> Self::Place {
        Reverse((self.created_at, self.id.clone()))
    }

    fn compare(&self, Reverse((created_at, id)): &Self::Place) -> Ordering {
        (created_at, id).cmp(&(&self.created_at, &self.id))
    }

    fn compare_rows(&self, other: &Self) -> Ordering {
        (other.created_at, &other.id).cmp(&(self.created_at, &self.id))
    }
}

impl Entry for AgentSummary {
    type Key = AgentId;

    const IS_WINDOW: bool = false;
    const FOLLOWS: bool = false;

    type Growth = Infallible;

    fn grown(&self, growth: &Infallible) -> Self {
        match *growth {}
    }

    fn growth_bytes(growth: &Infallible) -> usize {
        match *growth {}
    }

    fn key(&self) -> AgentId {
        self.id.clone()
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Inputs of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The host's active client attached to the session.
    Attached {
        /// The welcome's session state.
        session: SessionState,
    },
    /// The connection ended.
    Disconnected {
        /// The reason.
        reason: Reason,
    },
    /// The host cannot be reached, so no list can be loaded. May be repeated.
    Unreachable {
        /// The reason.
        reason: Reason,
    },
    /// Fetch the rows again.
    Refresh,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<AgentsPage, LoadError>,
    },
    /// `agent.updated`.
    AgentUpdated {
        /// Number of the event.
        seq: u64,
        /// The new row.
        agent: AgentSummary,
    },
    /// `agent.removed`.
    AgentRemoved {
        /// Number of the event.
        seq: u64,
        /// The agent.
        agent_id: AgentId,
    },
}

impl From<Input> for collection::Input<AgentSummary> {
    fn from(input: Input) -> Self {
        match input {
            Input::Attached { session } => Self::Attached { session },
            Input::Disconnected { reason } => Self::Disconnected { reason },
            Input::Unreachable { reason } => Self::Unreachable { reason },
            Input::Refresh => Self::Refresh,
            Input::Page { load, result } => {
                let result = result.map(|page| Page {
                    rows: page.agents,
                    next: page.next_cursor,
                    total: Some(page.total),
                    seq: page.seq,
                    resumed: false,
                    follow: None,
                });
                Self::Page { load, result }
            }
            Input::AgentUpdated { seq, agent } => Self::Changed {
                seq,
                changes: vec![RowChange::Put(agent)],
            },
            Input::AgentRemoved { seq, agent_id } => Self::Changed {
                seq,
                changes: vec![RowChange::Remove(agent_id)],
            },
        }
    }
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request this page of `agents.list`, newest first, and report [`Input::Page`]; without a
    /// connection at once, with [`LoadError::Lost`].
    Load {
        /// Number of the load, to report with the result.
        load: Generation,
        /// Start of the page; `None` for the first.
        cursor: Option<String>,
    },
}

/// The directory machine. By default it was never attached.
#[derive(Clone, Debug)]
pub struct Directory {
    agents: Collection<AgentSummary>,
    /// The rows as of a revision.
    shown: Option<(u64, Arc<[Arc<AgentSummary>]>)>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            agents: Collection::new(CONFIG),
            shown: None,
        }
    }
}

impl Directory {
    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        self.agents.handle(now, input.into());
    }

    /// Call when [`Directory::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.agents.handle_timeout(now);
    }

    /// When to call [`Directory::handle_timeout`] next.
    pub const fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.agents.poll_timeout()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let collection::Effect::Load { load, request } = self.agents.poll_effect()?;
        let cursor = match request {
            Request::Page { cursor, .. } => Some(cursor),
            Request::First { .. } | Request::Rows(_) => None,
        };
        Some(Effect::Load { load, cursor })
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        let transition = self.agents.poll_transition()?;
        Some(Transition {
            machine: "directory_sync",
            ..transition
        })
    }

    /// The current state.
    pub const fn state(&self) -> &State {
        self.agents.state()
    }

    /// Stale inputs, which were dropped and changed nothing (INV-10).
    pub const fn stale(&self) -> u32 {
        self.agents.stale()
    }

    /// Transitions outside the table, which were not made; nonzero is a defect.
    pub const fn refused(&self) -> u32 {
        self.agents.refused()
    }

    /// The rows, sorted by creation time, then id. An unchanged row is the same `Arc` as before.
    /// Cheap if nothing has changed since the last call.
    pub fn agents(&mut self) -> Arc<[Arc<AgentSummary>]> {
        let rev = self.agents.rev();
        if let Some((shown, agents)) = &self.shown
            && *shown == rev
        {
            return Arc::clone(agents);
        }
        let agents: Arc<[_]> = self.agents.rows().iter().rev().cloned().collect();
        self.shown = Some((rev, Arc::clone(&agents)));
        agents
    }

    /// Incremented with every change of the rows, and only then.
    pub const fn rev(&self) -> u64 {
        self.agents.rev()
    }

    /// One row.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentSummary>> {
        self.agents.get(id)
    }

    /// Whether any load succeeded; later errors do not block the display.
    pub const fn has_succeeded(&self) -> bool {
        self.agents.has_succeeded()
    }

    /// Number of the running load.
    pub fn running(&self) -> Option<Generation> {
        self.agents.running()
    }

    /// Error of the last load, until another one begins.
    pub const fn error(&self) -> Option<LoadError> {
        self.agents.error()
    }

    /// Whether the rows are complete and current, so that an agent without a row does not exist.
    pub const fn is_complete(&self) -> bool {
        self.agents.is_current() && !self.is_truncated()
    }

    /// Whether the host has more agents than the rows.
    pub const fn is_truncated(&self) -> bool {
        self.left_out() > 0
    }

    /// Number of the host's agents without a row: exact after a load, then maintained from events.
    pub const fn left_out(&self) -> u64 {
        self.agents.left_out()
    }
}
