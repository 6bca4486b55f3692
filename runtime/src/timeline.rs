//! Following one agent's timeline: each item and each byte of its text once and in order, whatever happens to
//! connections in between (BX-2).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_machines::{load::LoadError, timeline::Request};
use bowline_protocol::{
    AgentId, ItemId, TimelineItem,
    methods::{HistoryPage, name},
};
use serde::{Deserialize, Serialize};
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
    /// The text of an item grew.
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
    position: TimelinePosition,
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
            position: TimelinePosition::default(),
            ready: VecDeque::new(),
        }
    }

    /// Begins at that item, rather than with the newest page.
    #[must_use]
    pub fn from_index(mut self, index: u64) -> Self {
        self.position = TimelinePosition {
            next: Some(index),
            ..TimelinePosition::default()
        };
        self
    }

    /// Goes on where another follower stopped, in an earlier process perhaps.
    #[must_use]
    pub fn from_position(mut self, position: TimelinePosition) -> Self {
        self.position = position;
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
                self.position.take(&view.items, &mut self.ready);
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
        let (Some(next), Some(first)) = (self.position.next, view.items.first()) else {
            return Ok(false);
        };
        if next >= first.index {
            return Ok(false);
        }
        let history = Request::From(next).history(self.agent_id.clone(), HISTORY_PAGE);
        let result = self
            .host
            .query(name::AGENTS_HISTORY, to_raw(&history)?)
            .await?;
        let page: HistoryPage = serde_json::from_str(result.get())
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        // What the view has is newer there.
        let items = page
            .items
            .into_iter()
            .filter(|item| item.index < first.index)
            .map(Arc::new);
        self.position
            .take(&items.collect::<Vec<_>>(), &mut self.ready);
        if self.position.next == Some(next) {
            return Err(CallError::Malformed(format!("no item {next} in its page")).into());
        }
        Ok(true)
    }
}

/// How much of a timeline a follower was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelinePosition {
    /// Index of the next item; `None` until the first view says where it begins.
    pub next: Option<u64>,
    /// Bytes given out of the text of each item that may still grow, by index.
    pub given: BTreeMap<u64, usize>,
}

impl TimelinePosition {
    /// Gives out what these items, in order of index, have that was not given out yet.
    fn take(&mut self, items: &[Arc<TimelineItem>], ready: &mut VecDeque<TimelineUpdate>) {
        for item in items {
            let next = *self.next.get_or_insert(item.index);
            if item.index == next {
                ready.push_back(TimelineUpdate::Item(Arc::clone(item)));
                self.next = Some(next + 1);
                self.given.insert(item.index, item.text.len());
            } else if let Some(given) = self.given.get_mut(&item.index)
                && let Some(grown) = item.text.get(*given..).filter(|text| !text.is_empty())
            {
                ready.push_back(TimelineUpdate::Delta {
                    item_id: item.id.clone(),
                    index: item.index,
                    text: grown.to_owned(),
                });
                *given = item.text.len();
            }
        }
        // What has left the window does not come back.
        if let Some(first) = items.first() {
            self.given = self.given.split_off(&first.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::ItemKind;

    use super::*;

    fn item(index: u64, text: &str) -> Arc<TimelineItem> {
        let id = ItemId::from_uuid(uuid::Uuid::from_u64_pair(0, index));
        let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
        item.text = text.to_owned();
        Arc::new(item)
    }

    /// What a follower that was shown these views has in the end.
    fn follow(
        position: &mut TimelinePosition,
        views: &[&[Arc<TimelineItem>]],
    ) -> BTreeMap<u64, String> {
        let mut shown = BTreeMap::<u64, String>::new();
        let mut ready = VecDeque::new();
        for view in views {
            position.take(view, &mut ready);
            for update in ready.drain(..) {
                match update {
                    TimelineUpdate::Item(item) => {
                        assert!(shown.insert(item.index, item.text.clone()).is_none());
                    }
                    TimelineUpdate::Delta { index, text, .. } => {
                        shown.get_mut(&index).unwrap().push_str(&text);
                    }
                }
            }
        }
        shown
    }

    #[test]
    fn bx_2_a_follower_gets_each_byte_once_whichever_views_it_sees() {
        let views: [&[_]; 4] = [
            &[item(3, "a")],
            &[item(3, "abc"), item(4, "x")],
            &[item(3, "abcd"), item(4, "x"), item(5, "")],
            &[item(4, "xyz"), item(5, "!")],
        ];
        let all = follow(&mut TimelinePosition::default(), &views);
        let last = follow(&mut TimelinePosition::default(), &[views[2], views[3]]);
        let expected: BTreeMap<_, _> = [(3, "abcd"), (4, "xyz"), (5, "!")]
            .map(|(n, text)| (n, text.to_owned()))
            .into();
        assert_eq!(all, expected);
        assert_eq!(last, expected);
    }

    #[test]
    fn a_follower_that_begins_later_is_given_nothing_earlier() {
        let mut position = TimelinePosition {
            next: Some(4),
            ..TimelinePosition::default()
        };
        let shown = follow(
            &mut position,
            &[
                &[item(3, "a"), item(4, "x")],
                &[item(3, "ab"), item(4, "x")],
            ],
        );
        assert_eq!(shown, [(4, "x".to_owned())].into());
    }
}
