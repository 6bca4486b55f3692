//! Changes between two views of one timeline, computed on delivery (BX-6).

use std::sync::Arc;

use bowline_protocol::TimelineItem;

use super::{
    FailedMessage, ItemList, ListChange, ListDiff, PendingMessage, TimelineView, list::to_usize,
};

impl TimelineView {
    /// The changes that turn a subscriber's view `base` into this one; `None`: from an empty one.
    /// Costs only what changed (BX-6), so compute it on delivery, against the view delivered last.
    pub fn diff(&self, base: Option<&Self>) -> TimelineDiff {
        let same_kind = base.filter(|base| {
            base.replaced == self.replaced && base.items.first_index() <= self.items.end_index()
        });
        let Some(base) = same_kind.filter(|base| overlaps(&base.items, &self.items)) else {
            let (first, end) = (self.items.first_index(), self.items.end_index());
            return TimelineDiff {
                items: ListDiff {
                    base_rev: None,
                    rev: self.rev,
                    changes: insert(0, &self.items, first, end),
                },
                pending: Some(Arc::clone(&self.pending)),
                failed: Some(Arc::clone(&self.failed)),
            };
        };
        TimelineDiff {
            items: ListDiff {
                base_rev: Some(base.rev),
                rev: self.rev,
                changes: changes(&base.items, &self.items),
            },
            pending: other(&base.pending, &self.pending),
            failed: other(&base.failed, &self.failed),
        }
    }
}

/// Changes between two views of one timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineDiff {
    /// Changes of the list of items; its revisions are those of the views.
    pub items: ListDiff<TimelineItem>,
    /// The pending messages, if they changed.
    pub pending: Option<Arc<[Arc<PendingMessage>]>>,
    /// The failed messages, if they changed.
    pub failed: Option<Arc<[Arc<FailedMessage>]>>,
}

impl TimelineDiff {
    /// Whether nothing changed.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty() && self.pending.is_none() && self.failed.is_none()
    }
}

/// Whether a diff is smaller than the new list: the two lists overlap or are adjacent.
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

fn changes(old: &ItemList, new: &ItemList) -> Vec<ListChange<TimelineItem>> {
    if old.is_same(new) {
        return Vec::new();
    }
    if old.is_empty() {
        return insert(0, new, new.first_index(), new.end_index());
    }
    let mut changes = Vec::new();
    let place = |index: u64| to_usize(index - new.first_index());
    // The ends first, so that common items are at their position in the new list.
    if new.end_index() < old.end_index() {
        changes.push(ListChange::Remove {
            at: to_usize(new.end_index() - old.first_index()),
            count: to_usize(old.end_index() - new.end_index()),
        });
    }
    if new.first_index() > old.first_index() {
        changes.push(ListChange::Remove {
            at: 0,
            count: to_usize(new.first_index() - old.first_index()),
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

/// Inserts the items from `from` until before `to`, if there are any.
fn insert(at: usize, list: &ItemList, from: u64, to: u64) -> Vec<ListChange<TimelineItem>> {
    let count = to_usize(to.saturating_sub(from));
    let rows: Vec<_> = list.iter_from(from).take(count).cloned().collect();
    let change = (!rows.is_empty()).then_some(ListChange::Insert { at, rows });
    change.into_iter().collect()
}

fn change(
    at: usize,
    old: &TimelineItem,
    new: &Arc<TimelineItem>,
) -> Option<ListChange<TimelineItem>> {
    let rest_is_same = old.id == new.id
        && old.kind == new.kind
        && old.at == new.at
        && old.stream == new.stream
        && old.status == new.status
        && old.exit_code == new.exit_code
        && old.dropped_bytes == new.dropped_bytes
        && old.intent_id == new.intent_id;
    match new.text.strip_prefix(old.text.as_str()) {
        Some("") if rest_is_same => None,
        Some(text) if rest_is_same => Some(ListChange::Grow {
            at,
            text: text.to_owned(),
        }),
        Some(_) | None => Some(ListChange::Update {
            at,
            row: Arc::clone(new),
        }),
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

    fn view(rev: u64, items: &ItemList) -> TimelineView {
        TimelineView {
            rev,
            items: items.clone(),
            ..TimelineView::default()
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
        let mut shown: Vec<Arc<TimelineItem>> = Vec::new();
        let mut base: Option<TimelineView> = None;
        for rev in 0..2_000 {
            // Conflation: several changes between two deliveries.
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
            let fits = diff
                .items
                .apply(&mut shown, |item, text| item.text.push_str(text));
            assert!(fits, "{rev}");
            assert!(shown.iter().eq(items.iter()), "{rev}");
            assert_eq!(diff.items.is_reset(), base.is_none());
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
            let rows = vec![item(length, "new")];
            assert_eq!(diff.items.changes, [ListChange::Insert { at, rows }]);
        }
    }

    #[test]
    fn another_timeline_under_the_name_is_a_reset() {
        let old = view(1, &(0..10).map(|index| item(index, "old")).collect());
        let mut new = view(2, &(0..3).map(|index| item(index, "new")).collect());
        new.replaced = 1;
        assert!(new.diff(Some(&old)).items.is_reset());
        // A view that shares nothing with the subscriber's is a reset as well.
        let far = view(3, &(50..60).map(|index| item(index, "x")).collect());
        assert!(far.diff(Some(&old)).items.is_reset());
        assert!(old.diff(Some(&old)).is_empty());
    }
}
