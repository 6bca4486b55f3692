//! The states of a collection (DS-1).

use serde::Serialize;

use crate::{MonotonicTime, data::load::LoadError, machine_core::Table};

/// State of a collection as apps see it: the machine's [`State`] without its data (DS-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectionState {
    /// Never attached, and the host is connecting.
    #[default]
    Idle,
    /// The first load is running: display a skeleton.
    InitialLoading,
    /// The rows are current.
    Ready,
    /// The rows stay while they are fetched again, or are those of an earlier run of the app, which
    /// no daemon has confirmed yet (LD-5).
    Revalidating,
    /// There are no rows, because the first load failed.
    ErrorBeforeFirstSuccess,
    /// The rows stay, although fetching them again failed (UX-4).
    ErrorAfterReady,
}

impl CollectionState {
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

    /// Whether the rows were loaded at least once.
    pub const fn is_loaded(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Revalidating | Self::ErrorAfterReady
        )
    }
}

/// State of a collection. `again`: whether an earlier load succeeded, so that there are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Never attached, and the host is connecting.
    #[default]
    Idle,
    /// There are rows that an earlier run of the app had, and the host is connecting (LD-5).
    Restored,
    /// A load is running.
    Loading {
        /// Whether an earlier load succeeded.
        again: bool,
        /// Deadline of its next page.
        deadline: MonotonicTime,
    },
    /// The rows are current.
    Ready {
        /// The page after them.
        more: More,
    },
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

/// The page after the last row of a collection whose rows are current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum More {
    /// It is not being loaded.
    Idle,
    /// It is being loaded.
    Loading {
        /// Its deadline.
        deadline: MonotonicTime,
    },
    /// Its load failed. One lost with its connection is repeated at the next attach, any other by a
    /// request for more.
    Failed(LoadError),
}

impl State {
    pub(super) const READY: Self = Self::Ready { more: More::Idle };

    /// The state without its data, for snapshots.
    pub const fn kind(&self) -> CollectionState {
        match self {
            Self::Idle => CollectionState::Idle,
            Self::Loading { again: false, .. } => CollectionState::InitialLoading,
            Self::Ready { .. } => CollectionState::Ready,
            Self::Restored | Self::Loading { again: true, .. } => CollectionState::Revalidating,
            Self::Failed { again: false, .. } => CollectionState::ErrorBeforeFirstSuccess,
            Self::Failed { again: true, .. } => CollectionState::ErrorAfterReady,
        }
    }

    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Whether a page is on its way.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::Loading { .. }
                | Self::Ready {
                    more: More::Loading { .. }
                }
        )
    }
}

impl Table for State {
    const MACHINE: &'static str = "collection_sync";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        use CollectionState::{
            ErrorAfterReady, ErrorBeforeFirstSuccess, Idle, InitialLoading, Ready, Revalidating,
        };
        matches!(
            (self.kind(), to.kind()),
            (
                Idle | InitialLoading | ErrorBeforeFirstSuccess,
                InitialLoading
            ) | (Idle, ErrorBeforeFirstSuccess | Revalidating)
                | (InitialLoading, Ready | ErrorBeforeFirstSuccess)
                | (Ready | Revalidating | ErrorAfterReady, Revalidating)
                | (Revalidating, Ready | ErrorAfterReady)
        )
    }
}
