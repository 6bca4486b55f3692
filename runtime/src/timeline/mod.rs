//! Following one agent's timeline: each item and each byte of its text once and in order, whatever happens to
//! connections in between (BX-2).

mod list;
mod position;
mod view;

pub use list::ItemList;
pub use position::TimelinePosition;
pub use view::{ListChange, Newer, Older, TimelineDiff, TimelineView};

use std::{collections::VecDeque, sync::Arc};

use bowline_machines::{load::LoadError, timeline::Request};
use bowline_protocol::{
    AgentId, ItemId, RpcReason, TimelineItem,
    error::code,
    methods::{HistoryPage, name},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    client::to_raw,
    error::CallError,
    host::Host,
    settings::{FOLLOWER_RETRY, HISTORY_PAGE},
};

/// The next thing that happened to a timeline.
#[derive(Clone, Debug, PartialEq)]
pub enum TimelineUpdate {
    /// The next item, with its text so far.
    Item(Arc<TimelineItem>),
    /// The text of an item grew.
    Delta {
        /// Which item.
        item_id: ItemId,
        /// Its position.
        index: u64,
        /// What to append.
        text: String,
    },
    /// The daemon has another timeline under this name than the one given out (its store was replaced): forget
    /// everything so far. It begins anew with what follows.
    Cleared,
}

/// A timeline could not be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// No such host.
    #[error("the host is not known here")]
    UnknownHost,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
    /// The host has its most timelines open.
    #[error("{0} timelines are open already; close one first")]
    TooMany(usize),
    /// The daemon does not have it, or will not show it.
    #[error("the daemon refused: {0}")]
    Refused(RpcReason),
    /// Items before the window were wanted, and the daemon's answer to that is final.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A follower of one timeline. A slow follower is given the same updates in fewer, larger pieces.
pub struct TimelineStream {
    host: Host,
    agent_id: AgentId,
    view: watch::Receiver<Arc<TimelineView>>,
    /// Where it begins, and begins again if the timeline is replaced.
    origin: Option<u64>,
    /// What was given out and what is ready to be.
    planned: TimelinePosition,
    /// What was given out.
    position: TimelinePosition,
    ready: VecDeque<TimelineUpdate>,
    /// Items from this index on may have grown since the stored position was made.
    unchecked: Option<u64>,
    /// Whether the position comes from items, so that a timeline without them is another one.
    is_anchored: bool,
    /// `TimelineView::replaced` of the timeline that is followed.
    replaced: Option<u64>,
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
            origin: None,
            planned: TimelinePosition::default(),
            position: TimelinePosition::default(),
            ready: VecDeque::new(),
            unchecked: None,
            is_anchored: false,
            replaced: None,
        }
    }

    /// Begins at that item, rather than with the newest page.
    #[must_use]
    pub fn from_index(mut self, index: u64) -> Self {
        self.origin = Some(index);
        self.begin(TimelinePosition::at(Some(index)));
        self
    }

    /// Goes on where another follower stopped, in an earlier process perhaps.
    #[must_use]
    pub fn from_position(mut self, position: TimelinePosition) -> Self {
        self.origin = position.next.map(|_| 0);
        self.unchecked = position.given.keys().next().copied();
        self.is_anchored = position.next.is_some();
        self.begin(position);
        self
    }

    fn begin(&mut self, position: TimelinePosition) {
        self.planned = position.clone();
        self.position = position;
        self.ready.clear();
    }

    /// How much was given out so far: what [`TimelineStream::from_position`] goes on from.
    pub const fn position(&self) -> &TimelinePosition {
        &self.position
    }

    /// The newest view, for a UI that renders whole lists.
    pub fn view(&mut self) -> Arc<TimelineView> {
        Arc::clone(&self.view.borrow_and_update())
    }

    /// Waits until the view is another one; false when the host is gone.
    pub async fn changed(&mut self) -> bool {
        self.view.changed().await.is_ok()
    }

    /// The next update; `None` when the host is gone. Cancel-safe. While the host is away this waits.
    ///
    /// # Errors
    /// [`TimelineError::Refused`] when the daemon does not have the agent.
    pub async fn next(&mut self) -> Result<Option<TimelineUpdate>, TimelineError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                self.note_told(&update);
                return Ok(Some(update));
            }
            let view = Arc::clone(&self.view.borrow_and_update());
            if view.known {
                if self.is_another(&view) {
                    return Ok(Some(self.start_over(&view)));
                }
                match self.fill(&view).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) if is_passing(&error) => {
                        tokio::select! {
                            changed = self.view.changed() => if changed.is_err() {
                                return Ok(None);
                            },
                            () = sleep(FOLLOWER_RETRY) => {}
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                self.take(&view.items, view.complete_to);
                if !self.ready.is_empty() {
                    continue;
                }
            }
            if let Some(LoadError::Rejected(reason)) = view.error
                && !LoadError::Rejected(reason).is_retried_by_timer()
            {
                return Err(TimelineError::Refused(reason));
            }
            if self.view.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, items: &ItemList, complete_to: u64) {
        self.planned.take(items, complete_to, &mut self.ready);
        self.is_anchored |= !self.ready.is_empty();
    }

    fn note_told(&mut self, update: &TimelineUpdate) {
        if self.ready.is_empty() {
            self.position.clone_from(&self.planned);
        } else {
            self.position.note(update);
        }
    }

    /// Whether the view is of another timeline than the one that was followed so far.
    fn is_another(&mut self, view: &TimelineView) -> bool {
        let followed = *self.replaced.get_or_insert(view.replaced);
        let is_behind = self.is_anchored
            && !view.catching_up
            && self.planned.next.is_some_and(|next| next > view.end);
        followed != view.replaced || is_behind || self.planned.contradicts(&view.items)
    }

    fn start_over(&mut self, view: &TimelineView) -> TimelineUpdate {
        self.begin(TimelinePosition::at(self.origin));
        self.unchecked = None;
        self.is_anchored = false;
        self.replaced = Some(view.replaced);
        TimelineUpdate::Cleared
    }

    /// Fetches a page of what the view does not have, because another reader has moved it or it never began so early, and that
    /// was not given out yet. True if there was any.
    async fn fill(&mut self, view: &TimelineView) -> Result<bool, CallError> {
        let (Some(next), Some(first)) = (self.planned.next, view.items.first()) else {
            return Ok(false);
        };
        let (first, end) = (first.index, view.items.end_index());
        let missed = Some(next).filter(|next| *next < view.end);
        let finished = self.planned.first_growing_before(view.complete_to);
        let unchecked = self.unchecked.filter(|index| *index < next);
        let wanted = [missed, finished, unchecked].into_iter().flatten().min();
        let Some(from) = wanted.filter(|from| *from < first || *from >= end) else {
            return Ok(false);
        };
        let history = Request::From(from).history(self.agent_id.clone(), HISTORY_PAGE);
        let result = self
            .host
            .query(name::AGENTS_HISTORY, to_raw(&history)?)
            .await?;
        let page: HistoryPage = serde_json::from_str(result.get())
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        if page.items.first().map(|item| item.index) != Some(from) {
            return Err(CallError::Malformed(format!("no item {from} in its page")));
        }
        // What the view has is newer there.
        let items = page.items.into_iter();
        let items = items.filter(|item| item.index < first || from >= end);
        let items = items.map(Arc::new);
        let items: ItemList = items.collect();
        if self.unchecked.is_some() {
            self.unchecked = items.last().map(|item| item.index + 1);
        }
        self.take(&items, view.complete_to);
        Ok(true)
    }
}

/// Whether the same question may well be answered when it is asked again.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Disconnected(_) | CallError::NotConnected | CallError::Timeout => true,
        CallError::Rpc(error) => match error.reason() {
            Some(RpcReason::Overloaded | RpcReason::Timeout | RpcReason::StorageUnavailable) => {
                true
            }
            Some(_) => false,
            None => error.code == code::INTERNAL_ERROR,
        },
        CallError::Malformed(_) | CallError::Closed => false,
    }
}
