//! The items of a timeline as a persistent list: a copy is free, and a change costs only what
//! changes (BX-6).
//!
//! Items have indices without gaps, so the list is divided by a fixed grid: an item is in the chunk
//! of its index. A change copies one chunk and the list of chunks, both of bounded size; everything
//! else is shared with the previous list. The newest chunk is separate, so that an append copies
//! only that. Comparing two lists skips what they share ([`ItemList::changed_since`]).

use std::{collections::VecDeque, sync::Arc};

use bowline_protocol::TimelineItem;

/// Items per chunk: about as many as a full view has chunks, so that both are cheap to copy.
const GRID: u64 = 64;

type Chunk = VecDeque<Arc<TimelineItem>>;

/// A run of a timeline, in order of index, without gaps; immutable for its readers.
#[derive(Clone, Debug, Default)]
pub struct ItemList {
    first: u64,
    end: u64,
    bytes: usize,
    /// The chunks from that of `first` on, without the tail.
    chunks: Arc<VecDeque<Arc<Chunk>>>,
    /// The chunk of the next item.
    tail: Arc<Chunk>,
}

impl ItemList {
    /// Index of the first item; of the next one if the list is empty.
    pub const fn first_index(&self) -> u64 {
        self.first
    }

    /// Index of the next item.
    pub const fn end_index(&self) -> u64 {
        self.end
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        to_usize(self.end - self.first)
    }

    /// Whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Bytes of text in all items.
    pub const fn text_bytes(&self) -> usize {
        self.bytes
    }

    /// The item at `index` of the timeline.
    pub fn get(&self, index: u64) -> Option<&Arc<TimelineItem>> {
        let place = self.place(index)?;
        self.chunk(index / GRID)?.get(place)
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
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<TimelineItem>> {
        self.iter_from(self.first)
    }

    /// The items from `index` on.
    pub fn iter_from(&self, index: u64) -> impl DoubleEndedIterator<Item = &Arc<TimelineItem>> {
        (index.max(self.first)..self.end).filter_map(|index| self.get(index))
    }

    /// Whether both are the same shared value, at no cost; lists built separately are not, even if
    /// equal.
    pub fn is_same(&self, other: &Self) -> bool {
        self.first == other.first
            && self.end == other.end
            && Arc::ptr_eq(&self.chunks, &other.chunks)
            && Arc::ptr_eq(&self.tail, &other.tail)
    }

    /// Indices of the items in both lists that are not the same shared value, in order. Costs what
    /// changed, and one comparison per chunk if any chunk but the newest has changed.
    pub fn changed_since(&self, old: &Self) -> Vec<u64> {
        let (mut index, end) = (self.first.max(old.first), self.end.min(old.end));
        if Arc::ptr_eq(&self.chunks, &old.chunks) {
            index = index.max(self.end / GRID * GRID);
        }
        let mut changed = Vec::new();
        while index < end {
            let number = index / GRID;
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

    /// Appends the next item; an item with another index is ignored.
    pub fn push(&mut self, item: Arc<TimelineItem>) {
        if self.is_empty() {
            *self = Self {
                first: item.index,
                end: item.index,
                ..Self::default()
            };
        }
        if item.index != self.end {
            return;
        }
        self.bytes += item.text.len();
        Arc::make_mut(&mut self.tail).push_back(item);
        self.end += 1;
        if self.end.is_multiple_of(GRID) {
            let full = std::mem::take(&mut self.tail);
            Arc::make_mut(&mut self.chunks).push_back(full);
        }
    }

    /// Prepends the item just before the first; an item with another index is ignored.
    pub fn push_front(&mut self, item: Arc<TimelineItem>) {
        if self.is_empty() {
            return self.push(item);
        }
        let index = item.index;
        if index.checked_add(1) != Some(self.first) {
            return;
        }
        self.bytes += item.text.len();
        if self.first.is_multiple_of(GRID) {
            Arc::make_mut(&mut self.chunks).push_front(Arc::default());
        }
        self.first = index;
        if let Some(chunk) = self.chunk_mut(index / GRID) {
            chunk.push_front(item);
        }
    }

    /// Replaces the item with the same index; does nothing if there is none.
    pub fn set(&mut self, item: Arc<TimelineItem>) {
        let len = item.text.len();
        if let Some(place) = self.get_mut(item.index) {
            let before = std::mem::replace(place, item).text.len();
            self.bytes = (self.bytes + len).saturating_sub(before);
        }
    }

    /// Appends to the text of an item; does nothing if there is none. An item not shared with a
    /// reader grows in place.
    pub fn grow(&mut self, index: u64, text: &str) {
        if let Some(item) = self.get_mut(index) {
            Arc::make_mut(item).text.push_str(text);
            self.bytes += text.len();
        }
    }

    /// Drops the items before `index`.
    pub fn drop_before(&mut self, index: u64) {
        if index >= self.end {
            *self = Self {
                first: self.end,
                end: self.end,
                ..Self::default()
            };
        }
        let Some(place) = self.place(index) else {
            return;
        };
        let dropped = (self.first..index).filter_map(|index| self.get(index));
        let bytes: usize = dropped.map(|item| item.text.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        let passed = to_usize(index / GRID - self.first / GRID);
        if passed > 0 {
            Arc::make_mut(&mut self.chunks).drain(..passed);
        }
        self.first = index;
        if let Some(chunk) = self.chunk_mut(index / GRID) {
            chunk.drain(..place);
        }
    }

    /// Drops the items from `index` on.
    pub fn drop_from(&mut self, index: u64) {
        let index = index.max(self.first);
        let Some(place) = self.place(index) else {
            return;
        };
        let dropped: usize = self.iter_from(index).map(|item| item.text.len()).sum();
        self.bytes = self.bytes.saturating_sub(dropped);
        let number = index / GRID;
        if number < self.end / GRID {
            self.tail = self.chunk(number).map(Arc::clone).unwrap_or_default();
            let kept = to_usize(number - self.first / GRID);
            Arc::make_mut(&mut self.chunks).truncate(kept);
        }
        self.end = index;
        Arc::make_mut(&mut self.tail).truncate(place);
    }

    /// Position of an item in its chunk; `None` if the list does not have it.
    fn place(&self, index: u64) -> Option<usize> {
        let start = self.first.max(index / GRID * GRID);
        (index >= self.first && index < self.end).then(|| to_usize(index - start))
    }

    fn chunk(&self, number: u64) -> Option<&Arc<Chunk>> {
        if number == self.end / GRID {
            return Some(&self.tail);
        }
        let place = number.checked_sub(self.first / GRID)?;
        self.chunks.get(to_usize(place))
    }

    fn chunk_mut(&mut self, number: u64) -> Option<&mut Chunk> {
        if number == self.end / GRID {
            return Some(Arc::make_mut(&mut self.tail));
        }
        let place = number.checked_sub(self.first / GRID)?;
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(to_usize(place));
        chunk.map(Arc::make_mut)
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut Arc<TimelineItem>> {
        let place = self.place(index)?;
        self.chunk_mut(index / GRID)?.get_mut(place)
    }
}

/// A count of items, which are all in memory.
pub(super) fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
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

impl Eq for ItemList {}

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

    /// A reference implementation.
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
        // Walks over both ends, across the borders of chunks, from every position of the grid.
        for start in [0_u64, 1, 31, 32, 63, 64, 65, 1_000, 1_023, 1_024, 5_000] {
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
        let mut list = ItemList::default();
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
