//! One open timeline of a host: its machine, the list as its followers have it, and the newest view for them.

use std::sync::Arc;

use bowline_machines::{
    Moment,
    load::LoadError,
    optimistic::{self, Optimistic},
    timeline::{Input, State, Timeline, TimelineConfig, Update},
};
use bowline_protocol::{AgentId, IntentId, RpcReason, TimelineItem};
use tokio::sync::watch;

use crate::{
    settings::{ITEM_BYTES, KEPT_BYTES, KEPT_ITEMS, VIEW_BYTES, VIEW_ITEMS, VIEW_SLACK},
    timeline::{ItemList, Newer, Older, TimelineView},
};

/// What followers are shown of the list. While the timeline is brought up to date it stays what it was.
#[derive(Default)]
struct Shown {
    items: ItemList,
    end: u64,
    complete_to: u64,
    replaced: u64,
}

/// A timeline that somebody follows or followed lately.
pub(super) struct Follow {
    pub(super) machine: Timeline,
    view: watch::Sender<Arc<TimelineView>>,
    /// Screens that show it.
    screens: usize,
    /// Somebody has looked at it all the time since it was created from here, with a first prompt or without.
    pub(super) created: Option<bool>,
    /// It was loaded in this run before, and let go since.
    was_loaded: bool,
    /// Bytes of text that the view may hold.
    view_bytes: usize,
    /// The daemon said that it does not have it.
    pub(super) is_gone: bool,
    /// What the machine's updates have made so far (BX-6: brought up to date by what changed).
    items: ItemList,
    /// How often the daemon turned out to have another timeline.
    replaced: u64,
    shown: Shown,
    /// Its reader went back last: rows that are too many leave at the end, and not under the reader.
    reads_back: bool,
    /// Items of ours that came and are not shown yet.
    arrived: Vec<IntentId>,
    changed: bool,
    /// When the last follower left, as a count of such events; for choosing whom to forget.
    pub(super) left_at: u64,
}

impl Follow {
    /// One that nobody follows yet. `was_loaded`: it was loaded in this run before and let go since.
    pub(super) fn new(was_loaded: bool) -> Self {
        Self {
            was_loaded,
            view_bytes: VIEW_BYTES,
            machine: Timeline::new(TimelineConfig::default()),
            view: watch::channel(Arc::default()).0,
            screens: 0,
            created: None,
            is_gone: false,
            items: ItemList::default(),
            replaced: 0,
            shown: Shown::default(),
            reads_back: false,
            arrived: Vec::new(),
            changed: false,
            left_at: 0,
        }
    }

    pub(super) fn is_followed(&self) -> bool {
        self.screens > 0 || self.view.receiver_count() > 0
    }

    pub(super) fn is_idle(&self) -> bool {
        *self.machine.state() == State::Idle
    }

    /// Bytes that it holds, roughly: rows are held by the machine and by the view.
    pub(super) fn bytes(&self) -> usize {
        2 * (self.items.text_bytes() + self.items.len() * ITEM_BYTES)
    }

    /// How many bytes of text it may hold; what is over leaves.
    pub(super) fn set_share(&mut self, bytes: usize) {
        let most = TimelineConfig::default().max_bytes;
        self.view_bytes = VIEW_BYTES.min(bytes / 3 * 2);
        self.machine.set_max_bytes(most.min(bytes / 3));
        let before = self.items.len();
        self.trim();
        self.changed |= self.items.len() != before;
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
            self.note_arrivals(agent_id, optimistic);
        }
        self.handle(now, agent_id, Input::Open, optimistic);
    }

    /// Ends it. Enough is kept for a screen that is opened again (UX-2).
    pub(super) fn close(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        self.handle(now, agent_id, Input::Close, optimistic);
        self.machine.shrink(KEPT_ITEMS, KEPT_BYTES);
        self.restart();
        self.created = None;
        self.changed = true;
    }

    /// Takes the list from the machine as a whole.
    fn restart(&mut self) {
        self.items = self.machine.restart_consumer().into_iter().collect();
        self.reads_back = false;
        self.arrived.clear();
        self.show();
    }

    fn note_arrivals(&mut self, agent_id: &AgentId, optimistic: &Optimistic) {
        if optimistic.has_pending(agent_id) {
            let items: Vec<_> = self.items.iter().cloned().collect();
            items
                .iter()
                .for_each(|item| self.note_arrival(agent_id, item, optimistic));
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        input: Input,
        optimistic: &Optimistic,
    ) {
        // A page may know more of an item than that its text grew.
        let page: Vec<u64> = match &input {
            Input::Loaded { page, .. } => page.items.iter().map(|item| item.index).collect(),
            _ => Vec::new(),
        };
        let end = self.machine.end();
        self.machine.handle(now, input);
        self.take_updates(agent_id, optimistic);
        // A reader elsewhere is not told what is appended, but messages have arrived all the same.
        if self.machine.is_detached() && optimistic.has_pending(agent_id) {
            for index in end.max(self.machine.held_from())..self.machine.end() {
                if let Some(item) = self.machine.item(index) {
                    let ours = arrival(agent_id, item, optimistic);
                    self.arrived.extend(ours);
                }
            }
        }
        for index in page {
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

    /// Moves the view towards the beginning.
    pub(super) fn load_older(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        self.handle(now, agent_id, Input::LoadOlder, optimistic);
    }

    /// Moves the view towards the end.
    pub(super) fn load_newer(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        self.reads_back = false;
        self.handle(now, agent_id, Input::LoadNewer, optimistic);
    }

    /// Shows the newest items.
    pub(super) fn jump_to_newest(&mut self, agent_id: &AgentId, optimistic: &Optimistic) {
        self.reads_back = false;
        if self.machine.is_detached() {
            self.items = self.machine.restart_consumer().into_iter().collect();
            self.note_arrivals(agent_id, optimistic);
            self.changed = true;
        }
    }

    fn take_updates(&mut self, agent_id: &AgentId, optimistic: &Optimistic) {
        self.changed = true;
        let not_found = LoadError::Rejected(RpcReason::NotFound);
        self.is_gone =
            !self.machine.is_exact() && (self.is_gone || self.machine.error() == Some(not_found));
        while let Some(update) = self.machine.poll_update() {
            match update {
                Update::Appended(item) => {
                    self.note_arrival(agent_id, &item, optimistic);
                    self.items.push(item);
                }
                Update::Grown { index, text, .. } => self.items.grow(index, &text),
                Update::Prepended(items) => {
                    self.reads_back = true;
                    for item in items.into_iter().rev() {
                        self.note_arrival(agent_id, &item, optimistic);
                        self.items.push_front(item);
                    }
                }
                Update::Restarted(items) => {
                    self.reads_back = false;
                    self.items = items.into_iter().collect();
                    self.note_arrivals(agent_id, optimistic);
                }
                Update::Dropped { from } => self.items.drop_from(from),
                Update::Cleared => {
                    self.items = ItemList::default();
                    self.reads_back = false;
                    self.replaced += 1;
                }
            }
        }
        self.trim();
    }

    fn note_arrival(&mut self, agent_id: &AgentId, item: &TimelineItem, optimistic: &Optimistic) {
        self.arrived.extend(arrival(agent_id, item, optimistic));
    }

    /// Drops rows that are too many, several at a time, at the end where the reader is not.
    fn trim(&mut self) {
        let is_over = self.items.len() > VIEW_ITEMS + VIEW_SLACK
            || self.items.text_bytes() > self.view_bytes + self.view_bytes / 8;
        if !is_over {
            return;
        }
        if self.reads_back {
            let from = self.items.end_index() - self.too_many(self.items.iter_back());
            self.items.drop_from(from);
            self.machine.consumer_dropped_from(from);
        } else {
            let from = self.items.first_index() + self.too_many(self.items.iter());
            // What the machine holds stays.
            let from = from.min(self.machine.held_from());
            self.items.drop_before(from);
            self.machine.consumer_dropped_before(from);
        }
    }

    /// How many rows must go, in that order, until the others fit. One stays, whatever its size.
    fn too_many<'a>(&self, rows: impl Iterator<Item = &'a Arc<TimelineItem>>) -> u64 {
        let (mut left, mut bytes) = (self.items.len(), self.items.text_bytes());
        let mut dropped = 0;
        for item in rows {
            if left <= 1 || (left <= VIEW_ITEMS && bytes <= self.view_bytes) {
                break;
            }
            bytes = bytes.saturating_sub(item.text.len());
            left -= 1;
            dropped += 1;
        }
        dropped
    }

    fn show(&mut self) {
        self.shown = Shown {
            items: self.items.clone(),
            end: self.machine.end(),
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
            loaded: self.was_loaded || self.machine.has_loaded(),
            known: self.machine.has_loaded(),
            catching_up: self.machine.is_catching_up(),
            older: self.older(),
            newer: self.newer(),
            end: self.shown.end,
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
        } else {
            self.machine
                .older_error()
                .map_or(Older::More, Older::Failed)
        }
    }

    fn newer(&self) -> Newer {
        if self.shown.items.end_index() >= self.shown.end {
            Newer::None
        } else if self.machine.is_loading_newer() {
            Newer::Loading
        } else {
            self.machine
                .newer_error()
                .map_or(Newer::More, Newer::Failed)
        }
    }
}

/// The message on its way that became that item.
fn arrival(agent_id: &AgentId, item: &TimelineItem, optimistic: &Optimistic) -> Option<IntentId> {
    let ours = item.intent_id.filter(|id| optimistic.awaits(agent_id, *id));
    // On the end of a turn it says whose turn it was; the prompt itself comes before that.
    ours.or_else(|| optimistic.became(agent_id, &item.id))
}

/// Whether both say the same, without a look at the items.
fn is_same(one: &TimelineView, other: &TimelineView) -> bool {
    one.items.is_same(&other.items)
        && Arc::ptr_eq(&one.pending, &other.pending)
        && Arc::ptr_eq(&one.failed, &other.failed)
        && one.loaded == other.loaded
        && one.known == other.known
        && one.catching_up == other.catching_up
        && one.older == other.older
        && one.newer == other.newer
        && one.end == other.end
        && one.complete_to == other.complete_to
        && one.replaced == other.replaced
        && one.error == other.error
}
