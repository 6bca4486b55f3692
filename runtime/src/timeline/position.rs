//! The delivered position of a timeline, and the undelivered part of a view.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_machines::data::view::ItemList;
use serde::{Deserialize, Serialize};

use super::TimelineUpdate;
use crate::settings::GROWING_ITEMS;

/// The delivered part of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelinePosition {
    /// Index of the next item; `None` until the first view sets the start.
    pub next: Option<u64>,
    /// Delivered bytes of each item that may still grow, by index.
    pub given: BTreeMap<u64, usize>,
}

impl TimelinePosition {
    pub(super) fn at(next: Option<u64>) -> Self {
        Self {
            next,
            given: BTreeMap::new(),
        }
    }

    /// Delivers the undelivered part of these items, which are contiguous and ordered by index.
    /// Items before `complete_to` no longer grow.
    pub(super) fn take(
        &mut self,
        items: &ItemList,
        complete_to: u64,
        ready: &mut VecDeque<TimelineUpdate>,
    ) {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return;
        };
        let (first, last) = (first.index, last.index);
        let next = *self.next.get_or_insert(first);
        // Nothing before the first growing item is new.
        let grown = self.given.range(first..).next().map(|(index, _)| *index);
        let from = grown.map_or(next, |grown| grown.min(next));
        for item in items.iter_from(from) {
            if Some(item.index) == self.next {
                ready.push_back(TimelineUpdate::Item(Arc::clone(item)));
                self.next = Some(item.index + 1);
                self.given.insert(item.index, item.text.len());
            } else if let Some(given) = self.given.get_mut(&item.index)
                && let Some(text) = item.text.get(*given..).filter(|text| !text.is_empty())
            {
                ready.push_back(TimelineUpdate::Delta {
                    item_id: item.id.clone(),
                    index: item.index,
                    text: text.to_owned(),
                });
                *given = item.text.len();
            }
        }
        // Complete items need no tracking. Others are loaded once they are complete.
        self.given
            .retain(|index, _| *index < first || *index > last || *index >= complete_to);
        while self.given.len() > GROWING_ITEMS {
            self.given.pop_first();
        }
    }

    /// Records a delivered update.
    pub(super) fn note(&mut self, update: &TimelineUpdate) {
        match update {
            TimelineUpdate::Item(item) => {
                self.next = Some(item.index + 1);
                self.given.insert(item.index, item.text.len());
            }
            TimelineUpdate::Delta { index, text, .. } => {
                *self.given.entry(*index).or_default() += text.len();
            }
            TimelineUpdate::Cleared => {}
        }
    }

    /// The first partially delivered item that has become complete.
    pub(super) fn first_growing_before(&self, complete_to: u64) -> Option<u64> {
        let first = self.given.keys().next().copied();
        first.filter(|index| *index < complete_to)
    }

    /// Whether an item has less text than was delivered, or different text.
    pub(super) fn contradicts(&self, items: &ItemList) -> bool {
        let shown = self.given.range(items.first_index()..);
        shown.into_iter().any(|(index, given)| {
            let item = items.get(*index);
            // A text that the daemon has dropped was another one.
            item.is_some_and(|item| item.dropped_bytes == 0 && !item.text.is_char_boundary(*given))
        })
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::{ItemId, ItemKind, TimelineItem};

    use super::*;

    fn item(index: u64, text: &str) -> Arc<TimelineItem> {
        let id = ItemId::from_uuid(uuid::Uuid::from_u64_pair(0, index));
        let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
        item.text = text.to_owned();
        Arc::new(item)
    }

    /// The final state of a follower after these views.
    fn follow(
        position: &mut TimelinePosition,
        views: &[&[Arc<TimelineItem>]],
        complete_to: u64,
    ) -> BTreeMap<u64, String> {
        let mut shown = BTreeMap::<u64, String>::new();
        let mut ready = VecDeque::new();
        for view in views {
            let view: ItemList = view.iter().cloned().collect();
            position.take(&view, complete_to, &mut ready);
            for update in ready.drain(..) {
                match update {
                    TimelineUpdate::Item(item) => {
                        assert!(shown.insert(item.index, item.text.clone()).is_none());
                    }
                    TimelineUpdate::Delta { index, text, .. } => {
                        shown.get_mut(&index).unwrap().push_str(&text);
                    }
                    TimelineUpdate::Cleared => panic!("never given by a view"),
                }
            }
        }
        shown
    }

    #[test]
    fn bx_2_a_follower_gets_each_byte_once_whichever_views_it_sees() {
        let views: [&[_]; 4] = [
            &[item(3, "a")],
            &[item(3, "abc"), item(4, "x")],
            &[item(3, "abcd"), item(4, "x"), item(5, "")],
            &[item(4, "xyz"), item(5, "!")],
        ];
        let all = follow(&mut TimelinePosition::default(), &views, 0);
        let last = follow(&mut TimelinePosition::default(), &[views[2], views[3]], 0);
        let expected: BTreeMap<_, _> = [(3, "abcd"), (4, "xyz"), (5, "!")]
            .map(|(n, text)| (n, text.to_owned()))
            .into();
        assert_eq!(all, expected);
        assert_eq!(last, expected);
    }

    #[test]
    fn a_follower_that_begins_later_is_given_nothing_earlier() {
        let mut position = TimelinePosition::at(Some(4));
        let shown = follow(
            &mut position,
            &[
                &[item(3, "a"), item(4, "x")],
                &[item(3, "ab"), item(4, "x")],
            ],
            0,
        );
        assert_eq!(shown, [(4, "x".to_owned())].into());
    }

    #[test]
    fn what_was_seen_complete_is_forgotten_and_what_was_not_is_wanted() {
        let mut position = TimelinePosition::default();
        follow(&mut position, &[&[item(3, "a"), item(4, "x")]], 0);
        assert_eq!(position.given.len(), 2);
        // The window has moved past item 3 when its turn ends.
        let shown = follow(&mut position, &[&[item(4, "x"), item(5, "")]], 5);
        assert_eq!(shown, [(5, String::new())].into());
        assert_eq!(position.first_growing_before(5), Some(3));
        assert!(!position.given.contains_key(&4), "complete");
        assert!(position.given.contains_key(&5), "of the next turn");
    }

    #[test]
    fn a_position_tells_a_timeline_that_is_not_the_one_it_is_of() {
        let mut position = TimelinePosition::default();
        follow(&mut position, &[&[item(3, "abc")]], 0);
        let contradicts = |items: &[Arc<TimelineItem>]| {
            let items: ItemList = items.iter().cloned().collect();
            position.contradicts(&items)
        };
        assert!(!contradicts(&[item(3, "abcd")]));
        assert!(contradicts(&[item(3, "ab")]));
        assert!(contradicts(&[item(2, ""), item(3, "ab")]));
        assert!(!contradicts(&[item(4, "")]));
    }

    #[test]
    fn tr_12_a_dropped_text_is_the_same_timeline_and_nothing_new() {
        let mut position = TimelinePosition::default();
        let dropped = Arc::new(TimelineItem {
            dropped_bytes: 3,
            ..(*item(3, "")).clone()
        });
        follow(&mut position, &[&[item(3, "abc")]], 0);
        let view: ItemList = [Arc::clone(&dropped)].into_iter().collect();
        assert!(!position.contradicts(&view));
        let shown = follow(&mut position, &[&[dropped, item(4, "x")]], 4);
        assert_eq!(shown, [(4, "x".to_owned())].into());
    }
}
