//! The list of a host's agents on the client, one machine per host (DS, UX-4).
//!
//! ```text
//!  Idle ──attached/refresh──► InitialLoading ──loaded──► Ready ◄──loaded── Revalidating
//!                                 │  ▲                     └─attached(new|reset)/refresh─┘ ▲ │
//!                           failed▼  │retry, attached, refresh                       retry │ ▼failed
//!                       ErrorBeforeFirstSuccess                                   ErrorAfterReady
//!  Idle ──disconnected──────────►┘
//! ```
//!
//! One load is all the pages of `agents.list`: the machine asks for each page with [`Effect::Load`] and takes them as a whole
//! when the last one is there. The list is as of the `seq` of its first page; what happened since is applied on top, in
//! order, each row at most once for each event (INV-10). A change that arrives while a load runs is shown at once if there
//! are rows already, and kept, the newest for each agent, for the list to come.
//!
//! Rows survive every error and every disconnect. A load that a disconnect interrupts fails at once (INV-13), and since the
//! machine then is not `Ready`, the next attach loads, whatever kind it is. The machine keeps no flag of its own for the
//! connection (INV-5): a load without one fails with [`LoadError::Lost`] and waits for the attach.

mod rows;
mod transitions;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bowline_protocol::{AgentId, AgentSummary, Reason, SessionState, methods::AgentsPage};

use crate::{Generation, Moment, Transition, load::LoadError, outbox::Outbox};
use rows::{Fetched, Rows};

/// Most agents of one host that are held: the newest, and older ones that something happens to.
/// [`Directory::left_out`] says how many more the host has; they can be reached by id all the same.
pub const MAX_AGENTS: usize = 10_000;
/// Most pages of one load. A list that goes on is left out from there on; one with pages without agents is taken as malformed.
pub const MAX_PAGES: u32 = 1_000;

/// Where the directory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Never attached, and the host is being reached for.
    Idle,
    /// The first load runs: show a skeleton.
    InitialLoading {
        /// Which load.
        load: Generation,
        /// Until when its next page must come.
        deadline: Moment,
    },
    /// The rows are what the daemon has.
    Ready,
    /// The rows stay while they are fetched again.
    Revalidating {
        /// Which load.
        load: Generation,
        /// Until when its next page must come.
        deadline: Moment,
    },
    /// There never were rows, and the load failed.
    ErrorBeforeFirstSuccess {
        /// Why.
        error: LoadError,
        /// When it is tried again; `None`: on the next attach or refresh.
        retry_at: Option<Moment>,
    },
    /// The rows stay, although fetching them again failed (UX-4).
    ErrorAfterReady {
        /// Why.
        error: LoadError,
        /// When it is tried again; `None`: on the next attach or refresh.
        retry_at: Option<Moment>,
    },
}

impl State {
    /// The name in logs and snapshots.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::InitialLoading { .. } => "initial_loading",
            Self::Ready => "ready",
            Self::Revalidating { .. } => "revalidating",
            Self::ErrorBeforeFirstSuccess { .. } => "error_before_first_success",
            Self::ErrorAfterReady { .. } => "error_after_ready",
        }
    }
}

/// What can happen to a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The host's active client attached to the session.
    Attached {
        /// What became of the session.
        session: SessionState,
    },
    /// The connection ended, or the host could not be reached.
    Disconnected {
        /// Why.
        reason: Reason,
    },
    /// Someone wants the rows fetched again.
    Refresh,
    /// A page came.
    Loaded {
        /// The load it was asked under.
        generation: Generation,
        /// The page.
        page: AgentsPage,
    },
    /// A page could not be had.
    LoadFailed {
        /// The load it was asked under.
        generation: Generation,
        /// Why.
        error: LoadError,
    },
    /// `agent.updated`.
    AgentUpdated {
        /// The event's number.
        seq: u64,
        /// The row as it is now.
        agent: AgentSummary,
    },
    /// `agent.removed`.
    AgentRemoved {
        /// The event's number.
        seq: u64,
        /// Which.
        agent_id: AgentId,
    },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask `agents.list`, the newest first, for that page and report [`Input::Loaded`] or [`Input::LoadFailed`]; without a connection the
    /// latter at once, with [`LoadError::Lost`].
    Load {
        /// To be reported back.
        generation: Generation,
        /// Where the page begins; `None` for the first.
        cursor: Option<String>,
    },
}

/// The rows at one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows with every change of the rows, and only then.
    pub rev: u64,
    /// By creation time, then id. A row that did not change is the same `Arc` as before.
    pub agents: Arc<[Arc<AgentSummary>]>,
}

/// Pages of the running load, and the newest change of each agent since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Incoming {
    /// The event that the list as a whole is as of: that of its first page.
    base: Option<u64>,
    agents: Fetched,
    pages: u32,
    /// How many agents there are, as the newest page says.
    total: u64,
    /// The list goes on beyond what was fetched.
    truncated: bool,
    changes: BTreeMap<AgentId, Change>,
}

/// What an event did to one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    seq: u64,
    /// `None`: removed.
    agent: Option<Arc<AgentSummary>>,
}

/// The directory machine.
#[derive(Clone, Debug)]
pub struct Directory {
    state: State,
    generation: Generation,
    failures: u32,
    rows: Rows,
    /// Everything up to this event of the epoch is in the rows.
    applied: u64,
    incoming: Incoming,
    stale: u32,
    refused: u32,
    effects: Outbox<Effect>,
    transitions: Outbox<Transition>,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// A directory that was never attached.
    pub fn new() -> Self {
        Self {
            state: State::Idle,
            generation: Generation::ZERO,
            failures: 0,
            rows: Rows::default(),
            applied: 0,
            incoming: Incoming::default(),
            stale: 0,
            refused: 0,
            effects: Outbox::default(),
            transitions: Outbox::default(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.is_stale(&input) {
            self.stale = self.stale.saturating_add(1);
            return;
        }
        self.transition(now, input);
    }

    /// To be called when [`Directory::poll_timeout`] has passed. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.expire(now);
    }

    /// When [`Directory::handle_timeout`] wants to be called.
    pub const fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            State::InitialLoading { deadline, .. } | State::Revalidating { deadline, .. } => {
                Some(deadline)
            }
            State::ErrorBeforeFirstSuccess { retry_at, .. }
            | State::ErrorAfterReady { retry_at, .. } => retry_at,
            // Nothing is awaited: the next attach or refresh comes from outside.
            State::Idle | State::Ready => None,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// The next record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Where the directory stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The rows. Cheap while nothing has changed since the last call.
    pub fn snapshot(&mut self) -> Snapshot {
        self.rows.snapshot()
    }

    /// How often the rows have changed.
    pub const fn rev(&self) -> u64 {
        self.rows.rev()
    }

    /// One row.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentSummary>> {
        self.rows.get(id)
    }

    /// Whether a load ever succeeded: from then on errors never block.
    pub const fn has_succeeded(&self) -> bool {
        match self.state {
            State::Idle | State::InitialLoading { .. } | State::ErrorBeforeFirstSuccess { .. } => {
                false
            }
            State::Ready | State::Revalidating { .. } | State::ErrorAfterReady { .. } => true,
        }
    }

    /// The load that is running.
    pub const fn running(&self) -> Option<Generation> {
        match self.state {
            State::InitialLoading { load, .. } | State::Revalidating { load, .. } => Some(load),
            State::Idle
            | State::Ready
            | State::ErrorBeforeFirstSuccess { .. }
            | State::ErrorAfterReady { .. } => None,
        }
    }

    /// Why the last load failed, until another one begins.
    pub const fn error(&self) -> Option<LoadError> {
        match self.state {
            State::ErrorBeforeFirstSuccess { error, .. } | State::ErrorAfterReady { error, .. } => {
                Some(error)
            }
            State::Idle
            | State::InitialLoading { .. }
            | State::Ready
            | State::Revalidating { .. } => None,
        }
    }

    /// Whether its rows are all there are: it was loaded and is exact. Then an agent that is not among them is not there.
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Ready) && !self.is_truncated()
    }

    /// Whether the host has more agents than are held.
    pub const fn is_truncated(&self) -> bool {
        self.left_out() > 0
    }

    /// How many more agents the host has than are held: exact when the list was loaded, and kept from the events since.
    pub const fn left_out(&self) -> u64 {
        self.rows.left_out
    }

    /// How many results came for a load that is over; they changed nothing (INV-10).
    pub const fn stale(&self) -> u32 {
        self.stale
    }

    /// How many changes of state were not in the table and did not happen: a defect if not zero.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}
