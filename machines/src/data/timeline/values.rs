//! Inputs, effects, updates, states and settings of a timeline.

use std::sync::Arc;

use bowline_protocol::{
    AgentId, ItemId, Reason, SessionState, TimelineItem,
    methods::{History, HistoryPage},
};

use crate::{Generation, MonotonicTime, data::load::LoadError, machine_core::Table};

/// Bounds of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimelineConfig {
    /// Most items held; older ones leave the window.
    pub max_items: usize,
    /// Most bytes of text held, not counting the newest item; older items leave the window.
    pub max_bytes: usize,
    /// Most events kept while a load runs; beyond it the load is abandoned and repeated.
    pub max_kept: usize,
    /// Most bytes of text in the events kept.
    pub max_kept_bytes: usize,
    /// Most bytes of text of one item, the limit of a message: a longer one could not be fetched.
    pub max_item_bytes: usize,
    /// Items requested per page.
    pub page: u32,
    /// Most pages fetched in a row to catch up; beyond it the newest page is fetched instead.
    pub catch_up_pages: u32,
}

impl Default for TimelineConfig {
    fn default() -> Self {
        Self {
            max_items: 2_000,
            max_bytes: 8 << 20,
            max_kept: 4_096,
            max_kept_bytes: 4 << 20,
            max_item_bytes: bowline_protocol::limits::MAX_MESSAGE_BYTES as usize,
            page: 100,
            catch_up_pages: 10,
        }
    }
}

/// The part of the timeline that a load requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The newest page.
    Newest,
    /// Items from this index on.
    From(u64),
    /// Items just before this index.
    Before(u64),
}

impl Request {
    /// The parameters of `agents.history`.
    pub fn history(self, agent_id: AgentId, page: u32) -> History {
        let (before, after, limit) = match self {
            Self::Newest => (None, None, page),
            // "After" cannot express the items before index 0, but "before 1" is exactly item 0.
            Self::From(0) => (Some(1), None, 1),
            Self::From(index) => (None, Some(index.saturating_sub(1)), page),
            Self::Before(index) => (Some(index), None, page),
        };
        History {
            agent_id,
            before,
            after,
            limit: Some(limit),
        }
    }
}

/// One end of a consumer's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The oldest item.
    Older,
    /// The newest item of a detached consumer.
    Newer,
}

/// The request of the running load, for its next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub(super) request: Request,
    pub(super) subscribe: bool,
    /// Whether another client has attached since it was sent, so that no later attach sends it
    /// again.
    pub(super) is_overtaken: bool,
    pub(super) deadline: MonotonicTime,
}

/// State of a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Not open. Loaded items are kept.
    #[default]
    Idle,
    /// Catching up.
    CatchingUp {
        /// The requested page.
        asked: Asked,
        /// The pages before it.
        progress: Progress,
    },
    /// Exact, and kept so by events.
    Live {
        /// Error of the last load of more items, until the next one.
        failed: Option<(End, LoadError)>,
    },
    /// Like `Live`, while more items are fetched.
    LoadingMore {
        /// The end that they are added to.
        end: End,
        /// The requested page.
        asked: Asked,
    },
    /// Catching up failed; displayed items stay.
    Failed {
        /// The error.
        error: LoadError,
        /// Time of the retry; `None`: at the next attach or open.
        retry_at: Option<MonotonicTime>,
        /// Progress of the failed load, kept exact by events.
        progress: Option<Progress>,
    },
}

/// Progress of a load of several pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Pages received.
    pub pages: u32,
    /// Items before this index are exact.
    pub exact_to: u64,
}

impl State {
    /// The name in logs and snapshots.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::CatchingUp { .. } => "catching_up",
            Self::Live { .. } => "live",
            Self::LoadingMore { end, .. } => match end {
                End::Older => "loading_older",
                End::Newer => "loading_newer",
            },
            Self::Failed { .. } => "failed",
        }
    }

    /// The request of the running load.
    pub(super) const fn asked(&self) -> Option<&Asked> {
        match self {
            Self::CatchingUp { asked, .. } | Self::LoadingMore { asked, .. } => Some(asked),
            Self::Idle | Self::Live { .. } | Self::Failed { .. } => None,
        }
    }

    pub(super) const fn asked_mut(&mut self) -> Option<&mut Asked> {
        match self {
            Self::CatchingUp { asked, .. } | Self::LoadingMore { asked, .. } => Some(asked),
            Self::Idle | Self::Live { .. } | Self::Failed { .. } => None,
        }
    }
}

impl Table for State {
    const MACHINE: &'static str = "timeline";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        matches!(
            (self, to),
            (Self::Idle | Self::Failed { .. }, Self::CatchingUp { .. })
                | (
                    Self::CatchingUp { .. },
                    Self::CatchingUp { .. } | Self::Live { .. } | Self::Failed { .. } | Self::Idle
                )
                | (
                    Self::Live { .. },
                    Self::LoadingMore { .. } | Self::CatchingUp { .. } | Self::Idle
                )
                | (
                    Self::LoadingMore { .. },
                    Self::Live { .. } | Self::CatchingUp { .. } | Self::Idle
                )
                | (Self::Failed { .. }, Self::Idle)
        )
    }
}

/// A change of a timeline by a session event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// `timeline.appended`.
    Appended(TimelineItem),
    /// `timeline.updated`.
    Updated(TimelineItem),
    /// `timeline.delta`.
    Delta {
        /// Id of the item.
        item_id: ItemId,
        /// Its index.
        index: u64,
        /// The text to append.
        text: String,
    },
}

impl Happened {
    pub(super) const fn index(&self) -> u64 {
        match self {
            Self::Appended(item) | Self::Updated(item) => item.index,
            Self::Delta { index, .. } => *index,
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Appended(item) | Self::Updated(item) => item.text.len(),
            Self::Delta { text, .. } => text.len(),
        }
    }
}

/// Inputs of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Opened or retried by a reader.
    Open,
    /// The last reader left; its events are no longer needed.
    Close,
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
    /// The reader scrolled to this end of its items.
    LoadMore(End),
    /// The reader of a detached consumer requests the newest items.
    JumpToNewest,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<HistoryPage, LoadError>,
    },
    /// An event of this agent's timeline.
    Event {
        /// Number of the event.
        seq: u64,
        /// The change.
        happened: Happened,
    },
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// If `subscribe`, send `agents.subscribe` and await its answer; then send `agents.history`
    /// with [`Request::history`], and report [`Input::Page`]; without a connection at once, with
    /// [`LoadError::Lost`].
    Load {
        /// Number of the load, to report with the result.
        load: Generation,
        /// The part to request.
        request: Request,
        /// Whether to subscribe first. Subscribing twice is harmless.
        subscribe: bool,
    },
    /// Send `agents.unsubscribe`, if there is a connection and no other process shares the session
    /// at this time: its subscriptions are of the session, and that process may need them.
    Unsubscribe,
}

/// Changes for a consumer, applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Items before all others, in order of index.
    Prepended(Vec<Arc<TimelineItem>>),
    /// The next item.
    Appended(Arc<TimelineItem>),
    /// Too much was missed to fetch, or the consumer jumped: discard all items and start with these
    /// of the same timeline.
    Restarted(Vec<Arc<TimelineItem>>),
    /// The same for a detached consumer: discard the items from this index on.
    Dropped {
        /// The first item to discard.
        from: u64,
    },
    /// The text of an item grew.
    Grown {
        /// Index of the item.
        index: u64,
        /// Its id.
        item_id: ItemId,
        /// What to append to its text.
        text: String,
    },
    /// An item is now this one: the daemon dropped its text.
    Replaced(Arc<TimelineItem>),
    /// The daemon has another timeline for this agent than the displayed one (its store was
    /// replaced): discard all items. Never happens with a daemon whose store is durable.
    Cleared,
}
