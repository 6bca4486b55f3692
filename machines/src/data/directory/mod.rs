//! The list of a host's agents on the client, one machine per host (DS-1, UX-4).
//!
//! ```text
//!  Idle ──attached/refresh──► InitialLoading ──loaded──► Ready ◄──loaded── Revalidating
//!                                 │  ▲                     └─attached(new|reset)/refresh─┘ ▲ │
//!                           failed▼  │retry, attached, refresh                       retry │ ▼failed
//!                       ErrorBeforeFirstSuccess                                   ErrorAfterReady
//!  Idle ──disconnected──────────►┘
//! ```
//!
//! One load is all pages of `agents.list`: the machine requests each page with [`Effect::Load`] and
//! applies the list as a whole after the last one. The list is as of the `seq` of its first page;
//! later events are applied on top, in order, each at most once per row (INV-10). A change that
//! arrives during a load is displayed at once if there are rows, and the newest per agent is kept
//! for the list being loaded.
//!
//! Rows survive every error and every disconnect. A disconnect fails the running load at once
//! (INV-13), and because the machine then is not `Ready`, the next attach loads, whatever its kind.
//! In the diagram, [`State::Loading`] and [`State::Failed`] have a name for the first load and one for
//! later ones, as in the log and in [`DirectoryState`].
//!
//! The machine has no flag for the connection (INV-5): a load without one fails with
//! [`LoadError::Lost`] and waits for the attach.

mod rows;
mod transitions;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bowline_protocol::{AgentId, AgentSummary, Reason, SessionState, methods::AgentsPage};
use serde::Serialize;

use crate::{
    Generation, MonotonicTime,
    data::load::LoadError,
    machine_core::{MachineCore, Table, outputs},
};
use rows::{Fetched, Rows};

/// Most agents of one host that are held: the newest, and older ones that change.
/// [`Directory::left_out`] has the number of the others, which can still be reached by id.
pub const MAX_AGENTS: usize = 10_000;
/// Most pages of one load. A longer list is truncated there; one with pages without agents counts
/// as malformed.
pub const MAX_PAGES: u32 = 1_000;

/// State of a host's list of agents as apps see it: the machine's [`State`] without its data
/// (DS-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryState {
    /// Never attached, and the host is connecting.
    #[default]
    Idle,
    /// The first load is running: display a skeleton.
    InitialLoading,
    /// The rows are current.
    Ready,
    /// The rows stay while they are fetched again.
    Revalidating,
    /// There are no rows, because the first load failed.
    ErrorBeforeFirstSuccess,
    /// The rows stay, although fetching them again failed (UX-4).
    ErrorAfterReady,
}

impl DirectoryState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::InitialLoading,
        Self::Ready,
        Self::Revalidating,
        Self::ErrorBeforeFirstSuccess,
        Self::ErrorAfterReady,
    ];

    /// The name in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::InitialLoading => "initial_loading",
            Self::Ready => "ready",
            Self::Revalidating => "revalidating",
            Self::ErrorBeforeFirstSuccess => "error_before_first_success",
            Self::ErrorAfterReady => "error_after_ready",
        }
    }

    /// Whether a first load is running or about to start: a skeleton replaces the rows (DS-3).
    pub const fn is_loading(self) -> bool {
        matches!(self, Self::Idle | Self::InitialLoading)
    }

    /// Whether the list was loaded at least once.
    pub const fn is_loaded(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Revalidating | Self::ErrorAfterReady
        )
    }
}

/// State of the directory. `again`: whether an earlier load succeeded, so that there are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Never attached, and the host is connecting.
    #[default]
    Idle,
    /// A load is running.
    Loading {
        /// Whether an earlier load succeeded.
        again: bool,
        /// Deadline of its next page.
        deadline: MonotonicTime,
    },
    /// The rows are current.
    Ready,
    /// The last load failed.
    Failed {
        /// Whether an earlier load succeeded.
        again: bool,
        /// The error.
        error: LoadError,
        /// Time of the retry; `None`: at the next attach or refresh.
        retry_at: Option<MonotonicTime>,
    },
}

impl State {
    /// The state without its data, for snapshots.
    pub const fn kind(&self) -> DirectoryState {
        match self {
            Self::Idle => DirectoryState::Idle,
            Self::Loading { again: false, .. } => DirectoryState::InitialLoading,
            Self::Ready => DirectoryState::Ready,
            Self::Loading { again: true, .. } => DirectoryState::Revalidating,
            Self::Failed { again: false, .. } => DirectoryState::ErrorBeforeFirstSuccess,
            Self::Failed { again: true, .. } => DirectoryState::ErrorAfterReady,
        }
    }

    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        self.kind().as_str()
    }
}

impl Table for State {
    const MACHINE: &'static str = "directory_sync";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        use DirectoryState::{
            ErrorAfterReady, ErrorBeforeFirstSuccess, Idle, InitialLoading, Ready, Revalidating,
        };
        matches!(
            (self.kind(), to.kind()),
            (
                Idle | InitialLoading | ErrorBeforeFirstSuccess,
                InitialLoading
            ) | (Idle, ErrorBeforeFirstSuccess)
                | (InitialLoading, Ready | ErrorBeforeFirstSuccess)
                | (Ready | Revalidating | ErrorAfterReady, Revalidating)
                | (Revalidating, Ready | ErrorAfterReady)
        )
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

/// Pages of the running load, and the newest change of each agent since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Incoming {
    /// Start of the requested page.
    cursor: Option<String>,
    /// Whether another client has attached since that page was requested, so that no later attach
    /// requests it again.
    is_overtaken: bool,
    /// Number of the event that the whole list is as of: that of its first page.
    base: Option<u64>,
    agents: Fetched,
    pages: u32,
    /// Total number of agents, according to the newest page.
    total: u64,
    /// Whether the list continues beyond the fetched pages.
    truncated: bool,
    changes: BTreeMap<AgentId, Change>,
}

/// A change of one agent by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    seq: u64,
    /// `None`: removed.
    agent: Option<Arc<AgentSummary>>,
}

/// The directory machine. By default it was never attached.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    core: MachineCore<State, Effect>,
    /// Number of the newest load.
    generation: Generation,
    failures: u32,
    rows: Rows,
    /// The rows include every event of the epoch up to this one.
    applied: u64,
    incoming: Incoming,
}

impl Directory {
    outputs!(State, Effect);

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        // The only check for results of loads that are over (INV-10).
        if let Input::Page { load, .. } = input
            && self.running() != Some(load)
        {
            return self.core.count_stale();
        }
        self.transition(now, input);
    }

    /// Call when [`Directory::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.expire(now);
    }

    /// When to call [`Directory::handle_timeout`] next.
    pub const fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::Loading { deadline, .. } => Some(*deadline),
            State::Failed { retry_at, .. } => *retry_at,
            // No timer: the next attach or refresh is an input.
            State::Idle | State::Ready => None,
        }
    }

    /// The rows, sorted by creation time, then id. An unchanged row is the same `Arc` as before.
    /// Cheap if nothing has changed since the last call.
    pub fn agents(&mut self) -> Arc<[Arc<AgentSummary>]> {
        self.rows.agents()
    }

    /// Incremented with every change of the rows, and only then.
    pub const fn rev(&self) -> u64 {
        self.rows.rev()
    }

    /// One row.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentSummary>> {
        self.rows.get(id)
    }

    /// Whether any load succeeded; later errors do not block the display.
    pub const fn has_succeeded(&self) -> bool {
        self.state().kind().is_loaded()
    }

    /// Number of the running load.
    pub fn running(&self) -> Option<Generation> {
        matches!(self.state(), State::Loading { .. }).then_some(self.generation)
    }

    /// Error of the last load, until another one begins.
    pub const fn error(&self) -> Option<LoadError> {
        if let State::Failed { error, .. } = self.state() {
            Some(*error)
        } else {
            None
        }
    }

    /// Whether the rows are complete and current, so that an agent without a row does not exist.
    pub const fn is_complete(&self) -> bool {
        matches!(self.state(), State::Ready) && !self.is_truncated()
    }

    /// Whether the host has more agents than the rows.
    pub const fn is_truncated(&self) -> bool {
        self.left_out() > 0
    }

    /// Number of the host's agents without a row: exact after a load, then maintained from events.
    pub const fn left_out(&self) -> u64 {
        self.rows.left_out
    }
}
