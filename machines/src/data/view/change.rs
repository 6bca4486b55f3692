//! Changes of a list that an app shows. Timelines and directories share one type, so that each
//! language applies them with one function.

use std::{cmp::Ordering, sync::Arc};

/// Most insertions and removals in one diff. Each may cost the receiver time proportional to the
/// length of its list, so a diff with more of them is replaced by the whole list.
const MAX_SPLICES: usize = 64;

/// The changes from one list to a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListDiff<R> {
    /// Revision of the list that the changes apply to; `None`: the receiver starts from an empty
    /// list.
    pub base_rev: Option<u64>,
    /// Revision of the resulting list.
    pub rev: u64,
    /// The changes, in the order in which they apply.
    pub changes: Vec<ListChange<R>>,
}

/// One change of a list. Positions count from 0, in the list that the preceding changes produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListChange<R> {
    /// Removes consecutive rows.
    Remove {
        /// Position of the first row.
        at: usize,
        /// Number of rows.
        count: usize,
    },
    /// Inserts rows.
    Insert {
        /// Position of the first row afterwards.
        at: usize,
        /// The rows, in order.
        rows: Vec<Arc<R>>,
    },
    /// Replaces the value of a row.
    Update {
        /// Position of the row.
        at: usize,
        /// The new value.
        row: Arc<R>,
    },
    /// Appends to the text of a row whose other fields are unchanged.
    Grow {
        /// Position of the row.
        at: usize,
        /// The text to append.
        text: String,
    },
}

impl<R> ListDiff<R> {
    /// Whether the receiver discards its list first.
    pub const fn is_reset(&self) -> bool {
        self.base_rev.is_none()
    }

    /// Whether the list is unchanged.
    pub const fn is_empty(&self) -> bool {
        self.base_rev.is_some() && self.changes.is_empty()
    }
}

impl<R> ListDiff<R> {
    /// The changes of the same lists with their rows in the opposite order. `len`: the number of
    /// rows of the list that the changes apply to.
    #[must_use]
    pub fn reversed(mut self, len: usize) -> Self {
        let mut len = if self.is_reset() { 0 } else { len };
        for change in &mut self.changes {
            match change {
                ListChange::Remove { at, count } => {
                    *at = len.saturating_sub(at.saturating_add(*count));
                    len = len.saturating_sub(*count);
                }
                ListChange::Insert { at, rows } => {
                    *at = len.saturating_sub(*at);
                    rows.reverse();
                    len = len.saturating_add(rows.len());
                }
                ListChange::Update { at, .. } | ListChange::Grow { at, .. } => {
                    *at = len.saturating_sub(at.saturating_add(1));
                }
            }
        }
        self
    }
}

impl<R: PartialEq> ListDiff<R> {
    /// The changes between two lists, each given with its revision and sorted by `compare`. Rows
    /// that compare as equal are the same row, which is updated if its value differs. Takes time
    /// proportional to the length of both lists, and no more than a pointer comparison for a row
    /// that they share.
    pub fn of_sorted(
        base: Option<(u64, &[Arc<R>])>,
        (rev, list): (u64, &[Arc<R>]),
        compare: impl Fn(&R, &R) -> Ordering,
    ) -> Self {
        let pieces = base.and_then(|(base_rev, old)| {
            let mut splicer = Splicer::default();
            splicer.merge(old, list, compare, |_, _| None);
            Some((base_rev, splicer.finish()?))
        });
        match pieces {
            Some((base_rev, changes)) => Self {
                base_rev: Some(base_rev),
                rev,
                changes,
            },
            None => Self::whole(rev, list.iter()),
        }
    }
}

impl<R> ListDiff<R> {
    /// A whole list, for a receiver that discards its own.
    pub(super) fn whole<'a>(rev: u64, list: impl Iterator<Item = &'a Arc<R>>) -> Self
    where
        R: 'a,
    {
        let rows: Vec<_> = list.cloned().collect();
        let change = (!rows.is_empty()).then_some(ListChange::Insert { at: 0, rows });
        Self {
            base_rev: None,
            rev,
            changes: change.into_iter().collect(),
        }
    }
}

/// Collects the changes between two lists, run by run.
#[derive(Debug)]
pub(super) struct Splicer<R> {
    changes: Vec<ListChange<R>>,
    /// Position in the new list.
    at: usize,
}

impl<R> Default for Splicer<R> {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
            at: 0,
        }
    }
}

impl<R> Splicer<R> {
    /// Passes over rows that both lists share.
    pub(super) const fn skip(&mut self, rows: usize) {
        self.at += rows;
    }

    /// The changes; `None` if they are so many insertions and removals that a whole list costs the
    /// receiver less.
    pub(super) fn finish(self) -> Option<Vec<ListChange<R>>> {
        let is_splice = |change: &&ListChange<R>| {
            matches!(
                change,
                ListChange::Remove { .. } | ListChange::Insert { .. }
            )
        };
        let splices = self.changes.iter().filter(is_splice).count();
        (splices <= MAX_SPLICES).then_some(self.changes)
    }
}

impl<R: PartialEq> Splicer<R> {
    /// Merges the next run of both lists. The result is correct for rows in any order, and short
    /// for rows sorted by `compare`. `growth` is [`Placed::growth_since`](super::Placed).
    pub(super) fn merge(
        &mut self,
        old: &[Arc<R>],
        new: &[Arc<R>],
        compare: impl Fn(&R, &R) -> Ordering,
        growth: impl Fn(&R, &R) -> Option<String>,
    ) {
        let Self { changes, at } = self;
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let next = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(row)) if Arc::ptr_eq(before, row) => Ordering::Equal,
                (Some(before), Some(row)) => compare(before, row),
            };
            let before = old.next_if(|_| next != Ordering::Greater);
            let row = new.next_if(|_| next != Ordering::Less);
            match (before, row, changes.last_mut()) {
                (Some(before), Some(row), _) if Arc::ptr_eq(before, row) || before == row => {}
                (Some(before), Some(row), _) => changes.push(match growth(row, before) {
                    Some(text) => ListChange::Grow { at: *at, text },
                    None => ListChange::Update {
                        at: *at,
                        row: Arc::clone(row),
                    },
                }),
                (Some(_), None, Some(ListChange::Remove { at: place, count })) if place == at => {
                    *count += 1;
                }
                (Some(_), None, _) => changes.push(ListChange::Remove { at: *at, count: 1 }),
                (None, Some(row), Some(ListChange::Insert { at: place, rows }))
                    if *place + rows.len() == *at =>
                {
                    rows.push(Arc::clone(row));
                }
                (None, Some(row), _) => changes.push(ListChange::Insert {
                    at: *at,
                    rows: vec![Arc::clone(row)],
                }),
                (None, None, _) => {}
            }
            *at += usize::from(row.is_some());
        }
    }
}

impl<R: Clone> ListDiff<R> {
    /// Applies the changes to a list; `grow` appends to the text of a row. Returns false when a
    /// position is outside of the list, which means that the diff belongs to another list; the
    /// changes before that one remain applied.
    pub fn apply(&self, list: &mut Vec<Arc<R>>, grow: impl Fn(&mut R, &str)) -> bool {
        if self.is_reset() {
            list.clear();
        }
        self.changes.iter().all(|change| change.apply(list, &grow))
    }
}

impl<R: Clone> ListChange<R> {
    fn apply(&self, list: &mut Vec<Arc<R>>, grow: impl Fn(&mut R, &str)) -> bool {
        match self {
            Self::Remove { at, count } => {
                let end = at.saturating_add(*count);
                let fits = end <= list.len();
                if fits {
                    list.drain(*at..end);
                }
                fits
            }
            Self::Insert { at, rows } => {
                let fits = *at <= list.len();
                if fits {
                    list.splice(at..at, rows.iter().cloned());
                }
                fits
            }
            Self::Update { at, row } => {
                let place = list.get_mut(*at);
                place.map(|place| *place = Arc::clone(row)).is_some()
            }
            Self::Grow { at, text } => {
                let place = list.get_mut(*at);
                place.map(|row| grow(Arc::make_mut(row), text)).is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    type Row = (u32, u8);

    fn list(rows: impl IntoIterator<Item = Row>) -> Vec<Arc<Row>> {
        rows.into_iter().map(Arc::new).collect()
    }

    fn diff(old: &[Arc<Row>], new: &[Arc<Row>]) -> ListDiff<Row> {
        ListDiff::of_sorted(Some((1, old)), (2, new), |one, other| one.0.cmp(&other.0))
    }

    fn apply(diff: &ListDiff<Row>, list: &mut Vec<Arc<Row>>) -> bool {
        diff.apply(list, |_, _| panic!("rows have no text"))
    }

    proptest! {
        #[test]
        fn bx_6_a_diff_makes_the_new_list_of_the_old_one(
            old in btree_map(0_u32..400, 0_u8..3, 0..200),
            new in btree_map(0_u32..400, 0_u8..3, 0..200),
        ) {
            let (old, new) = (list(old), list(new));
            let diff = diff(&old, &new);
            let splices = diff.changes.iter().filter(|change| !matches!(change, ListChange::Update { .. }));
            prop_assert!(splices.count() <= MAX_SPLICES);
            let mut shown = old;
            prop_assert!(apply(&diff, &mut shown));
            prop_assert_eq!(shown, new);
        }

        #[test]
        fn bx_6_a_diff_of_few_changes_is_short(changed in 0_u32..1_000) {
            let old = list((0..1_000).map(|key| (key, 0)));
            let mut new = old.clone();
            let place = usize::try_from(changed).unwrap();
            new[place] = Arc::new((changed, 1));
            new.push(Arc::new((1_000, 0)));
            let diff = diff(&old, &new);
            prop_assert_eq!(diff.base_rev, Some(1));
            prop_assert_eq!(diff.changes, [
                ListChange::Update { at: place, row: Arc::new((changed, 1)) },
                ListChange::Insert { at: 1_000, rows: vec![Arc::new((1_000, 0))] },
            ]);
        }
    }

    #[test]
    fn bx_6_rows_scattered_over_a_list_cross_as_a_whole_list() {
        let old = list((0..1_000).map(|key| (key * 2, 0)));
        for (scattered, whole) in [(MAX_SPLICES, false), (MAX_SPLICES + 1, true)] {
            let more = (0..u32::try_from(scattered).unwrap()).map(|key| (key * 10 + 1, 0));
            let mut new = old.clone();
            new.extend(list(more));
            new.sort();
            let diff = diff(&old, &new);
            assert_eq!(diff.is_reset(), whole);
            let mut shown = old.clone();
            assert!(apply(&diff, &mut shown));
            assert_eq!(shown, new);
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused() {
        let one = list([(1, 0)]);
        for change in [
            ListChange::Remove { at: 0, count: 2 },
            ListChange::Remove {
                at: 2,
                count: usize::MAX,
            },
            ListChange::Insert {
                at: 2,
                rows: one.clone(),
            },
            ListChange::Update {
                at: 1,
                row: Arc::new((1, 1)),
            },
            ListChange::Grow {
                at: 1,
                text: String::new(),
            },
        ] {
            let mut held = one.clone();
            assert!(!change.apply(&mut held, |_, _| ()), "{change:?}");
            assert_eq!(held, one);
        }
    }
}
