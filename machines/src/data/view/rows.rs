//! Rows sorted by their place as a persistent list: a copy is free, and a change costs what it
//! changes, whatever the number of rows (LD-4).
//!
//! Rows are in chunks of bounded size. A change copies one chunk and the list of chunks; everything
//! else is shared with the previous list, and comparing two lists skips what they share.

use std::{cmp::Ordering, fmt::Debug, sync::Arc};

use super::{ListDiff, change::Splicer};

/// Most rows of a chunk. A list of 100,000 rows has about as many chunks as 20 chunks have rows.
const CHUNK: usize = 64;

/// A row of a list that is sorted by a place of its own.
pub trait Placed: PartialEq {
    /// Where a row belongs. No two rows of a list have the same.
    type Place: Ord + Clone + Debug;

    /// The place of this row.
    fn place(&self) -> Self::Place;

    /// Compares the place of this row with another place.
    fn compare(&self, place: &Self::Place) -> Ordering;

    /// Compares the places of two rows.
    fn compare_rows(&self, other: &Self) -> Ordering;

    /// The text that makes this row of an earlier value of it, if that is all: a receiver of
    /// changes gets no more than that.
    fn growth_since(&self, _old: &Self) -> Option<String> {
        None
    }
}

type Chunk<R> = Vec<Arc<R>>;

/// Rows in order of place; immutable for its readers.
#[derive(Debug, PartialEq, Eq)]
pub struct RowList<R> {
    /// No chunk is empty.
    chunks: Arc<Vec<Arc<Chunk<R>>>>,
    len: usize,
}

impl<R> Clone for RowList<R> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            len: self.len,
        }
    }
}

impl<R> Default for RowList<R> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

impl<R> RowList<R> {
    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<R>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The first row.
    pub fn first(&self) -> Option<&Arc<R>> {
        self.chunks.first()?.first()
    }

    /// The last row.
    pub fn last(&self) -> Option<&Arc<R>> {
        self.chunks.last()?.last()
    }

    /// Whether both are the same shared value, at no cost; lists built separately are not, even if
    /// equal.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }
}

impl<R: Placed> RowList<R> {
    /// The row at a place.
    pub fn get(&self, place: &R::Place) -> Option<&Arc<R>> {
        let chunk = self.chunks.get(self.chunk_of(place))?;
        let at = chunk.binary_search_by(|row| row.compare(place)).ok()?;
        chunk.get(at)
    }

    /// Inserts a row, or replaces the row at its place.
    pub fn insert(&mut self, row: Arc<R>) {
        let place = row.place();
        let number = self.chunk_of(&place);
        let chunks = Arc::make_mut(&mut self.chunks);
        // A row after all others belongs to the last chunk.
        let number = number.min(chunks.len().saturating_sub(1));
        let Some(chunk) = chunks.get_mut(number) else {
            self.len = 1;
            return chunks.push(Arc::new(vec![row]));
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|row| row.compare(&place)) {
            Ok(at) => {
                if let Some(old) = chunk.get_mut(at) {
                    *old = row;
                }
            }
            Err(at) => {
                chunk.insert(at, row);
                self.len += 1;
                if chunk.len() > CHUNK {
                    // Rows that arrive in order fill their chunks.
                    let at = if at + 1 == chunk.len() {
                        CHUNK
                    } else {
                        CHUNK / 2
                    };
                    let rest = chunk.split_off(at);
                    chunks.insert(number + 1, Arc::new(rest));
                }
            }
        }
    }

    /// Removes and returns the row at a place.
    pub fn remove(&mut self, place: &R::Place) -> Option<Arc<R>> {
        self.get(place)?;
        let number = self.chunk_of(place);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(number)?);
        let at = chunk.binary_search_by(|row| row.compare(place)).ok()?;
        let row = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(number);
        }
        Some(row)
    }

    /// Index of the first chunk that does not end before a place.
    fn chunk_of(&self, place: &R::Place) -> usize {
        let ends_before = |chunk: &Arc<Chunk<R>>| {
            let last = chunk.last();
            last.is_some_and(|last| last.compare(place) == Ordering::Less)
        };
        self.chunks.partition_point(ends_before)
    }

    /// The changes from an earlier list with its revision to this one. Costs what changed, and one
    /// comparison per chunk.
    pub fn diff(&self, base: Option<(u64, &Self)>, rev: u64) -> ListDiff<R> {
        let pieces = base.and_then(|(base_rev, old)| Some((base_rev, self.splices(old).finish()?)));
        match pieces {
            Some((base_rev, changes)) => ListDiff {
                base_rev: Some(base_rev),
                rev,
                changes,
            },
            None => ListDiff::whole(rev, self.iter()),
        }
    }

    fn splices(&self, old: &Self) -> Splicer<R> {
        let mut splicer = Splicer::default();
        if self.is_same(old) {
            return splicer;
        }
        let mut olds = old.chunks.iter().peekable();
        let mut news = self.chunks.iter().peekable();
        // The rows since the last shared chunk.
        let (mut before, mut after) = (Vec::new(), Vec::new());
        loop {
            // Rows before the end of both chunks are in one of the two runs.
            let next = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {
                    splicer.merge(&before, &after, R::compare_rows, R::growth_since);
                    splicer.skip(new.len());
                    before.clear();
                    after.clear();
                    olds.next();
                    news.next();
                    continue;
                }
                (Some(old), Some(new)) => match (old.last(), new.last()) {
                    (Some(old), Some(new)) => old.compare_rows(new),
                    (_, _) => Ordering::Equal,
                },
            };
            let old = olds.next_if(|_| next != Ordering::Greater);
            before.extend(old.into_iter().flat_map(|chunk| chunk.iter().cloned()));
            let new = news.next_if(|_| next != Ordering::Less);
            after.extend(new.into_iter().flat_map(|chunk| chunk.iter().cloned()));
        }
        splicer.merge(&before, &after, R::compare_rows, R::growth_since);
        splicer
    }
}

impl<R: Placed> FromIterator<Arc<R>> for RowList<R> {
    fn from_iter<I: IntoIterator<Item = Arc<R>>>(rows: I) -> Self {
        let mut list = Self::default();
        rows.into_iter().for_each(|row| list.insert(row));
        list
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Row(u32, u32);

    impl Placed for Row {
        type Place = u32;

        fn place(&self) -> u32 {
            self.0
        }

        fn compare(&self, place: &u32) -> Ordering {
            self.0.cmp(place)
        }

        fn compare_rows(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }

    fn list(rows: impl IntoIterator<Item = (u32, u32)>) -> RowList<Row> {
        let rows = rows.into_iter();
        rows.map(|(place, value)| Arc::new(Row(place, value)))
            .collect()
    }

    fn plain(list: &RowList<Row>) -> Vec<Arc<Row>> {
        list.iter().cloned().collect()
    }

    proptest! {
        #[test]
        fn ld_4_a_list_is_a_sorted_map_and_its_diff_makes_the_new_one(
            start in prop::collection::btree_map(0_u32..2_000, 0_u32..3, 0..700),
            steps in prop::collection::vec((0_u32..2_000, prop::option::of(0_u32..3)), 0..60),
        ) {
            let (mut map, mut rows): (BTreeMap<_, _>, _) = (start.clone(), list(start));
            let old = rows.clone();
            let held = plain(&old);
            for (place, value) in steps {
                match value {
                    Some(value) => {
                        map.insert(place, value);
                        rows.insert(Arc::new(Row(place, value)));
                    }
                    None => {
                        let removed = rows.remove(&place).map(|row| row.1);
                        prop_assert_eq!(removed, map.remove(&place));
                    }
                }
                prop_assert_eq!(rows.get(&place).map(|row| row.1), map.get(&place).copied());
            }
            let expected: Vec<_> = map.iter().map(|(place, value)| Arc::new(Row(*place, *value))).collect();
            prop_assert_eq!(plain(&rows), expected.clone());
            prop_assert_eq!(rows.len(), expected.len());
            prop_assert_eq!((rows.first(), rows.last()), (expected.first(), expected.last()));
            prop_assert_eq!(plain(&old), held.clone(), "who has the old list still has it");
            for base in [Some((1, &old)), None] {
                let diff = rows.diff(base, 2);
                let mut shown = held.clone();
                prop_assert!(diff.apply(&mut shown, |_, _| panic!("rows have no text")));
                prop_assert_eq!(shown, expected.clone());
            }
        }
    }

    #[test]
    fn ld_4_rows_that_did_not_change_are_shared_and_skipped() {
        let mut rows = list((0..100_000).map(|place| (place * 2, 0)));
        let old = rows.clone();
        rows.insert(Arc::new(Row(50_000, 1)));
        rows.insert(Arc::new(Row(150_001, 1)));
        rows.remove(&199_998);
        let shared = |chunk: &&Arc<Chunk<Row>>| old.chunks.iter().any(|it| Arc::ptr_eq(it, chunk));
        let copied = rows.chunks.len() - rows.chunks.iter().filter(shared).count();
        assert!(copied <= 4, "{copied} chunks were copied");
        let diff = rows.diff(Some((1, &old)), 2);
        assert_eq!((diff.base_rev, diff.changes.len()), (Some(1), 3));
        assert!(rows.diff(Some((2, &rows.clone())), 3).is_empty());
    }
}
