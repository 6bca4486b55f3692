//! Rows sorted by their place as a persistent list: a copy is free, and a change costs what it
//! changes, whatever the number of rows (LD-4).
//!
//! Rows are in chunks of bounded size, and chunks in groups. A change copies one chunk, the chunks'
//! list of its group and the list of groups; everything else is shared with the previous list, and
//! comparing two lists skips what they share.

use std::{cmp::Ordering, fmt::Debug, slice, sync::Arc};

use super::{ListDiff, change::Splicer};

/// Most rows of a chunk. A change counts a reference to each row of its chunk and to each chunk of
/// its group; in a long list those are seldom in the processor's cache, so that few cost less.
const ROWS: usize = 16;
/// Most chunks of a group. A list of 100,000 rows has about 200 groups, which every change touches.
const CHUNKS: usize = 32;

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

#[derive(Debug, PartialEq, Eq)]
struct Group<R> {
    /// No chunk is empty.
    chunks: Vec<Arc<Chunk<R>>>,
    len: usize,
}

impl<R> Clone for Group<R> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
        }
    }
}

/// Rows in order of place; immutable for its readers.
#[derive(Debug)]
pub struct RowList<R> {
    /// No group is empty.
    groups: Arc<Vec<Arc<Group<R>>>>,
    len: usize,
}

/// Equal rows, however they are divided.
impl<R: PartialEq> PartialEq for RowList<R> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<R: Eq> Eq for RowList<R> {}

impl<R> Clone for RowList<R> {
    fn clone(&self) -> Self {
        Self {
            groups: Arc::clone(&self.groups),
            len: self.len,
        }
    }
}

impl<R> Default for RowList<R> {
    fn default() -> Self {
        Self {
            groups: Arc::default(),
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
        let chunks = self.groups.iter().flat_map(|group| group.chunks.iter());
        chunks.flat_map(|chunk| chunk.iter())
    }

    /// The first row.
    pub fn first(&self) -> Option<&Arc<R>> {
        self.groups.first()?.chunks.first()?.first()
    }

    /// The last row.
    pub fn last(&self) -> Option<&Arc<R>> {
        self.groups.last()?.last()
    }

    /// Whether both are the same shared value, at no cost; lists built separately are not, even if
    /// equal.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.groups, &other.groups)
    }
}

impl<R> Group<R> {
    fn last(&self) -> Option<&Arc<R>> {
        self.chunks.last()?.last()
    }

    /// The second part of a group that has become too large, because a chunk was added at `at`.
    fn split(&mut self, at: usize) -> Option<Self> {
        let at = split_at(self.chunks.len(), at, CHUNKS)?;
        let chunks = self.chunks.split_off(at);
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        self.len -= len;
        Some(Self { chunks, len })
    }
}

/// Where to split `len` entries of which the one at `added` is new; `None` if they are not more
/// than `most`. What arrives in order fills chunks and groups.
const fn split_at(len: usize, added: usize, most: usize) -> Option<usize> {
    match len > most {
        false => None,
        true if added + 1 == len => Some(most),
        true => Some(most / 2),
    }
}

impl<R: Placed> Group<R> {
    /// Inserts a row, or replaces the row at its place; returns whether it is new, and where a
    /// chunk was added, if one was.
    fn insert(&mut self, row: Arc<R>, place: &R::Place) -> (bool, Option<usize>) {
        // A row after all others belongs to the last chunk.
        let last = self.chunks.len().saturating_sub(1);
        let number = first_to(&self.chunks, |chunk| chunk.last(), place).min(last);
        let Some(chunk) = self.chunks.get_mut(number).map(Arc::make_mut) else {
            self.len = 1;
            self.chunks.push(Arc::new(vec![row]));
            return (true, None);
        };
        match chunk.binary_search_by(|row| row.compare(place)) {
            Ok(at) => {
                if let Some(old) = chunk.get_mut(at) {
                    *old = row;
                }
                (false, None)
            }
            Err(at) => {
                chunk.insert(at, row);
                self.len += 1;
                let rest = split_at(chunk.len(), at, ROWS).map(|at| chunk.split_off(at));
                let added = rest.map(|rest| self.chunks.insert(number + 1, Arc::new(rest)));
                (true, added.map(|()| number + 1))
            }
        }
    }

    fn get(&self, place: &R::Place) -> Option<&Arc<R>> {
        let number = first_to(&self.chunks, |chunk| chunk.last(), place);
        let chunk = self.chunks.get(number)?;
        let at = chunk.binary_search_by(|row| row.compare(place)).ok()?;
        chunk.get(at)
    }

    fn remove(&mut self, place: &R::Place) -> Option<Arc<R>> {
        let number = first_to(&self.chunks, |chunk| chunk.last(), place);
        let chunk = Arc::make_mut(self.chunks.get_mut(number)?);
        let at = chunk.binary_search_by(|row| row.compare(place)).ok()?;
        let row = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(number);
        }
        Some(row)
    }
}

/// Index of the first of these runs of rows that does not end before a place.
fn first_to<T, R: Placed>(
    runs: &[Arc<T>],
    last: impl Fn(&T) -> Option<&Arc<R>>,
    place: &R::Place,
) -> usize {
    let ends_before = |run: &Arc<T>| {
        let last = last(run);
        last.is_some_and(|last| last.compare(place) == Ordering::Less)
    };
    runs.partition_point(ends_before)
}

impl<R: Placed> RowList<R> {
    /// A list of rows that are in order of place, at the cost of moving them; `None` if they are
    /// not, or two have the same place.
    pub(in crate::data) fn of_sorted(rows: Vec<Arc<R>>) -> Option<Self> {
        if !rows.is_sorted_by(|one, next| one.compare_rows(next).is_lt()) {
            return None;
        }
        let len = rows.len();
        let mut rows = rows.into_iter();
        let mut chunks = std::iter::from_fn(|| {
            let chunk: Chunk<R> = rows.by_ref().take(ROWS).collect();
            (!chunk.is_empty()).then(|| Arc::new(chunk))
        });
        let groups = std::iter::from_fn(|| {
            let chunks: Vec<_> = chunks.by_ref().take(CHUNKS).collect();
            let len = chunks.iter().map(|chunk| chunk.len()).sum();
            (!chunks.is_empty()).then(|| Arc::new(Group { chunks, len }))
        });
        Some(Self {
            groups: Arc::new(groups.collect()),
            len,
        })
    }

    /// The row at a place.
    pub fn get(&self, place: &R::Place) -> Option<&Arc<R>> {
        let number = first_to(&self.groups, Group::last, place);
        self.groups.get(number)?.get(place)
    }

    /// Inserts a row, or replaces the row at its place.
    pub fn insert(&mut self, row: Arc<R>) {
        let place = row.place();
        let groups = Arc::make_mut(&mut self.groups);
        let last = groups.len().saturating_sub(1);
        let number = first_to(groups, Group::last, &place).min(last);
        if groups.is_empty() {
            let (chunks, len) = (Vec::new(), 0);
            groups.push(Arc::new(Group { chunks, len }));
        }
        let Some(group) = groups.get_mut(number).map(Arc::make_mut) else {
            return;
        };
        let (is_new, added) = group.insert(row, &place);
        self.len += usize::from(is_new);
        if let Some(rest) = added.and_then(|at| group.split(at)) {
            groups.insert(number + 1, Arc::new(rest));
        }
    }

    /// Removes and returns the row at a place.
    pub fn remove(&mut self, place: &R::Place) -> Option<Arc<R>> {
        self.get(place)?;
        let number = first_to(&self.groups, Group::last, place);
        let groups = Arc::make_mut(&mut self.groups);
        let group = Arc::make_mut(groups.get_mut(number)?);
        let row = group.remove(place)?;
        self.len -= 1;
        if group.chunks.is_empty() {
            groups.remove(number);
        }
        Some(row)
    }

    /// The changes from an earlier list with its revision to this one. Costs what changed, and one
    /// comparison per group and per chunk of a group that changed.
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
        let (mut olds, mut news) = (Chunks::of(old), Chunks::of(self));
        // The rows since the last shared chunk.
        let (mut before, mut after) = (Vec::new(), Vec::new());
        loop {
            if let Some(shared) = olds.skip_shared(&mut news) {
                splicer.merge(&before, &after, R::compare_rows, R::growth_since);
                splicer.skip(shared);
                before.clear();
                after.clear();
                continue;
            }
            // Rows before the end of both chunks are in one of the two runs.
            let next = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => match (old.last(), new.last()) {
                    (Some(old), Some(new)) => old.compare_rows(new),
                    (_, _) => Ordering::Equal,
                },
            };
            if next != Ordering::Greater {
                before.extend(
                    olds.next()
                        .into_iter()
                        .flat_map(|chunk| chunk.iter().cloned()),
                );
            }
            if next != Ordering::Less {
                after.extend(
                    news.next()
                        .into_iter()
                        .flat_map(|chunk| chunk.iter().cloned()),
                );
            }
        }
        splicer.merge(&before, &after, R::compare_rows, R::growth_since);
        splicer
    }
}

/// The chunks of a list that are not passed yet.
struct Chunks<'a, R> {
    /// Those of the group that was begun.
    chunks: slice::Iter<'a, Arc<Chunk<R>>>,
    groups: slice::Iter<'a, Arc<Group<R>>>,
}

impl<'a, R> Chunks<'a, R> {
    fn of(list: &'a RowList<R>) -> Self {
        Self {
            chunks: [].iter(),
            groups: list.groups.iter(),
        }
    }

    /// The next group, at its beginning only.
    fn group(&self) -> Option<&'a Arc<Group<R>>> {
        match self.chunks.as_slice() {
            [] => self.groups.as_slice().first(),
            [_, ..] => None,
        }
    }

    fn peek(&self) -> Option<&'a Arc<Chunk<R>>> {
        let begun = self.chunks.as_slice().first();
        begun.or_else(|| self.group()?.chunks.first())
    }

    fn next(&mut self) -> Option<&'a Arc<Chunk<R>>> {
        if self.chunks.as_slice().is_empty() {
            self.chunks = self.groups.next()?.chunks.iter();
        }
        self.chunks.next()
    }

    /// Passes the group or chunk that both have next; returns the number of its rows.
    fn skip_shared(&mut self, other: &mut Self) -> Option<usize> {
        if let (Some(ours), Some(theirs)) = (self.group(), other.group())
            && Arc::ptr_eq(ours, theirs)
        {
            self.groups.next();
            other.groups.next();
            return Some(ours.len);
        }
        let (ours, theirs) = (self.peek()?, other.peek()?);
        if !Arc::ptr_eq(ours, theirs) {
            return None;
        }
        self.next();
        other.next();
        Some(ours.len())
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
            start in prop::collection::btree_map(0_u32..20_000, 0_u32..3, 0..7_000),
            steps in prop::collection::vec((0_u32..20_000, prop::option::of(0_u32..3)), 0..200),
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
        let chunks = |list: &RowList<Row>| -> Vec<_> {
            let groups = list.groups.iter();
            groups.flat_map(|group| group.chunks.clone()).collect()
        };
        let (before, after) = (chunks(&old), chunks(&rows));
        let is_new = |chunk: &&Arc<Chunk<Row>>| !before.iter().any(|it| Arc::ptr_eq(it, chunk));
        let copied = after.iter().filter(is_new).count();
        assert!(copied <= 4, "{copied} chunks were copied");
        assert!(rows.groups.len() <= 200, "{} groups", rows.groups.len());
        let diff = rows.diff(Some((1, &old)), 2);
        assert_eq!((diff.base_rev, diff.changes.len()), (Some(1), 3));
        assert!(rows.diff(Some((2, &rows.clone())), 3).is_empty());
    }
}
