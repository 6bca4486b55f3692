//! The items of a timeline that are held: the newest ones, without gaps, each knowing as of which event it is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_protocol::{ItemId, ItemKind, TimelineItem};

use super::TimelineConfig;

/// Most items remembered that have left the window and may still grow; growth of further ones is not passed on.
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
    /// The position holds another item.
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
    /// The daemon said that nothing comes before `oldest`.
    at_start: bool,
    /// Everything before this index is complete: a turn has ended after it.
    complete_to: u64,
    bytes: usize,
    /// Items that the consumer has, that are not held, and that may grow: index and as of which event they are.
    left: BTreeMap<u64, u64>,
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

    pub(super) const fn has_older(&self) -> bool {
        self.oldest > 0 && !self.at_start
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
        }
    }

    /// The first item that may have grown while nobody was told.
    pub(super) fn first_incomplete(&self) -> u64 {
        let mut index = self.complete_to.max(self.first);
        while self.item(index).is_some_and(|item| never_grows(item.kind)) {
            index = index.saturating_add(1);
        }
        index
    }

    /// Adds the next item; its index must be [`Window::end`].
    pub(super) fn push(&mut self, item: TimelineItem, as_of: u64, config: &TimelineConfig) {
        self.note_end_of_turn(&item);
        self.bytes = self.bytes.saturating_add(item.text.len());
        self.items.push_back(Entry { item, as_of });
        self.trim(config);
    }

    fn note_end_of_turn(&mut self, item: &TimelineItem) {
        if item.kind == ItemKind::TurnEnd {
            self.complete_to = self.complete_to.max(item.index.saturating_add(1));
            self.left = self.left.split_off(&self.complete_to);
        }
    }

    fn trim(&mut self, config: &TimelineConfig) {
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
        if item.index >= self.complete_to && !never_grows(item.kind) {
            self.left.insert(item.index, as_of);
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
                Some(as_of) if *as_of < seq => {
                    *as_of = seq;
                    Growth::Grown
                }
                Some(_) | None => Growth::Contained,
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
        entry.as_of = seq;
        entry.item.text.push_str(text);
        self.bytes = self.bytes.saturating_add(text.len());
        self.trim(config);
        Growth::Grown
    }

    /// Takes over what a page knows of an item that is held.
    pub(super) fn merge(&mut self, item: TimelineItem, seq: u64) -> Merge {
        let Some(entry) = self.entry_mut(item.index) else {
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
        if suffix.is_empty() {
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
        for item in &items {
            self.note_end_of_turn(item);
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

    /// Another numbering begins: every event and page of it is newer than what is held.
    pub(super) fn renumber(&mut self) {
        for entry in &mut self.items {
            entry.as_of = 0;
        }
        self.forget_left();
    }

    /// Events may have been missed: what is not held must not grow any more, or its text would have a hole.
    pub(super) fn forget_left(&mut self) {
        self.left.clear();
    }

    pub(super) fn restart_consumer(&mut self) -> Vec<Arc<TimelineItem>> {
        self.oldest = self.first;
        self.at_start = false;
        self.left.clear();
        self.items
            .iter()
            .map(|entry| Arc::new(entry.item.clone()))
            .collect()
    }
}
