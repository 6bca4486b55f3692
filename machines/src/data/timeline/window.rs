//! The held items of a timeline: the newest ones, without gaps, each with the number of the event
//! it is as of.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_protocol::{ItemId, ItemKind, TimelineItem};

use super::TimelineConfig;

/// Most items outside the window that are tracked because they may grow; beyond it the oldest are
/// taken as complete.
const MAX_LEFT: usize = 1_024;

/// One item. Not shared with consumers: its text grows in place, at a cost independent of its
/// length (BX-6).
#[derive(Clone, Debug)]
struct Entry {
    item: TimelineItem,
    as_of: u64,
}

/// Another item or text than the known one, or a text longer than the limit of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// The window.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    items: VecDeque<Entry>,
    /// Index of the first item held.
    first: u64,
    /// Index of the consumer's first item.
    oldest: u64,
    /// Index after the consumer's last item, if the consumer is detached.
    newest: Option<u64>,
    /// Whether nothing precedes `oldest`, according to the daemon.
    at_start: bool,
    /// Everything before this index is complete.
    complete_to: u64,
    bytes: usize,
    /// Items that the consumer has, that are not held, and that may grow.
    left: BTreeMap<u64, Left>,
}

/// Data of an item outside the window, from which it still grows exactly.
#[derive(Clone, Copy, Debug)]
struct Left {
    as_of: u64,
    /// Bytes of text that the consumer has.
    len: usize,
}

/// Whether an item of that kind is complete from the start.
const fn never_grows(kind: ItemKind) -> bool {
    matches!(kind, ItemKind::User | ItemKind::TurnEnd)
}

/// Whether no item before it grows any more.
pub(super) fn ends_turn(item: &TimelineItem) -> bool {
    item.kind == ItemKind::TurnEnd
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.items.len() as u64)
    }

    pub(super) const fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Index after the consumer's last item.
    pub(super) fn consumer_end(&self) -> u64 {
        self.newest.unwrap_or_else(|| self.end())
    }

    /// Whether the consumer is detached.
    pub(super) const fn is_detached(&self) -> bool {
        self.newest.is_some()
    }

    fn consumer_has(&self, index: u64) -> bool {
        index >= self.oldest && index < self.consumer_end()
    }

    pub(super) const fn has_older(&self) -> bool {
        self.oldest > 0 && !self.at_start
    }

    pub(super) const fn complete_to(&self) -> u64 {
        self.complete_to
    }

    pub(super) fn note_start(&mut self) {
        self.at_start = true;
    }

    pub(super) fn item(&self, index: u64) -> Option<&TimelineItem> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.items.get(place).map(|entry| &entry.item)
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.items.get_mut(place)
    }

    /// Sets the start of an empty window.
    pub(super) fn begin_at(&mut self, index: u64) {
        if self.items.is_empty() {
            self.first = index;
            self.oldest = index;
            self.newest = None;
        }
    }

    /// The first item that may have grown without an event.
    pub(super) fn first_incomplete(&self) -> u64 {
        if let Some((index, _)) = self.left.first_key_value() {
            return *index;
        }
        let mut index = self.complete_to.max(self.first);
        while self.item(index).is_some_and(|item| never_grows(item.kind)) {
            index = index.saturating_add(1);
        }
        index
    }

    /// Appends the next item; its index must be [`Window::end`].
    pub(super) fn push(&mut self, item: TimelineItem, as_of: u64, config: &TimelineConfig) {
        self.bytes = self.bytes.saturating_add(item.text.len());
        self.items.push_back(Entry { item, as_of });
        self.trim(config);
    }

    /// Marks everything before the end of a turn as complete, if it is known as of that end or
    /// later.
    pub(super) fn turn_ended(&mut self, index: u64) {
        self.complete_to = self.complete_to.max(index.saturating_add(1));
        self.left = self.left.split_off(&self.complete_to);
    }

    pub(super) fn trim(&mut self, config: &TimelineConfig) {
        while self.items.len() > 1
            && (self.items.len() > config.max_items || self.bytes > config.max_bytes)
        {
            let Some(entry) = self.items.pop_front() else {
                break;
            };
            self.first = self.first.saturating_add(1);
            self.bytes = self.bytes.saturating_sub(entry.item.text.len());
            self.leave(&entry.item, entry.as_of);
        }
    }

    fn leave(&mut self, item: &TimelineItem, as_of: u64) {
        let may_grow = item.index >= self.complete_to && !never_grows(item.kind);
        if may_grow && self.consumer_has(item.index) {
            let len = item.text.len();
            self.left.insert(item.index, Left { as_of, len });
            if self.left.len() > MAX_LEFT {
                self.left.pop_first();
            }
        }
    }

    /// Applies a delta. False if the item has that text already, or the consumer does not have the
    /// item.
    pub(super) fn grow(
        &mut self,
        index: u64,
        id: &ItemId,
        text: &str,
        seq: u64,
        config: &TimelineConfig,
    ) -> Result<bool, Contradiction> {
        let fits = |len: usize| len.saturating_add(text.len()) <= config.max_item_bytes;
        if index < self.first {
            return match self.left.get_mut(&index) {
                Some(left) if left.as_of < seq => {
                    if !fits(left.len) {
                        return Err(Contradiction);
                    }
                    left.as_of = seq;
                    left.len = left.len.saturating_add(text.len());
                    Ok(true)
                }
                Some(_) | None => Ok(false),
            };
        }
        let Some(entry) = self.entry_mut(index) else {
            return Ok(false);
        };
        if entry.item.id != *id {
            return Err(Contradiction);
        }
        if seq <= entry.as_of {
            return Ok(false);
        }
        if !fits(entry.item.text.len()) {
            return Err(Contradiction);
        }
        entry.as_of = seq;
        entry.item.text.push_str(text);
        self.bytes = self.bytes.saturating_add(text.len());
        let is_shown = self.consumer_has(index);
        self.trim(config);
        Ok(is_shown)
    }

    /// Replaces an item whose text the daemon dropped. Returns it if the consumer has it.
    pub(super) fn replace(
        &mut self,
        item: TimelineItem,
        seq: u64,
    ) -> Result<Option<Arc<TimelineItem>>, Contradiction> {
        let index = item.index;
        if index < self.first {
            // It does not grow any more.
            self.left.remove(&index);
        } else {
            let Some(entry) = self.entry_mut(index) else {
                return Ok(None);
            };
            if entry.item.id != item.id {
                return Err(Contradiction);
            }
            if seq < entry.as_of || entry.item == item {
                return Ok(None);
            }
            entry.as_of = seq;
            let before = std::mem::replace(&mut entry.item, item.clone());
            let bytes = self.bytes.saturating_add(item.text.len());
            self.bytes = bytes.saturating_sub(before.text.len());
        }
        let is_shown = self.consumer_has(index);
        Ok(is_shown.then(|| Arc::new(item)))
    }

    /// Merges a page's copy of a known item. Returns the text that the consumer lacks.
    pub(super) fn merge(
        &mut self,
        item: TimelineItem,
        seq: u64,
    ) -> Result<Option<String>, Contradiction> {
        let index = item.index;
        let suffix = if let Some(left) = self.left.get_mut(&index) {
            if seq < left.as_of {
                return Ok(None);
            }
            left.as_of = seq;
            let suffix = item.text.get(left.len..).ok_or(Contradiction)?.to_owned();
            left.len = item.text.len();
            suffix
        } else {
            let Some(entry) = self.entry_mut(index) else {
                return Ok(None);
            };
            if entry.item.id != item.id {
                return Err(Contradiction);
            }
            if seq < entry.as_of {
                return Ok(None);
            }
            entry.as_of = seq;
            let suffix = item.text.strip_prefix(entry.item.text.as_str());
            let suffix = suffix.ok_or(Contradiction)?.to_owned();
            entry.item = item;
            self.bytes = self.bytes.saturating_add(suffix.len());
            suffix
        };
        let is_news = !suffix.is_empty() && self.consumer_has(index);
        Ok(is_news.then_some(suffix))
    }

    /// Prepends the items just before the consumer's first, and holds as many of them as fit. The
    /// last one's index must be `oldest - 1`.
    pub(super) fn prepend(
        &mut self,
        items: Vec<TimelineItem>,
        seq: u64,
        config: &TimelineConfig,
    ) -> Vec<Arc<TimelineItem>> {
        let shown: Vec<_> = items.iter().cloned().map(Arc::new).collect();
        let last_end = items.iter().rev().find(|item| ends_turn(item));
        if let Some(index) = last_end.map(|item| item.index) {
            self.turn_ended(index);
        }
        for item in items.into_iter().rev() {
            let fits = self.first == self.oldest
                && self.items.len() < config.max_items
                && self.bytes.saturating_add(item.text.len()) <= config.max_bytes;
            self.oldest = item.index;
            if fits {
                self.first = item.index;
                self.bytes = self.bytes.saturating_add(item.text.len());
                self.items.push_front(Entry { item, as_of: seq });
            } else {
                self.leave(&item, seq);
            }
        }
        shown
    }

    /// Starts another numbering: every event and page of it is newer than the held items.
    pub(super) fn renumber(&mut self) {
        for entry in &mut self.items {
            entry.as_of = 0;
        }
        for left in self.left.values_mut() {
            left.as_of = 0;
        }
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// Records that the consumer dropped the items before `index`. It must keep all held items that
    /// it has.
    pub(super) fn consumer_dropped_before(&mut self, index: u64) {
        let oldest = index.min(self.first).min(self.consumer_end());
        if oldest > self.oldest {
            self.oldest = oldest;
            self.at_start = false;
            self.left = self.left.split_off(&oldest);
        }
    }

    /// Records that the consumer dropped the items from `index` on.
    pub(super) fn consumer_dropped_from(&mut self, index: u64) {
        if index < self.consumer_end() {
            let newest = index.max(self.oldest);
            self.newest = Some(newest);
            self.left.split_off(&newest);
        }
    }

    /// Appends the items after the consumer's last, as far as they are consecutive. The first one's
    /// index must be [`Window::consumer_end`]. Held copies are preferred, since they are newer.
    pub(super) fn extend(&mut self, items: Vec<TimelineItem>, seq: u64) -> Vec<Arc<TimelineItem>> {
        let mut shown = Vec::new();
        for item in items {
            if item.index >= self.first || item.index != self.consumer_end() {
                break;
            }
            self.newest = Some(item.index.saturating_add(1));
            self.leave(&item, seq);
            shown.push(Arc::new(item));
        }
        shown.extend(self.join());
        shown
    }

    /// Whether the consumer's items are adjacent to the held ones.
    pub(super) fn can_join(&self) -> bool {
        self.newest.is_some_and(|newest| newest >= self.first)
    }

    /// Returns all items up to the end for a consumer that is adjacent to them.
    pub(super) fn join(&mut self) -> Vec<Arc<TimelineItem>> {
        if !self.can_join() {
            return Vec::new();
        }
        let held = self.consumer_end().saturating_sub(self.first);
        self.newest = None;
        self.held_from(held)
    }

    /// Copies of the held items without the first few.
    fn held_from(&self, skipped: u64) -> Vec<Arc<TimelineItem>> {
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let entries = self.items.iter().skip(skipped);
        entries.map(|entry| Arc::new(entry.item.clone())).collect()
    }

    /// Continues with a later run of items, without those between. An attached consumer gets these
    /// items only; a detached one keeps its items before `exact_to`.
    pub(super) fn skip_to(
        &mut self,
        items: Vec<TimelineItem>,
        seq: u64,
        exact_to: u64,
        config: &TimelineConfig,
    ) -> Option<Vec<Arc<TimelineItem>>> {
        let first = items.first().map_or(self.end(), |item| item.index);
        let keeps = self.newest.filter(|_| self.oldest < exact_to);
        let newest = keeps.map(|newest| newest.min(exact_to));
        self.bytes = 0;
        self.newest = newest;
        match newest {
            Some(newest) => {
                self.left.split_off(&newest);
                for entry in std::mem::take(&mut self.items) {
                    self.leave(&entry.item, entry.as_of);
                }
            }
            None => {
                self.items.clear();
                self.oldest = first;
                self.at_start = false;
                self.left.clear();
            }
        }
        self.first = first;
        let shown = newest.is_none();
        let shown = shown.then(|| items.iter().cloned().map(Arc::new).collect());
        for item in items {
            self.push(item, seq, config);
        }
        shown
    }

    /// Drops the oldest items until the bounds hold. There is no consumer.
    pub(super) fn shrink(&mut self, config: &TimelineConfig) {
        self.trim(config);
        self.forget_consumer();
        self.items.shrink_to_fit();
    }

    pub(super) fn restart_consumer(&mut self) -> Vec<Arc<TimelineItem>> {
        self.forget_consumer();
        self.held_from(0)
    }

    /// Resets the consumer: the next one starts with the held items.
    fn forget_consumer(&mut self) {
        self.oldest = self.first;
        self.newest = None;
        self.at_start = false;
        self.left.clear();
    }
}
