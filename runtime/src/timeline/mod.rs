//! Following one agent's timeline: each item and each byte of its text once and in order, across
//! reconnects (BX-2).

mod position;

pub use position::TimelinePosition;

use std::{collections::VecDeque, sync::Arc};

use bowline_machines::{
    data::load::LoadError,
    data::timeline::Request,
    data::view::{ItemList, TimelineView},
};
use bowline_protocol::{
    AgentId, ItemId, TimelineItem,
    methods::{HistoryPage, name},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    client::to_raw,
    error::{CallError, TimelineError},
    host::Host,
    settings::{FOLLOWER_RETRY, HISTORY_PAGE},
};

/// The next change of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub enum TimelineUpdate {
    /// The next item, with its text so far.
    Item(Arc<TimelineItem>),
    /// The text of an item grew.
    Delta {
        /// The item.
        item_id: ItemId,
        /// Its position.
        index: u64,
        /// The appended text.
        text: String,
    },
    /// The daemon's timeline was replaced (its store is a different one): discard everything so
    /// far. The new one follows from its start.
    Cleared,
}

/// A follower of one timeline. A slow follower receives the same updates in fewer, larger pieces.
pub struct TimelineStream {
    host: Host,
    agent_id: AgentId,
    view: watch::Receiver<Arc<TimelineView>>,
    /// Start index, also after the timeline is replaced.
    origin: Option<u64>,
    /// Delivered updates and those ready for delivery.
    planned: TimelinePosition,
    /// Delivered updates.
    position: TimelinePosition,
    ready: VecDeque<TimelineUpdate>,
    /// Items from this index on may have grown since the position was stored.
    unchecked: Option<u64>,
    /// Whether the position refers to items, so that a timeline without them is a different one.
    is_anchored: bool,
    /// `TimelineView::replaced` of the followed timeline.
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

    /// Starts at this item instead of the newest page.
    #[must_use]
    pub fn from_index(mut self, index: u64) -> Self {
        self.origin = Some(index);
        self.begin(TimelinePosition::at(Some(index)));
        self
    }

    /// Continues where another follower stopped, possibly in an earlier process.
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

    /// The delivered position, to continue with [`TimelineStream::from_position`].
    pub const fn position(&self) -> &TimelinePosition {
        &self.position
    }

    /// The newest view, for UIs that render whole lists.
    pub fn view(&mut self) -> Arc<TimelineView> {
        Arc::clone(&self.view.borrow_and_update())
    }

    /// Waits for a changed view; false after the host has ended.
    pub async fn changed(&mut self) -> bool {
        self.view.changed().await.is_ok()
    }

    /// The next update; `None` after the host has ended. Cancel-safe. Waits while the host is
    /// offline.
    ///
    /// # Errors
    /// [`TimelineError::Refused`] if the daemon does not have the agent.
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
                    Err(error) if error.is_transient() => {
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

    /// Whether the view belongs to another timeline than the one followed so far.
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

    /// Loads a page of undelivered items that the view lacks, because another reader moved it or it
    /// never began that early. True if there were any.
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
        // From here on the view is newer.
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
