//! The items of a timeline that are held: the newest ones, without gaps, each knowing as of which event it is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_protocol::{ItemId, ItemKind, TimelineItem};

use super::TimelineConfig;

/// Most items remembered that have left the window and may still grow; the oldest of more stay as they are.
const MAX_LEFT: usize = 1_024;

/// One item. Not shared with consumers: its text grows in place, at a cost that does not depend on its length (BX-6).
#[derive(Clone, Debug)]
struct Entry {
    item: TimelineItem,
    as_of: u64,
}

/// What a delta found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// The text grew; the consumer is to be told.
    Grown,
    /// The item has that text already, or the consumer does not have the item.
    Contained,
    /// The position holds another item, or it would be longer than any item is.
    Mismatch,
}

/// What a page's view of a known item means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The page knows that much more.
    Suffix(String),
    /// Nothing new.
    Same,
    /// Not the same item, or not the same text.
    Diverged,
}

/// The window.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    items: VecDeque<Entry>,
    /// Index of the first item held.
    first: u64,
    /// Index of the first item that the consumer has.
    oldest: u64,
    /// Index after the last item that the consumer has, while it does not go on to the end.
    newest: Option<u64>,
    /// The daemon said that nothing comes before `oldest`.
    at_start: bool,
    /// Everything before this index is complete.
    complete_to: u64,
    bytes: usize,
    /// Items that the consumer has, that are not held, and that may grow.
    left: BTreeMap<u64, Left>,
}

/// What must be known of an item that has left the window, so that it still grows exactly.
#[derive(Clone, Copy, Debug)]
struct Left {
    as_of: u64,
    /// Bytes of text that the consumer has.
    len: usize,
}

/// Whether an item of that kind is complete from the start.
const fn never_grows(kind: ItemKind) -> bool {
    match kind {
        ItemKind::User | ItemKind::TurnEnd => true,
        ItemKind::Message
        | ItemKind::Thought
        | ItemKind::Tool
        | ItemKind::Output
        | ItemKind::Plan
        | ItemKind::Permission
        | ItemKind::Error => false,
    }
}

/// Whether nothing before it grows any more.
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

    /// Index after the last item that the consumer has.
    pub(super) fn consumer_end(&self) -> u64 {
        self.newest.unwrap_or_else(|| self.end())
    }

    /// Whether the consumer has been told that it does not have the newest items.
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

    /// Where an empty window begins.
    pub(super) fn begin_at(&mut self, index: u64) {
        if self.items.is_empty() {
            self.first = index;
            self.oldest = index;
            self.newest = None;
        }
    }

    /// The first item that may have grown while nobody was told.
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

    /// Adds the next item; its index must be [`Window::end`].
    pub(super) fn push(&mut self, item: TimelineItem, as_of: u64, config: &TimelineConfig) {
        self.bytes = self.bytes.saturating_add(item.text.len());
        self.items.push_back(Entry { item, as_of });
        self.trim(config);
    }

    /// A turn has ended with that item, and everything before it is known as of that end or later: it is complete.
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

    /// Applies a delta, unless the item contains it.
    pub(super) fn grow(
        &mut self,
        index: u64,
        id: &ItemId,
        text: &str,
        seq: u64,
        config: &TimelineConfig,
    ) -> Growth {
        if index < self.first {
            return match self.left.get_mut(&index) {
                Some(left) if left.as_of >= seq => Growth::Contained,
                Some(left) if left.len.saturating_add(text.len()) > config.max_item_bytes => {
                    Growth::Mismatch
                }
                Some(left) => {
                    left.as_of = seq;
                    left.len = left.len.saturating_add(text.len());
                    Growth::Grown
                }
                None => Growth::Contained,
            };
        }
        let Some(entry) = self.entry_mut(index) else {
            return Growth::Contained;
        };
        if entry.item.id != *id {
            return Growth::Mismatch;
        }
        if seq <= entry.as_of {
            return Growth::Contained;
        }
        if entry.item.text.len().saturating_add(text.len()) > config.max_item_bytes {
            return Growth::Mismatch;
        }
        entry.as_of = seq;
        entry.item.text.push_str(text);
        self.bytes = self.bytes.saturating_add(text.len());
        let is_shown = self.consumer_has(index);
        self.trim(config);
        if is_shown {
            Growth::Grown
        } else {
            Growth::Contained
        }
    }

    /// Takes over what a page knows of an item that the consumer has.
    pub(super) fn merge(&mut self, item: TimelineItem, seq: u64) -> Merge {
        if let Some(left) = self.left.get_mut(&item.index) {
            if seq < left.as_of {
                return Merge::Same;
            }
            left.as_of = seq;
            return match item.text.get(left.len..) {
                None => Merge::Diverged,
                Some("") => Merge::Same,
                Some(suffix) => {
                    left.len = item.text.len();
                    Merge::Suffix(suffix.to_owned())
                }
            };
        }
        let index = item.index;
        let Some(entry) = self.entry_mut(index) else {
            return Merge::Same;
        };
        if entry.item.id != item.id {
            return Merge::Diverged;
        }
        if seq < entry.as_of {
            return Merge::Same;
        }
        entry.as_of = seq;
        let known = entry.item.text.len();
        let Some(suffix) = item.text.strip_prefix(entry.item.text.as_str()) else {
            return Merge::Diverged;
        };
        let suffix = suffix.to_owned();
        entry.item = item;
        let more = entry.item.text.len().saturating_sub(known);
        self.bytes = self.bytes.saturating_add(more);
        if suffix.is_empty() || !self.consumer_has(index) {
            Merge::Same
        } else {
            Merge::Suffix(suffix)
        }
    }

    /// Gives the consumer the items just before what it has, and holds as many of them as there is room for. The last
    /// one's index must be `oldest - 1`.
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

    /// Another numbering begins: every event and page of it is newer than what is known.
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

    /// The consumer has given up what comes before that index. Of what is held here it must still have what it had.
    pub(super) fn consumer_dropped_before(&mut self, index: u64) {
        let oldest = index.min(self.first).min(self.consumer_end());
        if oldest > self.oldest {
            self.oldest = oldest;
            self.at_start = false;
            self.left = self.left.split_off(&oldest);
        }
    }

    /// The consumer has given up what comes from that index on.
    pub(super) fn consumer_dropped_from(&mut self, index: u64) {
        if index < self.consumer_end() {
            let newest = index.max(self.oldest);
            self.newest = Some(newest);
            self.left.split_off(&newest);
        }
    }

    /// Gives the consumer the items that follow what it has, as far as it then has a run. The first one's index must be
    /// [`Window::consumer_end`]. What is held is given as it is held: that is newer.
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

    /// Whether what the consumer has goes on with what is held.
    pub(super) fn can_join(&self) -> bool {
        self.newest.is_some_and(|newest| newest >= self.first)
    }

    /// Gives the consumer everything up to the end, if that follows what it has.
    pub(super) fn join(&mut self) -> Vec<Arc<TimelineItem>> {
        if !self.can_join() {
            return Vec::new();
        }
        let held = self.consumer_end().saturating_sub(self.first);
        self.newest = None;
        let entries = self
            .items
            .iter()
            .skip(usize::try_from(held).unwrap_or(usize::MAX));
        entries.map(|entry| Arc::new(entry.item.clone())).collect()
    }

    /// Goes on with a later run: what lies between is not held. A consumer that had the end has these items alone from
    /// then on and is given them; another keeps what it has before `exact_to`.
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

    /// Lets the oldest items go until no more is held than that. There is no consumer.
    pub(super) fn shrink(&mut self, config: &TimelineConfig) {
        self.trim(config);
        self.forget_consumer();
        self.items.shrink_to_fit();
    }

    pub(super) fn restart_consumer(&mut self) -> Vec<Arc<TimelineItem>> {
        self.forget_consumer();
        self.items
            .iter()
            .map(|entry| Arc::new(entry.item.clone()))
            .collect()
    }

    /// The next consumer begins with what is held.
    fn forget_consumer(&mut self) {
        self.oldest = self.first;
        self.newest = None;
        self.at_start = false;
        self.left.clear();
    }
}
