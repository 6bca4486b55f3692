//! One open timeline of a host: its machine, the list as its followers have it, and the newest view for them.

use std::sync::Arc;

use bowline_machines::{
    Moment,
    optimistic::{self, Optimistic},
    timeline::{Input, State, Timeline, TimelineConfig, Update},
};
use bowline_protocol::{AgentId, IntentId, TimelineItem};
use tokio::sync::watch;

use crate::{
    settings::{KEPT_BYTES, KEPT_ITEMS, VIEW_BYTES, VIEW_ITEMS, VIEW_SLACK},
    timeline::{ItemList, Older, TimelineView},
};

/// What followers are shown of the list. While the timeline is brought up to date it stays what it was.
#[derive(Default)]
struct Shown {
    items: ItemList,
    complete_to: u64,
    replaced: u64,
}

/// A timeline that somebody follows or followed lately.
pub(super) struct Follow {
    pub(super) machine: Timeline,
    view: watch::Sender<Arc<TimelineView>>,
    /// Screens that show it.
    screens: usize,
    /// What the machine's updates have made so far (BX-6: brought up to date by what changed).
    items: ItemList,
    /// How often the daemon turned out to have another timeline.
    replaced: u64,
    shown: Shown,
    /// Items of ours that came and are not shown yet.
    arrived: Vec<IntentId>,
    changed: bool,
    /// Messages were delivered and not shown when it was last looked at.
    pub(super) unsettled: bool,
    /// When the last follower left, as a count of such events; for choosing whom to forget.
    pub(super) left_at: u64,
}

impl Follow {
    pub(super) fn new() -> Self {
        Self {
            machine: Timeline::new(TimelineConfig::default()),
            view: watch::channel(Arc::default()).0,
            screens: 0,
            items: ItemList::default(),
            replaced: 0,
            shown: Shown::default(),
            arrived: Vec::new(),
            changed: false,
            unsettled: false,
            left_at: 0,
        }
    }

    pub(super) fn is_followed(&self) -> bool {
        self.screens > 0 || self.view.receiver_count() > 0
    }

    pub(super) fn is_idle(&self) -> bool {
        *self.machine.state() == State::Idle
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<TimelineView>> {
        self.view.subscribe()
    }

    pub(super) fn view(&self) -> Arc<TimelineView> {
        Arc::clone(&self.view.borrow())
    }

    pub(super) const fn screen_opened(&mut self) {
        self.screens += 1;
    }

    pub(super) const fn screen_closed(&mut self) {
        self.screens = self.screens.saturating_sub(1);
    }

    /// Begins to follow it. What was kept of it is shown until it is up to date (UX-2).
    pub(super) fn open(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        if self.is_idle() {
            self.restart();
            if optimistic.has_pending(agent_id) {
                let items: Vec<_> = self.items.iter().cloned().collect();
                items
                    .iter()
                    .for_each(|item| self.note_arrival(agent_id, item, optimistic));
            }
        }
        self.handle(now, agent_id, Input::Open, optimistic);
    }

    /// Ends it. Enough is kept for a screen that is opened again (UX-2).
    pub(super) fn close(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        self.handle(now, agent_id, Input::Close, optimistic);
        self.machine.shrink(KEPT_ITEMS, KEPT_BYTES);
        self.restart();
        self.changed = true;
    }

    /// Takes the list from the machine as a whole.
    fn restart(&mut self) {
        self.items = self.machine.restart_consumer().into_iter().collect();
        self.arrived.clear();
        self.show();
    }

    pub(super) fn handle(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        input: Input,
        optimistic: &Optimistic,
    ) {
        // A page may know more of an item than that its text grew.
        let page = match &input {
            Input::Loaded { page, .. } => {
                let (first, last) = (page.items.first(), page.items.last());
                first
                    .zip(last)
                    .map(|(first, last)| first.index..=last.index)
            }
            _ => None,
        };
        self.machine.handle(now, input);
        self.take_updates(agent_id, optimistic);
        for index in page.into_iter().flatten() {
            if let (Some(held), Some(shown)) = (self.machine.item(index), self.items.get(index))
                && **shown != *held
            {
                self.items.set(Arc::new(held.clone()));
            }
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        optimistic: &Optimistic,
    ) {
        let deadline = self.machine.poll_timeout();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.machine.handle_timeout(now);
            self.take_updates(agent_id, optimistic);
        }
    }

    /// Fetches older items, if there is room for them.
    pub(super) fn load_older(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        if !self.is_full() {
            self.handle(now, agent_id, Input::LoadOlder, optimistic);
        }
    }

    fn take_updates(&mut self, agent_id: &AgentId, optimistic: &Optimistic) {
        self.changed = true;
        while let Some(update) = self.machine.poll_update() {
            match update {
                Update::Appended(item) => {
                    self.note_arrival(agent_id, &item, optimistic);
                    self.items.push(item);
                }
                Update::Grown { index, text, .. } => self.items.grow(index, &text),
                Update::Prepended(items) => {
                    for item in items.into_iter().rev() {
                        self.note_arrival(agent_id, &item, optimistic);
                        self.items.push_front(item);
                    }
                }
                Update::Cleared => {
                    self.items = ItemList::default();
                    self.replaced += 1;
                }
            }
        }
        self.trim();
    }

    fn note_arrival(&mut self, agent_id: &AgentId, item: &TimelineItem, optimistic: &Optimistic) {
        let ours = item.intent_id.filter(|id| optimistic.awaits(agent_id, *id));
        // On the end of a turn it says whose turn it was; the prompt itself comes before that.
        let ours = ours.or_else(|| optimistic.became(agent_id, &item.id));
        self.arrived.extend(ours);
    }

    fn is_full(&self) -> bool {
        self.items.len() >= VIEW_ITEMS || self.items.text_bytes() >= VIEW_BYTES
    }

    /// Drops the oldest items, several at a time, but nothing that the machine holds.
    fn trim(&mut self) {
        let is_over = self.items.len() > VIEW_ITEMS + VIEW_SLACK
            || self.items.text_bytes() > VIEW_BYTES + VIEW_BYTES / 8;
        if !is_over {
            return;
        }
        let mut from = self.items.first_index();
        let mut bytes = self.items.text_bytes();
        for item in self.items.iter() {
            let left = self.items.end_index() - from;
            if left <= VIEW_ITEMS as u64 && bytes <= VIEW_BYTES || from >= self.machine.held_from()
            {
                break;
            }
            bytes = bytes.saturating_sub(item.text.len());
            from += 1;
        }
        self.items.drop_before(from);
        self.machine.consumer_dropped_before(from);
    }

    fn show(&mut self) {
        self.shown = Shown {
            items: self.items.clone(),
            complete_to: self.machine.complete_to(),
            replaced: self.replaced,
        };
    }

    /// Something about the messages on their way changed.
    pub(super) const fn touch(&mut self) {
        self.changed = true;
    }

    /// Makes the newest view, if anything changed. What it shows of ours is told to those who show it in advance, so that
    /// it leaves there in the same step.
    pub(super) fn publish(
        &mut self,
        agent_id: &AgentId,
        optimistic: &mut Optimistic,
        rev: &mut u64,
    ) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        if self.machine.is_exact() {
            self.show();
            for intent_id in std::mem::take(&mut self.arrived) {
                let agent_id = agent_id.clone();
                optimistic.handle(optimistic::Input::ItemShown {
                    agent_id,
                    intent_id,
                });
            }
        }
        let last = self.view();
        let shared =
            |old: &Arc<[_]>, new: Arc<[_]>| if *old == new { Arc::clone(old) } else { new };
        let failed = optimistic.failed(agent_id);
        let mut view = TimelineView {
            rev: last.rev,
            items: self.shown.items.clone(),
            pending: shared(&last.pending, optimistic.pending(agent_id)),
            failed: if last.failed == failed {
                last.failed.clone()
            } else {
                failed
            },
            loaded: self.machine.has_loaded(),
            catching_up: self.machine.is_catching_up(),
            older: self.older(),
            complete_to: self.shown.complete_to,
            replaced: self.shown.replaced,
            error: self.machine.error(),
        };
        if is_same(&view, &last) {
            return;
        }
        *rev += 1;
        view.rev = *rev;
        self.view.send_replace(Arc::new(view));
    }

    fn older(&self) -> Older {
        if !self.machine.has_older() || self.shown.items.is_empty() {
            Older::None
        } else if self.machine.is_loading_older() {
            Older::Loading
        } else if self.is_full() {
            Older::WindowFull
        } else {
            self.machine
                .older_error()
                .map_or(Older::More, Older::Failed)
        }
    }
}

/// Whether both say the same, without a look at the items.
fn is_same(one: &TimelineView, other: &TimelineView) -> bool {
    one.items.is_same(&other.items)
        && Arc::ptr_eq(&one.pending, &other.pending)
        && Arc::ptr_eq(&one.failed, &other.failed)
        && one.loaded == other.loaded
        && one.catching_up == other.catching_up
        && one.older == other.older
        && one.complete_to == other.complete_to
        && one.replaced == other.replaced
        && one.error == other.error
}
