//! Following one agent's timeline: each item and each byte of its text once and in order, whatever happens to
//! connections in between (BX-2).

use std::{collections::VecDeque, sync::Arc};

use bowline_machines::load::LoadError;
use bowline_protocol::{
    AgentId, ItemId, TimelineItem,
    methods::{History, HistoryPage, name},
};
use tokio::sync::watch;

use crate::{client::to_raw, error::CallError, host::Host, settings::HISTORY_PAGE};

/// What is known of a timeline, as of one moment. The newest one replaces all before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimelineView {
    /// The newest items, in order of index, without gaps; bounded.
    pub items: Vec<Arc<TimelineItem>>,
    /// Whether a load ever succeeded.
    pub loaded: bool,
    /// Whether it is being brought up to date.
    pub catching_up: bool,
    /// Whether the daemon has items before these.
    pub has_older: bool,
    /// Why it is not up to date.
    pub error: Option<LoadError>,
}

/// The next thing that happened to a timeline.
#[derive(Clone, Debug, PartialEq)]
pub enum TimelineUpdate {
    /// The next item, with its text so far.
    Item(Arc<TimelineItem>),
    /// The text of the newest item grew.
    Delta {
        /// Which item.
        item_id: ItemId,
        /// Its position.
        index: u64,
        /// What to append.
        text: String,
    },
}

/// A timeline could not be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// No such host, or the runtime is closed.
    #[error("the host is not known here")]
    UnknownHost,
    /// The host has its most timelines open.
    #[error("{0} timelines are open already; close one first")]
    TooMany(usize),
    /// The daemon does not have it, or will not show it.
    #[error("the daemon refused: {0}")]
    Refused(bowline_protocol::RpcReason),
    /// Items before the window were wanted and could not be fetched.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A follower of one timeline. A slow follower is given the same updates in fewer, larger pieces.
pub struct TimelineStream {
    host: Host,
    agent_id: AgentId,
    view: watch::Receiver<Arc<TimelineView>>,
    /// Index of the next item to give out; `None` until the first view says where it begins.
    next_index: Option<u64>,
    /// Bytes of the text of the item before it that were given out.
    given: usize,
    ready: VecDeque<TimelineUpdate>,
}

impl TimelineStream {
    pub(crate) fn new(
        host: Host,
        agent_id: AgentId,
        view: watch::Receiver<Arc<TimelineView>>,
    ) -> Self {
        Self {
            host,
            agent_id,
            view,
            next_index: None,
            given: 0,
            ready: VecDeque::new(),
        }
    }

    /// Begins at that item, rather than with the newest page.
    #[must_use]
    pub fn from_index(mut self, index: u64) -> Self {
        self.next_index = Some(index);
        self.given = 0;
        self
    }

    /// The newest view, for a UI that renders whole lists.
    pub fn view(&mut self) -> Arc<TimelineView> {
        Arc::clone(&self.view.borrow_and_update())
    }

    /// Waits until the view is another one; false when the host is gone.
    pub async fn changed(&mut self) -> bool {
        self.view.changed().await.is_ok()
    }

    /// The next update; `None` when the host is gone. Cancel-safe.
    ///
    /// # Errors
    /// [`TimelineError::Refused`] when the daemon does not have the agent. While the host is away this waits.
    pub async fn next(&mut self) -> Result<Option<TimelineUpdate>, TimelineError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(Some(update));
            }
            let view = Arc::clone(&self.view.borrow_and_update());
            if let Some(LoadError::Rejected(reason)) = view.error
                && !LoadError::Rejected(reason).is_retried_by_timer()
            {
                return Err(TimelineError::Refused(reason));
            }
            if view.loaded && !self.fill_gap(&view).await? {
                self.take(&view.items);
                if !self.ready.is_empty() {
                    continue;
                }
            }
            if self.ready.is_empty() && self.view.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Fetches what comes before the view and was not given out yet: one page a call. True if there was any.
    async fn fill_gap(&mut self, view: &TimelineView) -> Result<bool, TimelineError> {
        let (Some(next), Some(first)) = (self.next_index, view.items.first()) else {
            return Ok(false);
        };
        // The item before `next` may have grown after it was given out, so it must be seen again.
        let from = if self.given > 0 { next - 1 } else { next };
        if from >= first.index {
            return Ok(false);
        }
        let history = History {
            agent_id: self.agent_id.clone(),
            before: if from == 0 { Some(1) } else { None },
            after: from.checked_sub(1),
            limit: Some(HISTORY_PAGE),
        };
        let result = self
            .host
            .query(name::AGENTS_HISTORY, to_raw(&history)?)
            .await?;
        let page: HistoryPage = serde_json::from_str(result.get())
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        // What the view has is newer there.
        let before: Vec<_> = page
            .items
            .into_iter()
            .filter(|item| item.index < first.index)
            .map(Arc::new)
            .collect();
        self.take(&before);
        Ok(true)
    }

    /// Gives out what these items have that was not given out yet.
    fn take(&mut self, items: &[Arc<TimelineItem>]) {
        for item in items {
            let next = *self.next_index.get_or_insert(item.index);
            if item.index + 1 == next {
                if let Some(grown) = item.text.get(self.given..).filter(|text| !text.is_empty()) {
                    self.ready.push_back(TimelineUpdate::Delta {
                        item_id: item.id.clone(),
                        index: item.index,
                        text: grown.to_owned(),
                    });
                }
                self.given = item.text.len();
            } else if item.index == next {
                self.ready.push_back(TimelineUpdate::Item(Arc::clone(item)));
                self.next_index = Some(next + 1);
                self.given = item.text.len();
            }
        }
    }
}
