//! The rows of a timeline's readers: a run of its items that moves with them, within bounds.

use std::sync::Arc;

use bowline_protocol::TimelineItem;

use super::ViewBounds;
use crate::data::{
    timeline::{Timeline, Update},
    view::ItemList,
};

/// Approximate bytes of an item besides its text.
const ITEM_BYTES: usize = 256;

/// The list built from the machine's updates (BX-6: each costs only what changed).
#[derive(Clone, Debug)]
pub(super) struct Rows {
    items: ItemList,
    bounds: ViewBounds,
    /// Whether the reader last moved towards older items: rows over the bound are then dropped at
    /// the newest end.
    reads_back: bool,
    /// Number of times that the daemon turned out to have another timeline.
    replaced: u64,
}

impl Rows {
    pub(super) fn new(bounds: ViewBounds) -> Self {
        Self {
            items: ItemList::default(),
            bounds,
            reads_back: false,
            replaced: 0,
        }
    }

    pub(super) const fn items(&self) -> &ItemList {
        &self.items
    }

    pub(super) const fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Sets the bytes of text allowed.
    pub(super) const fn set_bytes(&mut self, bytes: usize) {
        self.bounds.bytes = bytes;
    }

    /// Approximate bytes held; the machine holds about as much again.
    pub(super) fn bytes(&self) -> usize {
        self.items.text_bytes() + self.items.len() * ITEM_BYTES
    }

    /// Records that the reader moves towards the end.
    pub(super) const fn read_on(&mut self) {
        self.reads_back = false;
    }

    /// Replaces the list by the machine's.
    pub(super) fn restart(&mut self, timeline: &mut Timeline) {
        self.items = timeline.restart_consumer().into_iter().collect();
        self.reads_back = false;
    }

    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Appended(item) => self.items.push(item),
            Update::Grown { index, text, .. } => self.items.grow(index, &text),
            Update::Replaced(item) => self.items.set(item),
            Update::Prepended(items) => {
                self.reads_back = true;
                for item in items.into_iter().rev() {
                    self.items.push_front(item);
                }
            }
            Update::Restarted(items) => {
                self.reads_back = false;
                self.items = items.into_iter().collect();
            }
            Update::Dropped { from } => self.items.drop_from(from),
            Update::Cleared => {
                self.items = ItemList::default();
                self.reads_back = false;
                self.replaced += 1;
            }
        }
    }

    /// Replaces an item that a page changed in more than its text.
    pub(super) fn refresh(&mut self, index: u64, timeline: &Timeline) {
        if let (Some(held), Some(shown)) = (timeline.item(index), self.items.get(index))
            && **shown != *held
        {
            self.items.set(Arc::new(held.clone()));
        }
    }

    /// Drops rows over the bound, several at once, at the end away from the reader. Returns whether
    /// there were any.
    pub(super) fn trim(&mut self, timeline: &mut Timeline) -> bool {
        let is_over = self.items.len() > self.bounds.items + self.bounds.slack
            || self.items.text_bytes() > self.bounds.bytes + self.bounds.bytes / 8;
        if !is_over {
            return false;
        }
        let before = self.items.len();
        if self.reads_back {
            let from = self.items.end_index() - self.too_many(self.items.iter().rev());
            self.items.drop_from(from);
            timeline.consumer_dropped_from(from);
        } else {
            let from = self.items.first_index() + self.too_many(self.items.iter());
            // Items held by the machine stay.
            let from = from.min(timeline.held_from());
            self.items.drop_before(from);
            timeline.consumer_dropped_before(from);
        }
        self.items.len() != before
    }

    /// Number of rows to drop, in that order, until the others fit. One always stays, whatever its
    /// size.
    fn too_many<'a>(&self, rows: impl Iterator<Item = &'a Arc<TimelineItem>>) -> u64 {
        let (mut left, mut bytes) = (self.items.len(), self.items.text_bytes());
        let mut dropped = 0;
        for item in rows {
            if left <= 1 || (left <= self.bounds.items && bytes <= self.bounds.bytes) {
                break;
            }
            bytes = bytes.saturating_sub(item.text.len());
            left -= 1;
            dropped += 1;
        }
        dropped
    }
}
