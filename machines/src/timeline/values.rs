//! What a timeline is told, what it wants done, and where it stands.

use std::sync::Arc;

use bowline_protocol::{
    AgentId, ItemId, Reason, SessionState, TimelineItem,
    methods::{History, HistoryPage},
};

use crate::{Generation, Moment, load::LoadError};
/// Bounds of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimelineConfig {
    /// Most items held; older ones leave the window.
    pub max_items: usize,
    /// Most bytes of text held, the newest item apart; older items leave the window.
    pub max_bytes: usize,
    /// Most events kept while a load runs; over it the load is given up and repeated.
    pub max_kept: usize,
    /// Most bytes of text in the events kept.
    pub max_kept_bytes: usize,
    /// Most bytes of text of one item, as many as a message may have: none that could be fetched is longer.
    pub max_item_bytes: usize,
    /// Items asked for in one page.
    pub page: u32,
    /// Most pages fetched one after the other to bring it up to date; then the newest page is fetched instead.
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

/// Which part of the timeline a load asks for.
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
            // "After" cannot name what comes before index 0, but "before 1" is exactly item 0.
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

/// Where a timeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody looks at it. What was loaded is kept.
    Idle,
    /// It is being brought up to date.
    CatchingUp {
        /// Which load.
        load: Generation,
        /// What is asked for.
        request: Request,
        /// How far it has come.
        progress: Progress,
        /// Until when the page must come.
        deadline: Moment,
    },
    /// It is exact, and events keep it so.
    Live {
        /// Why the last load of older items failed, until the next one.
        older_error: Option<LoadError>,
        /// Why the last load of newer items failed, until the next one.
        newer_error: Option<LoadError>,
    },
    /// Like `Live`, while older items are fetched.
    LoadingOlder {
        /// Which load.
        load: Generation,
        /// Items before this index are asked for.
        before: u64,
        /// Until when the page must come.
        deadline: Moment,
    },
    /// Like `Live`, while a detached consumer's next items are fetched.
    LoadingNewer {
        /// Which load.
        load: Generation,
        /// Items from this index on are asked for.
        from: u64,
        /// Until when the page must come.
        deadline: Moment,
    },
    /// Bringing it up to date failed; what is shown stays.
    Failed {
        /// Why.
        error: LoadError,
        /// When it is tried again; `None`: on the next attach or open.
        retry_at: Option<Moment>,
        /// What had been fetched before and is kept exact by events.
        progress: Option<Progress>,
    },
}

/// How far a load of several pages has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Pages that came.
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
            Self::LoadingOlder { .. } => "loading_older",
            Self::LoadingNewer { .. } => "loading_newer",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What happened to a timeline, by an event of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// `timeline.appended`.
    Appended(TimelineItem),
    /// `timeline.delta`.
    Delta {
        /// Which item.
        item_id: ItemId,
        /// Its position.
        index: u64,
        /// What its text has more.
        text: String,
    },
}

impl Happened {
    pub(super) const fn index(&self) -> u64 {
        match self {
            Self::Appended(item) => item.index,
            Self::Delta { index, .. } => *index,
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Appended(item) => item.text.len(),
            Self::Delta { text, .. } => text.len(),
        }
    }
}

/// What can happen to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Someone looks at it (a screen opened, or asks to try again).
    Open,
    /// Nobody looks at it any more; its events are no longer wanted.
    Close,
    /// The host's active client attached to the session.
    Attached {
        /// What became of the session.
        session: SessionState,
    },
    /// The connection ended.
    Disconnected {
        /// Why.
        reason: Reason,
    },
    /// Someone scrolled to the oldest item.
    LoadOlder,
    /// Someone scrolled to the newest item that a detached consumer has.
    LoadNewer,
    /// A page came.
    Loaded {
        /// The load it was asked under.
        generation: Generation,
        /// The page.
        page: HistoryPage,
    },
    /// A page could not be had.
    LoadFailed {
        /// The load it was asked under.
        generation: Generation,
        /// Why.
        error: LoadError,
    },
    /// An event of this agent's timeline.
    Event {
        /// Its number.
        seq: u64,
        /// What happened.
        happened: Happened,
    },
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// If `subscribe`, send `agents.subscribe` and await its answer; then ask `agents.history` for
    /// [`Request::history`], and report [`Input::Loaded`] or [`Input::LoadFailed`]. Without a connection the latter at once,
    /// with [`LoadError::Lost`].
    Load {
        /// To be reported back.
        generation: Generation,
        /// What to ask for.
        request: Request,
        /// Whether to subscribe first. Subscribing twice does no harm.
        subscribe: bool,
    },
    /// Send `agents.unsubscribe`, if there is a connection.
    Unsubscribe,
}

/// What a consumer applies, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Items that come before everything so far, in order of index.
    Prepended(Vec<Arc<TimelineItem>>),
    /// The next item.
    Appended(Arc<TimelineItem>),
    /// More was missed than is worth fetching: forget everything so far and begin with these items of the same timeline.
    Restarted(Vec<Arc<TimelineItem>>),
    /// The same for a consumer that is detached: forget what comes from this index on.
    Dropped {
        /// The first item to forget.
        from: u64,
    },
    /// The text of an item grew.
    Grown {
        /// Which item.
        index: u64,
        /// Its id.
        item_id: ItemId,
        /// What to append to its text.
        text: String,
    },
    /// The daemon has another timeline under this name than the one shown (its store was replaced): forget everything so
    /// far. Never happens with a daemon that keeps what it has told.
    Cleared,
}
