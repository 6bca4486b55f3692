//! One timeline of a host with its readers: its machine, their rows, and their newest view.

use std::sync::Arc;

use bowline_protocol::{AgentId, IntentId, RpcReason, TimelineItem};

use super::{FreshCreation, KeptBounds, TimelinesConfig, rows::Rows};
use crate::{
    Generation, MonotonicTime,
    data::{
        load::LoadError,
        optimistic::{self, Optimistic},
        timeline::{End, Input, State, Timeline, Update},
        view::{Beyond, ItemList, TimelineView},
    },
};

/// The displayed part of the rows. It is unchanged while the timeline catches up.
#[derive(Clone, Debug, Default)]
struct Shown {
    items: ItemList,
    end: u64,
    complete_to: u64,
    replaced: u64,
}

/// A timeline with its readers, or kept without.
#[derive(Clone, Debug)]
pub(super) struct OpenTimeline {
    pub(super) machine: Timeline,
    agent_id: AgentId,
    /// Screens that display it.
    pub(super) screens: usize,
    /// Whether streams of it are open.
    pub(super) has_streams: bool,
    /// Set if it has been read continuously since its creation by this client.
    pub(super) created: Option<FreshCreation>,
    /// Whether it was loaded earlier in this run and forgotten since.
    was_loaded: bool,
    /// Whether the daemon answered that it does not exist.
    pub(super) is_gone: bool,
    rows: Rows,
    shown: Shown,
    /// Items of messages sent by this client that arrived and are not displayed yet.
    arrived: Vec<IntentId>,
    has_changed: bool,
    view: Arc<TimelineView>,
    /// When the last reader left, as a count of such events; decides which timeline is forgotten
    /// first.
    pub(super) left_at: u64,
}

impl OpenTimeline {
    /// Creates a timeline without readers. `was_loaded`: it was loaded earlier in this run and
    /// forgotten since. Its loads are numbered after `last`.
    pub(super) fn new(
        agent_id: AgentId,
        config: &TimelinesConfig,
        was_loaded: bool,
        last: Generation,
    ) -> Self {
        Self {
            machine: Timeline::new(config.timeline).numbered_after(last),
            agent_id,
            screens: 0,
            has_streams: false,
            created: None,
            was_loaded,
            is_gone: false,
            rows: Rows::new(config.view),
            shown: Shown::default(),
            arrived: Vec::new(),
            has_changed: false,
            view: Arc::default(),
            left_at: 0,
        }
    }

    /// Whether it has readers.
    pub(super) const fn is_read(&self) -> bool {
        self.screens > 0 || self.has_streams
    }

    pub(super) fn is_idle(&self) -> bool {
        *self.machine.state() == State::Idle
    }

    /// Approximate bytes held by the machine and the view together.
    pub(super) fn bytes(&self) -> usize {
        2 * self.rows.bytes()
    }

    /// Sets the bytes of text it may hold; older rows are dropped.
    pub(super) fn set_share(&mut self, bytes: usize, config: &TimelinesConfig) {
        self.rows.set_bytes(config.view.bytes.min(bytes / 3 * 2));
        self.machine
            .set_max_bytes(config.timeline.max_bytes.min(bytes / 3));
        self.has_changed |= self.rows.trim(&mut self.machine);
    }

    /// The newest view.
    pub(super) const fn view(&self) -> &Arc<TimelineView> {
        &self.view
    }

    /// Opens it. Kept rows are displayed until it is current (UX-2).
    pub(super) fn open(&mut self, now: MonotonicTime, optimistic: &Optimistic) {
        if self.is_idle() {
            self.restart();
            self.note_arrivals(optimistic);
        }
        self.handle(now, Input::Open, optimistic);
    }

    /// Closes it. Enough is kept for a screen that is opened again (UX-2).
    pub(super) fn close(&mut self, now: MonotonicTime, kept: &KeptBounds, optimistic: &Optimistic) {
        self.handle(now, Input::Close, optimistic);
        self.machine.shrink(kept.items, kept.bytes);
        self.restart();
        self.created = None;
        self.has_changed = true;
    }

    fn restart(&mut self) {
        self.rows.restart(&mut self.machine);
        self.arrived.clear();
        self.show();
    }

    pub(super) fn handle(&mut self, now: MonotonicTime, input: Input, optimistic: &Optimistic) {
        if matches!(input, Input::LoadMore(End::Newer) | Input::JumpToNewest) {
            self.rows.read_on();
        }
        // A page may change an item in more than its text.
        let page: Vec<u64> = match &input {
            Input::Page {
                result: Ok(page), ..
            } => page.items.iter().map(|item| item.index).collect(),
            _ => Vec::new(),
        };
        let end = self.machine.end();
        self.machine.handle(now, input);
        self.take_updates(optimistic);
        // A detached reader gets no appended items, but the messages have arrived all the same.
        if self.machine.is_detached() && optimistic.has_pending(&self.agent_id) {
            for index in end.max(self.machine.held_from())..self.machine.end() {
                if let Some(item) = self.machine.item(index) {
                    let ours = arrival(&self.agent_id, item, optimistic);
                    self.arrived.extend(ours);
                }
            }
        }
        for index in page {
            self.rows.refresh(index, &self.machine);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: MonotonicTime, optimistic: &Optimistic) {
        let deadline = self.machine.poll_timeout();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.machine.handle_timeout(now);
            self.take_updates(optimistic);
        }
    }

    fn take_updates(&mut self, optimistic: &Optimistic) {
        self.has_changed = true;
        let not_found = LoadError::Rejected(RpcReason::NotFound);
        self.is_gone =
            !self.machine.is_exact() && (self.is_gone || self.machine.error() == Some(not_found));
        while let Some(update) = self.machine.poll_update() {
            let came = match &update {
                Update::Appended(item) => std::slice::from_ref(item),
                Update::Prepended(items) | Update::Restarted(items) => items.as_slice(),
                Update::Grown { .. }
                | Update::Replaced(_)
                | Update::Dropped { .. }
                | Update::Cleared => &[],
            };
            let agent_id = &self.agent_id;
            let ours = came
                .iter()
                .filter_map(|item| arrival(agent_id, item, optimistic));
            self.arrived.extend(ours);
            self.rows.apply(update);
        }
        self.rows.trim(&mut self.machine);
    }

    /// Records messages whose items are already held.
    fn note_arrivals(&mut self, optimistic: &Optimistic) {
        if optimistic.has_pending(&self.agent_id) {
            let (agent_id, items) = (&self.agent_id, self.rows.items().iter());
            let ours = items.filter_map(|item| arrival(agent_id, item, optimistic));
            self.arrived.extend(ours);
        }
    }

    fn show(&mut self) {
        self.shown = Shown {
            items: self.rows.items().clone(),
            end: self.machine.end(),
            complete_to: self.machine.complete_to(),
            replaced: self.rows.replaced(),
        };
    }

    /// Marks a change of the pending messages.
    pub(super) const fn touch(&mut self) {
        self.has_changed = true;
    }

    /// Builds the newest view if anything changed, and returns it if it differs. The messages whose
    /// items it displays are reported to `optimistic`, so that they are removed there in the same
    /// step.
    pub(super) fn publish(
        &mut self,
        optimistic: &mut Optimistic,
        rev: &mut u64,
    ) -> Option<Arc<TimelineView>> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        if self.machine.is_exact() {
            self.show();
            for intent_id in std::mem::take(&mut self.arrived) {
                let agent_id = self.agent_id.clone();
                optimistic.handle(optimistic::Input::ItemShown {
                    agent_id,
                    intent_id,
                });
            }
        }
        let last = &self.view;
        let mut view = TimelineView {
            rev: last.rev,
            items: self.shown.items.clone(),
            pending: unchanged(&last.pending, optimistic.pending(&self.agent_id)),
            failed: unchanged(&last.failed, optimistic.failed(&self.agent_id)),
            loaded: self.was_loaded || self.machine.has_loaded(),
            known: self.machine.has_loaded(),
            catching_up: self.machine.is_catching_up(),
            older: self.beyond(End::Older),
            newer: self.beyond(End::Newer),
            end: self.shown.end,
            complete_to: self.shown.complete_to,
            replaced: self.shown.replaced,
            error: self.machine.error(),
        };
        if view.says_the_same(last) {
            return None;
        }
        *rev += 1;
        view.rev = *rev;
        self.view = Arc::new(view);
        Some(Arc::clone(&self.view))
    }

    /// The items beyond one end of the displayed ones.
    fn beyond(&self, end: End) -> Beyond {
        let has_more = match end {
            End::Older => self.machine.has_older() && !self.shown.items.is_empty(),
            End::Newer => self.shown.items.end_index() < self.shown.end,
        };
        if !has_more {
            Beyond::None
        } else if self.machine.is_loading_more(end) {
            Beyond::Loading
        } else {
            let error = self.machine.load_more_error(end);
            error.map_or(Beyond::More, Beyond::Failed)
        }
    }
}

/// The old value if the new one is equal, so that views can be compared by pointer.
fn unchanged<T: PartialEq>(old: &Arc<[T]>, new: Arc<[T]>) -> Arc<[T]> {
    if *old == new { Arc::clone(old) } else { new }
}

/// The pending message that became this item.
fn arrival(agent_id: &AgentId, item: &TimelineItem, optimistic: &Optimistic) -> Option<IntentId> {
    let ours = item.intent_id.filter(|id| optimistic.awaits(agent_id, *id));
    // The end of a turn also has the intent of its turn; the prompt's item precedes it.
    ours.or_else(|| optimistic.became(agent_id, &item.id))
}
