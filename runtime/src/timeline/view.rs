//! A timeline as a screen shows it: one immutable value, and what changed between two of them.

use std::sync::Arc;

use bowline_machines::{
    load::LoadError,
    optimistic::{FailedMessage, PendingMessage},
};
use bowline_protocol::{ItemId, TimelineItem};

use super::ItemList;

/// What is known of a timeline, as of one moment. The newest one replaces all before it. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimelineView {
    /// Grows with every change; a smaller one is older.
    pub rev: u64,
    /// A run of the items, in order of index, without gaps; bounded. It begins as the newest ones and moves with
    /// [`crate::Runtime::load_older`] and [`crate::Runtime::load_newer`]: rows that are too many leave at the other end. While
    /// the timeline is brought up to date this is what it was before, until the new one is consistent.
    pub items: ItemList,
    /// Messages sent from here that are not in the timeline yet, in the order they were sent: shown after its newest item,
    /// with a mark (UX-3). Each leaves in the same value in which its item appears, or would if `newer` were `None`.
    pub pending: Arc<[Arc<PendingMessage>]>,
    /// Messages sent from here that were not taken, with the error; the newest few, until dismissed.
    pub failed: Arc<[Arc<FailedMessage>]>,
    /// Whether a load ever succeeded (UX-1).
    pub loaded: bool,
    /// Whether `items` is what was loaded. Not so where that was let go to save memory, until it is loaded again.
    pub known: bool,
    /// Whether it is being brought up to date (UX-2).
    pub catching_up: bool,
    /// What is before `items`.
    pub older: Older,
    /// What is after `items`.
    pub newer: Newer,
    /// Index that the next item will have.
    pub end: u64,
    /// Items before this index are complete: no text of theirs grows any more.
    pub complete_to: u64,
    /// How often the daemon turned out to have another timeline under this name than the one shown: its store was
    /// replaced.
    pub replaced: u64,
    /// Why it is not up to date (UX-4).
    pub error: Option<LoadError>,
}

/// What is before the first item of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Older {
    /// Nothing: the timeline begins here.
    #[default]
    None,
    /// More, to be had with [`crate::Runtime::load_older`].
    More,
    /// More, which is being fetched.
    Loading,
    /// More, which could not be fetched; asking again tries again.
    Failed(LoadError),
}

/// What is after the last item of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Newer {
    /// Nothing: it is the newest, and what comes is appended.
    #[default]
    None,
    /// More, to be had with [`crate::Runtime::load_newer`] and, all at once, [`crate::Runtime::jump_to_newest`].
    More,
    /// More, which is being fetched.
    Loading,
    /// More, which could not be fetched; asking again tries again.
    Failed(LoadError),
}

impl TimelineView {
    /// Whether the daemon has items before these.
    pub fn has_older(&self) -> bool {
        self.older != Older::None
    }

    /// Whether there is anything to show, messages on their way included.
    pub fn has_rows(&self) -> bool {
        !self.items.is_empty() || !self.pending.is_empty()
    }

    /// What makes this view of one that a subscriber has; `None`: of nothing. Costs what changed and not what there is
    /// (BX-6), so it is meant to be computed when it is delivered, against what was delivered last.
    pub fn diff(&self, base: Option<&Self>) -> TimelineDiff {
        let same_kind = base.filter(|base| {
            base.replaced == self.replaced && base.items.first_index() <= self.items.end_index()
        });
        let Some(base) = same_kind.filter(|base| overlaps(&base.items, &self.items)) else {
            return TimelineDiff {
                base_rev: None,
                rev: self.rev,
                changes: insert(
                    0,
                    &self.items,
                    self.items.first_index(),
                    self.items.end_index(),
                ),
                pending: Some(Arc::clone(&self.pending)),
                failed: Some(Arc::clone(&self.failed)),
            };
        };
        TimelineDiff {
            base_rev: Some(base.rev),
            rev: self.rev,
            changes: changes(&base.items, &self.items),
            pending: other(&base.pending, &self.pending),
            failed: other(&base.failed, &self.failed),
        }
    }
}

/// What changed between two views of one timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineDiff {
    /// The view that the changes apply to; `None`: to an empty list, whatever was there before.
    pub base_rev: Option<u64>,
    /// The view that comes of it.
    pub rev: u64,
    /// To be applied to the list of items in this order.
    pub changes: Vec<ListChange>,
    /// The messages on their way, if they are others.
    pub pending: Option<Arc<[Arc<PendingMessage>]>>,
    /// The messages not taken, if they are others.
    pub failed: Option<Arc<[Arc<FailedMessage>]>>,
}

/// One change of a list. Places count from 0 in the list as the changes before this one left it.
#[derive(Clone, Debug, PartialEq)]
pub enum ListChange {
    /// Take so many rows out.
    Remove {
        /// The first of them.
        at: usize,
        /// How many.
        count: usize,
    },
    /// Put these rows in.
    Insert {
        /// The place of the first of them.
        at: usize,
        /// The rows.
        items: Vec<Arc<TimelineItem>>,
    },
    /// Put another value in the place of a row. Its id is the same unless the daemon's store was replaced.
    Update {
        /// Which row.
        at: usize,
        /// The row as it is now.
        item: Arc<TimelineItem>,
    },
    /// The text of a row grew, and nothing else of it changed.
    Grow {
        /// Which row.
        at: usize,
        /// Its id.
        item_id: ItemId,
        /// What to append to its text.
        text: String,
    },
}

impl TimelineDiff {
    /// Whether the list is to be thrown away first.
    pub const fn is_reset(&self) -> bool {
        self.base_rev.is_none()
    }

    /// Whether nothing of the lists changed.
    pub const fn is_empty(&self) -> bool {
        self.base_rev.is_some()
            && self.changes.is_empty()
            && self.pending.is_none()
            && self.failed.is_none()
    }
}

/// Whether the diff between the lists is smaller than the new list: nothing between them is missing.
fn overlaps(old: &ItemList, new: &ItemList) -> bool {
    old.is_empty() || (new.first_index() < old.end_index() && old.first_index() < new.end_index())
}

fn other<T>(old: &Arc<[Arc<T>]>, new: &Arc<[Arc<T>]>) -> Option<Arc<[Arc<T>]>> {
    let same = old.len() == new.len()
        && old
            .iter()
            .zip(new.iter())
            .all(|(old, new)| Arc::ptr_eq(old, new));
    (!same).then(|| Arc::clone(new))
}

fn changes(old: &ItemList, new: &ItemList) -> Vec<ListChange> {
    if old.is_same(new) {
        return Vec::new();
    }
    if old.is_empty() {
        return insert(0, new, new.first_index(), new.end_index());
    }
    let mut changes = Vec::new();
    let place = |index: u64| usize::try_from(index - new.first_index()).unwrap_or(usize::MAX);
    // The ends first, so that what both have stands where the new list has it.
    if new.end_index() < old.end_index() {
        let kept = new.end_index() - old.first_index();
        changes.push(ListChange::Remove {
            at: usize::try_from(kept).unwrap_or(usize::MAX),
            count: usize::try_from(old.end_index() - new.end_index()).unwrap_or(usize::MAX),
        });
    }
    if new.first_index() > old.first_index() {
        changes.push(ListChange::Remove {
            at: 0,
            count: usize::try_from(new.first_index() - old.first_index()).unwrap_or(usize::MAX),
        });
    }
    changes.extend(insert(0, new, new.first_index(), old.first_index()));
    for index in new.changed_since(old) {
        if let (Some(before), Some(item)) = (old.get(index), new.get(index)) {
            changes.extend(change(place(index), before, item));
        }
    }
    let end = old.end_index();
    if end < new.end_index() {
        changes.extend(insert(place(end), new, end, new.end_index()));
    }
    changes
}

/// The items from one index to before another, if that is any.
fn insert(at: usize, list: &ItemList, from: u64, to: u64) -> Vec<ListChange> {
    let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let items: Vec<_> = list.iter_from(from).take(count).cloned().collect();
    let change = (!items.is_empty()).then_some(ListChange::Insert { at, items });
    change.into_iter().collect()
}

fn change(at: usize, old: &TimelineItem, new: &Arc<TimelineItem>) -> Option<ListChange> {
    let rest_is_same = old.id == new.id
        && old.kind == new.kind
        && old.at == new.at
        && old.stream == new.stream
        && old.status == new.status
        && old.exit_code == new.exit_code
        && old.intent_id == new.intent_id;
    match new.text.strip_prefix(old.text.as_str()) {
        Some("") if rest_is_same => None,
        Some(text) if rest_is_same => Some(ListChange::Grow {
            at,
            item_id: new.id.clone(),
            text: text.to_owned(),
        }),
        Some(_) | None => Some(ListChange::Update {
            at,
            item: Arc::clone(new),
        }),
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::ItemKind;

    use super::*;

    fn item(index: u64, text: &str) -> Arc<TimelineItem> {
        let id = ItemId::from_uuid(uuid::Uuid::from_u64_pair(0, index));
        let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
        item.text = text.to_owned();
        Arc::new(item)
    }

    fn view(rev: u64, items: &ItemList) -> TimelineView {
        TimelineView {
            rev,
            items: items.clone(),
            ..TimelineView::default()
        }
    }

    /// What a subscriber does with a diff.
    fn apply(list: &mut Vec<TimelineItem>, diff: &TimelineDiff) {
        if diff.is_reset() {
            list.clear();
        }
        for change in &diff.changes {
            match change {
                ListChange::Remove { at, count } => drop(list.drain(*at..at + count)),
                ListChange::Insert { at, items } => {
                    let items = items.iter().map(|item| (**item).clone());
                    list.splice(at..at, items);
                }
                ListChange::Update { at, item } => list[*at] = (**item).clone(),
                ListChange::Grow { at, item_id, text } => {
                    assert_eq!(list[*at].id, *item_id);
                    list[*at].text.push_str(text);
                }
            }
        }
    }

    #[test]
    fn bx_6_diffs_make_every_view_of_any_view_before_it() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        let mut items: ItemList = (100..140).map(|index| item(index, "x")).collect();
        let mut shown: Vec<TimelineItem> = Vec::new();
        let mut base: Option<TimelineView> = None;
        for rev in 0..2_000 {
            // Conflation: several things happen between two deliveries.
            for _ in 0..next(5) {
                match next(10) {
                    0..=4 => items.push(item(items.end_index(), "new")),
                    5 | 6 => {
                        let index = items.first_index() + next(items.len() as u64);
                        let grown = format!("{}+", items.get(index).unwrap().text);
                        items.set(item(index, &grown));
                    }
                    7 if items.first_index() > 0 => {
                        let index = items.first_index() - 1;
                        items.push_front(item(index, "old"));
                    }
                    8 => {
                        let index = items.first_index() + next(items.len() as u64);
                        let mut other = (**items.get(index).unwrap()).clone();
                        other.exit_code = Some(rev as i32);
                        items.set(Arc::new(other));
                    }
                    _ if items.len() > 100 => items.drop_before(items.end_index() - 50),
                    _ => {}
                }
            }
            let new = view(rev, &items);
            let diff = new.diff(base.as_ref());
            apply(&mut shown, &diff);
            assert!(shown.iter().eq(items.iter().map(|item| &**item)), "{rev}");
            assert_eq!(diff.is_reset(), base.is_none());
            base = Some(new);
        }
    }

    #[test]
    fn bx_6_an_append_is_one_insert_however_long_the_history_is() {
        for length in [100, 10_000] {
            let mut items: ItemList = (0..length).map(|index| item(index, "x")).collect();
            let base = view(1, &items);
            items.push(item(length, "new"));
            let diff = view(2, &items).diff(Some(&base));
            let at = usize::try_from(length).unwrap();
            let items = vec![item(length, "new")];
            assert_eq!(diff.changes, [ListChange::Insert { at, items }]);
        }
    }

    #[test]
    fn another_timeline_under_the_name_is_a_reset() {
        let old = view(1, &(0..10).map(|index| item(index, "old")).collect());
        let mut new = view(2, &(0..3).map(|index| item(index, "new")).collect());
        new.replaced = 1;
        assert!(new.diff(Some(&old)).is_reset());
        // So is one that shares nothing with what the subscriber has.
        let far = view(3, &(50..60).map(|index| item(index, "x")).collect());
        assert!(far.diff(Some(&old)).is_reset());
        assert!(old.diff(Some(&old)).is_empty());
    }
}
