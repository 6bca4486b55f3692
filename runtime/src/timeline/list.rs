//! The items of a timeline as a persistent list: a copy costs nothing, and a change costs what is changed (BX-6).
//!
//! Items have indices without gaps, so the list is cut along a fixed grid: an item stands in the chunk of its index, a
//! chunk in the block of its number. A change copies one chunk, one block and the list of blocks, all of bounded size;
//! everything else is shared with the list before. The newest chunk is held apart, so that an append copies it alone.
//! Two lists are compared the same way: what they share is skipped ([`ItemList::changed_since`]).

use std::sync::Arc;

use bowline_protocol::TimelineItem;

/// Items in a chunk, chunks in a block.
const WIDTH: usize = 32;
const GRID: u64 = WIDTH as u64;

type Chunk = Run<Arc<TimelineItem>>;
type Block = Run<Arc<Chunk>>;

/// Consecutive things, the first of which has the number `start`.
#[derive(Debug)]
struct Run<T> {
    start: u64,
    things: Vec<T>,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self {
            start: 0,
            things: Vec::new(),
        }
    }
}

impl<T: Clone> Clone for Run<T> {
    fn clone(&self) -> Self {
        // With room for what is about to be added.
        let mut things = Vec::with_capacity(self.things.len().max(WIDTH - 1) + 1);
        things.extend_from_slice(&self.things);
        Self {
            start: self.start,
            things,
        }
    }
}

impl<T> Run<T> {
    fn of(start: u64, thing: T) -> Self {
        Self {
            start,
            things: vec![thing],
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.start)?).ok()
    }

    fn get(&self, number: u64) -> Option<&T> {
        self.things.get(self.place(number)?)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.place(number)?;
        self.things.get_mut(place)
    }

    fn push(&mut self, number: u64, thing: T) {
        if self.things.is_empty() {
            self.start = number;
        }
        self.things.push(thing);
    }

    fn push_front(&mut self, number: u64, thing: T) {
        self.start = number;
        self.things.insert(0, thing);
    }

    fn drop_from(&mut self, number: u64) {
        let kept = self.place(number).unwrap_or(0);
        self.things.truncate(kept);
    }

    fn drop_before(&mut self, number: u64) {
        let dropped = self.place(number).unwrap_or(0).min(self.things.len());
        self.things.drain(..dropped);
        self.start += dropped as u64;
    }
}

/// A run of a timeline, in order of index, without gaps. An immutable value for its readers.
#[derive(Clone, Debug, Default)]
pub struct ItemList {
    first: u64,
    end: u64,
    bytes: usize,
    blocks: Arc<Run<Arc<Block>>>,
    /// The chunk that the next item goes into.
    tail: Arc<Chunk>,
}

impl ItemList {
    /// Index of the first item; of the next one, if there is none.
    pub const fn first_index(&self) -> u64 {
        self.first
    }

    /// Index that the next item will have.
    pub const fn end_index(&self) -> u64 {
        self.end
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.end - self.first).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Bytes of text in all items.
    pub const fn text_bytes(&self) -> usize {
        self.bytes
    }

    /// The item of that index in the timeline.
    pub fn get(&self, index: u64) -> Option<&Arc<TimelineItem>> {
        if index >= self.tail_start() {
            return self.tail.get(index);
        }
        let number = index / GRID;
        self.blocks.get(number / GRID)?.get(number)?.get(index)
    }

    /// The first item.
    pub fn first(&self) -> Option<&Arc<TimelineItem>> {
        self.get(self.first)
    }

    /// The newest item.
    pub fn last(&self) -> Option<&Arc<TimelineItem>> {
        self.get(self.end.checked_sub(1)?)
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TimelineItem>> {
        self.iter_from(self.first)
    }

    /// The items from that index on.
    pub fn iter_from(&self, index: u64) -> impl Iterator<Item = &Arc<TimelineItem>> {
        (index.max(self.first)..self.end).filter_map(|index| self.get(index))
    }

    /// All items, the newest first.
    pub(crate) fn iter_back(&self) -> impl Iterator<Item = &Arc<TimelineItem>> {
        (self.first..self.end)
            .rev()
            .filter_map(|index| self.get(index))
    }

    /// Whether both are the same value, at no cost: lists that were made apart are not, whatever they hold.
    pub fn is_same(&self, other: &Self) -> bool {
        self.first == other.first
            && self.end == other.end
            && Arc::ptr_eq(&self.blocks, &other.blocks)
            && Arc::ptr_eq(&self.tail, &other.tail)
    }

    /// Indices of the items that both lists have and that are not the same value, in order. Costs what changed, and a
    /// glance at every block.
    pub fn changed_since(&self, old: &Self) -> Vec<u64> {
        let (first, end) = (self.first.max(old.first), self.end.min(old.end));
        // What a tail holds is in no block.
        let tail = self.tail_start().min(old.tail_start());
        let mut changed = Vec::new();
        let mut index = first;
        while index < end {
            let number = index / GRID;
            let (new_block, old_block) = (self.block(number / GRID), old.block(number / GRID));
            if index < tail && is_shared(new_block, old_block) {
                index = tail.min((number / GRID + 1) * GRID * GRID);
                continue;
            }
            if is_shared(self.chunk(number), old.chunk(number)) {
                index = (number + 1) * GRID;
                continue;
            }
            if !is_shared(self.get(index), old.get(index)) {
                changed.push(index);
            }
            index += 1;
        }
        changed
    }

    /// Begins an empty list at that index.
    pub(crate) fn starting_at(index: u64) -> Self {
        Self {
            first: index,
            end: index,
            ..Self::default()
        }
    }

    /// Adds the next item; one with another index is left out.
    pub fn push(&mut self, item: Arc<TimelineItem>) {
        if self.is_empty() {
            *self = Self::starting_at(item.index);
        }
        if item.index != self.end {
            return;
        }
        self.bytes += item.text.len();
        Arc::make_mut(&mut self.tail).push(self.end, item);
        self.end += 1;
        if self.end.is_multiple_of(GRID) {
            let full = std::mem::take(&mut self.tail);
            self.put_chunk((self.end - 1) / GRID, full);
        }
    }

    /// Adds the item just before the first; one with another index is left out.
    pub(crate) fn push_front(&mut self, item: Arc<TimelineItem>) {
        if self.is_empty() {
            return self.push(item);
        }
        let index = item.index;
        if index.checked_add(1) != Some(self.first) {
            return;
        }
        self.bytes += item.text.len();
        self.first = index;
        let number = index / GRID;
        if index >= self.tail_start() {
            Arc::make_mut(&mut self.tail).push_front(index, item);
        } else if let Some(chunk) = self.chunk_mut(number) {
            chunk.push_front(index, item);
        } else {
            let blocks = Arc::make_mut(&mut self.blocks);
            let chunk = Arc::new(Run::of(index, item));
            match blocks.get_mut(number / GRID) {
                Some(block) => Arc::make_mut(block).push_front(number, chunk),
                None => blocks.push_front(number / GRID, Arc::new(Run::of(number, chunk))),
            }
        }
    }

    /// Puts another item in the place of the one of its index; without one nothing changes.
    pub fn set(&mut self, item: Arc<TimelineItem>) {
        let (index, len) = (item.index, item.text.len());
        let Some(place) = self.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(place, item).text.len();
        self.bytes = (self.bytes + len).saturating_sub(before);
    }

    /// Appends to the text of an item; without one nothing changes. An item that no reader has yet grows in place.
    pub(crate) fn grow(&mut self, index: u64, text: &str) {
        if let Some(item) = self.get_mut(index) {
            Arc::make_mut(item).text.push_str(text);
            self.bytes += text.len();
        }
    }

    /// Drops the items before that index.
    pub(crate) fn drop_before(&mut self, index: u64) {
        let index = index.min(self.end);
        if index <= self.first {
            return;
        }
        let dropped = (self.first..index).filter_map(|index| self.get(index));
        let bytes: usize = dropped.map(|item| item.text.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.first = index;
        if index >= self.tail_start() {
            self.blocks = Arc::default();
            Arc::make_mut(&mut self.tail).drop_before(index);
            return;
        }
        let number = index / GRID;
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.drop_before(number / GRID);
        if let Some(block) = blocks.get_mut(number / GRID) {
            Arc::make_mut(block).drop_before(number);
        }
        if let Some(chunk) = self.chunk_mut(number) {
            chunk.drop_before(index);
        }
    }

    /// Drops the items from that index on.
    pub(crate) fn drop_from(&mut self, index: u64) {
        let index = index.max(self.first);
        if index >= self.end {
            return;
        }
        let dropped: usize = self.iter_from(index).map(|item| item.text.len()).sum();
        self.bytes = self.bytes.saturating_sub(dropped);
        if index < self.tail_start() {
            // The chunk of the next item is the tail, whether anything is left in it or not.
            let number = index / GRID;
            self.tail = self.chunk(number).map(Arc::clone).unwrap_or_default();
            let blocks = Arc::make_mut(&mut self.blocks);
            if let Some(block) = blocks.get_mut(number / GRID) {
                Arc::make_mut(block).drop_from(number);
            }
            let is_empty = |block: &Arc<Block>| block.things.is_empty();
            let from = number / GRID + u64::from(!blocks.get(number / GRID).is_none_or(is_empty));
            blocks.drop_from(from);
        }
        self.end = index;
        Arc::make_mut(&mut self.tail).drop_from(index);
    }

    /// Where the tail begins or would begin.
    const fn tail_start(&self) -> u64 {
        self.end / GRID * GRID
    }

    fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(number)
    }

    fn chunk(&self, number: u64) -> Option<&Arc<Chunk>> {
        if number == self.end / GRID {
            return Some(&self.tail);
        }
        self.blocks.get(number / GRID)?.get(number)
    }

    fn chunk_mut(&mut self, number: u64) -> Option<&mut Chunk> {
        let blocks = Arc::make_mut(&mut self.blocks);
        let block = Arc::make_mut(blocks.get_mut(number / GRID)?);
        Some(Arc::make_mut(block.get_mut(number)?))
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut Arc<TimelineItem>> {
        // Looked up first: nothing is copied for an item that is not there.
        self.get(index)?;
        if index >= self.tail_start() {
            return Arc::make_mut(&mut self.tail).get_mut(index);
        }
        self.chunk_mut(index / GRID)?.get_mut(index)
    }

    fn put_chunk(&mut self, number: u64, chunk: Arc<Chunk>) {
        let blocks = Arc::make_mut(&mut self.blocks);
        match blocks.get_mut(number / GRID) {
            Some(block) => Arc::make_mut(block).push(number, chunk),
            None => blocks.push(number / GRID, Arc::new(Run::of(number, chunk))),
        }
    }
}

fn is_shared<T>(new: Option<&Arc<T>>, old: Option<&Arc<T>>) -> bool {
    matches!((new, old), (Some(new), Some(old)) if Arc::ptr_eq(new, old))
}

impl PartialEq for ItemList {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
            || (self.first == other.first
                && self.end == other.end
                && self.iter().zip(other.iter()).all(|(one, two)| one == two))
    }
}

impl FromIterator<Arc<TimelineItem>> for ItemList {
    fn from_iter<I: IntoIterator<Item = Arc<TimelineItem>>>(items: I) -> Self {
        let mut list = Self::default();
        items.into_iter().for_each(|item| list.push(item));
        list
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::{ItemId, ItemKind};

    use super::*;

    fn item(index: u64, text: &str) -> Arc<TimelineItem> {
        let id = ItemId::from_uuid(uuid::Uuid::from_u64_pair(0, index));
        let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
        item.text = text.to_owned();
        Arc::new(item)
    }

    fn indices(list: &ItemList) -> Vec<u64> {
        list.iter().map(|item| item.index).collect()
    }

    /// A reference that is obviously right.
    #[derive(Clone, Default)]
    struct Plain(Vec<Arc<TimelineItem>>);

    impl Plain {
        fn check(&self, list: &ItemList) {
            assert_eq!(list.len(), self.0.len());
            assert!(list.iter().eq(self.0.iter()));
            let bytes: usize = self.0.iter().map(|item| item.text.len()).sum();
            assert_eq!(list.text_bytes(), bytes);
            if let (Some(first), Some(last)) = (self.0.first(), self.0.last()) {
                assert_eq!(
                    (list.first_index(), list.end_index()),
                    (first.index, last.index + 1)
                );
                assert_eq!(list.first(), Some(first));
                assert_eq!(list.last(), Some(last));
                assert!(list.get(last.index + 1).is_none());
                if first.index > 0 {
                    assert!(list.get(first.index - 1).is_none());
                }
            }
        }
    }

    #[test]
    fn the_list_is_what_a_plain_one_is_whatever_is_done_to_it() {
        // A walk over both ends, across the borders of chunks and blocks, from every place of the grid.
        for start in [0_u64, 1, 31, 32, 33, 1_000, 1_023, 1_024, 5_000] {
            let (mut list, mut plain) = (ItemList::default(), Plain::default());
            let mut random = start | 1;
            for step in 0..3_000_u64 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let end = plain.0.last().map_or(start, |item| item.index + 1);
                let first = plain.0.first().map_or(start, |item| item.index);
                match (random >> 33) % 8 {
                    0..=3 => {
                        let new = item(end, &"x".repeat((step % 5) as usize));
                        list.push(new.clone());
                        plain.0.push(new);
                    }
                    4 | 5 if first > 0 => {
                        let new = item(first - 1, "front");
                        list.push_front(new.clone());
                        plain.0.insert(0, new);
                    }
                    6 if !plain.0.is_empty() => {
                        let place = (random >> 40) as usize % plain.0.len();
                        let new = item(first + place as u64, "other");
                        list.set(new.clone());
                        plain.0[place] = new;
                    }
                    _ if step % 100 == 50 => {
                        let kept = plain.0.len() - plain.0.len() / 4;
                        list.drop_from(first + kept as u64);
                        plain.0.truncate(kept);
                    }
                    _ if step % 100 == 0 => {
                        let dropped = plain.0.len() / 3;
                        list.drop_before(first + dropped as u64);
                        plain.0.drain(..dropped);
                    }
                    _ => {}
                }
                if step % 50 == 0 {
                    plain.check(&list);
                }
            }
            plain.check(&list);
        }
    }

    #[test]
    fn bx_6_what_did_not_change_is_shared_and_skipped() {
        let mut list: ItemList = (0..10_000).map(|index| item(index, "x")).collect();
        let old = list.clone();
        list.push(item(10_000, "new"));
        list.set(item(5_000, "changed"));
        list.set(item(9_999, "changed"));
        assert_eq!(list.changed_since(&old), [5_000, 9_999]);
        assert_eq!(old.len(), 10_000, "who has the old list still has it");
        assert_eq!(old.get(5_000).unwrap().text, "x");
        list.drop_before(9_000);
        assert_eq!(list.changed_since(&old), [9_999]);
        assert_eq!(list.first_index(), 9_000);
    }

    #[test]
    fn an_item_that_does_not_fit_is_left_out() {
        let mut list = ItemList::starting_at(7);
        assert!(list.is_empty() && list.first().is_none() && list.last().is_none());
        list.push(item(40, "a"));
        list.push(item(42, "gap"));
        list.push_front(item(38, "gap"));
        list.set(item(1, "none"));
        list.push_front(item(39, "b"));
        assert_eq!(indices(&list), [39, 40]);
        list.drop_before(100);
        assert!(list.is_empty());
        assert_eq!(list.text_bytes(), 0);
    }
}
