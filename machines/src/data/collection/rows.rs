//! The rows of a collection: ordered, each with the number of its latest event, in a shared list.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{
    CollectionConfig, Entry,
    incoming::{Change, End, Fetched},
};
use crate::data::view::RowList;

/// Where a row is, and the number of the event that it is as of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held<P> {
    place: P,
    seq: u64,
}

/// The rows.
#[derive(Clone, Debug)]
pub(super) struct Rows<R: Entry> {
    list: RowList<R>,
    held: BTreeMap<R::Key, Held<R::Place>>,
    bytes: usize,
    rev: u64,
    /// The end of a window; `None`: it has every row, or is none.
    end: Option<End<R::Place>>,
    /// Whether rows that were dropped may fit, because a row was removed since.
    has_room: bool,
    /// Rows of the daemon beyond these, as far as known: exact after a load.
    pub(super) left_out: u64,
}

impl<R: Entry> Default for Rows<R> {
    fn default() -> Self {
        Self {
            list: RowList::default(),
            held: BTreeMap::new(),
            bytes: 0,
            rev: 0,
            end: None,
            has_room: false,
            left_out: 0,
        }
    }
}

impl<R: Entry> Rows<R> {
    pub(super) const fn rev(&self) -> u64 {
        self.rev
    }

    pub(super) const fn list(&self) -> &RowList<R> {
        &self.list
    }

    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.list.get(&self.held.get(key)?.place)
    }

    /// Whether the window ends before the daemon's rows.
    pub(super) const fn has_more(&self) -> bool {
        self.end.is_some()
    }

    /// Start of the page after the window.
    pub(super) fn next(&self) -> Option<&String> {
        self.end.as_ref()?.next.as_ref()
    }

    /// Place of the last row of a window with rows after it.
    pub(super) fn end(&self) -> Option<&R::Place> {
        self.end.as_ref()?.place.as_ref()
    }

    /// Whether a place is after the end of the window.
    pub(super) fn is_beyond(&self, place: &R::Place) -> bool {
        let is_beyond = |end: &End<R::Place>| end.place.as_ref().is_none_or(|end| end < place);
        self.end.as_ref().is_some_and(is_beyond)
    }

    /// Whether rows were dropped at the end, because they did not fit.
    pub(super) fn is_cut(&self) -> bool {
        let is_cut = |end: &End<R::Place>| end.next.is_none();
        self.end.as_ref().is_some_and(is_cut) && !self.has_room
    }

    /// Notes that rows that were dropped may fit now.
    pub(super) const fn note_room(&mut self) {
        self.has_room = true;
    }

    /// Moves the end of a window, for rows to be put before it.
    pub(super) fn set_end(&mut self, end: Option<End<R::Place>>) {
        self.end = end.filter(|_| R::IS_WINDOW);
        self.has_room = false;
    }

    /// Whether a row is as of this event or a later one.
    pub(super) fn includes(&self, key: &R::Key, seq: u64) -> bool {
        self.held.get(key).is_some_and(|held| held.seq >= seq)
    }

    /// Applies one event, unless the row is as of this or a later one.
    pub(super) fn apply(&mut self, key: &R::Key, change: &Change<R>, config: &CollectionConfig) {
        if self.includes(key, change.seq) {
            return;
        }
        match &change.row {
            Some(row) => {
                self.put(change.seq, Arc::clone(row), config);
                self.trim(config);
            }
            None => self.remove(key),
        }
    }

    fn put(&mut self, seq: u64, row: Arc<R>, config: &CollectionConfig) {
        let (key, place) = (row.key(), row.place());
        // A row may be held although a load has moved the end of the window before it.
        let is_beyond = self.is_beyond(&place);
        if let Some(old) = self.list.get(&place)
            && *old == row
            && !is_beyond
            && let Some(held) = self.held.get_mut(&key)
        {
            // Equal content keeps the shared value, so that consumers can compare pointers.
            held.seq = seq;
            return;
        }
        // The row may have had another place.
        let was_held = self.take(&key);
        if is_beyond {
            if was_held {
                self.changed();
            }
            return;
        }
        if !R::IS_WINDOW && self.list.len() >= config.max_rows {
            self.make_room(&row);
        }
        self.bytes = self.bytes.saturating_add(row.bytes());
        self.held.insert(key, Held { place, seq });
        self.list.insert(row);
        self.changed();
    }

    /// Removes the last row to make room for one that changed, since recent activity matters to the
    /// user.
    fn make_room(&mut self, coming: &R) {
        let first = self.list.first();
        let is_new = first.is_none_or(|first| coming.compare_rows(first) == Ordering::Less);
        if let Some(last) = self.list.last() {
            let key = last.key();
            self.take(&key);
        }
        // A row after the first one was left out before, and now replaces another.
        if is_new || self.left_out == 0 {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Drops the rows at the end of a window that are over the bounds.
    pub(super) fn trim(&mut self, config: &CollectionConfig) {
        let mut is_over = false;
        // One row always fits, or nothing would be shown.
        while R::IS_WINDOW
            && self.list.len() > 1
            && (self.list.len() > config.max_rows || self.bytes > config.max_bytes)
            && let Some(last) = self.list.last()
        {
            let key = last.key();
            self.take(&key);
            is_over = true;
        }
        if is_over {
            let place = self.list.last().map(|row| row.place());
            self.set_end(Some(End { place, next: None }));
            self.changed();
        }
    }

    /// Lets a row grow, unless it is as of this event or a later one.
    pub(super) fn grow(
        &mut self,
        key: &R::Key,
        seq: u64,
        growth: &R::Growth,
        config: &CollectionConfig,
    ) {
        let held = self.held.get(key).filter(|held| held.seq < seq);
        let row = held.and_then(|held| self.list.get(&held.place));
        if let Some(row) = row.map(|row| Arc::new(row.grown(growth))) {
            self.put(seq, row, config);
            self.trim(config);
        }
    }

    /// Drops rows at the end that the daemon does not have any more, and so none after them;
    /// returns whether there were any.
    pub(super) fn drop_at_end(&mut self, mut is_gone: impl FnMut(&R) -> bool) -> bool {
        let mut is_dropped = false;
        while let Some(last) = self.list.last()
            && is_gone(last)
        {
            let key = last.key();
            self.take(&key);
            is_dropped = true;
        }
        if is_dropped {
            self.set_end(None);
            self.changed();
        }
        is_dropped
    }

    fn remove(&mut self, key: &R::Key) {
        if self.take(key) {
            self.has_room = true;
            self.changed();
        } else {
            self.left_out = self.left_out.saturating_sub(1);
        }
    }

    /// Takes a row out; false if there is none.
    fn take(&mut self, key: &R::Key) -> bool {
        let held = self.held.remove(key);
        let row = held.and_then(|held| self.list.remove(&held.place));
        let bytes = row.as_ref().map_or(0, |row| row.bytes());
        self.bytes = self.bytes.saturating_sub(bytes);
        row.is_some()
    }

    /// Starts another numbering: every event of it is newer than the rows.
    pub(super) fn renumber(&mut self) {
        for held in self.held.values_mut() {
            held.seq = 0;
        }
    }

    /// Replaces the rows by fetched ones, each as of its event, as far as they fit before the end.
    pub(super) fn replace(
        &mut self,
        mut rows: Fetched<R>,
        end: Option<End<R::Place>>,
        config: &CollectionConfig,
    ) {
        let over = rows.len().saturating_sub(config.max_rows);
        if over > 0 && !R::IS_WINDOW {
            let places = rows.iter();
            let mut places: Vec<_> = places
                .map(|(key, (_, row))| (row.place(), key.clone()))
                .collect();
            places.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
            for (_, key) in places.into_iter().take(over) {
                rows.remove(&key);
            }
        }
        let is_gone = |key: &&R::Key| !rows.contains_key(*key);
        let gone: Vec<R::Key> = self.held.keys().filter(is_gone).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
        self.set_end(end);
        self.append(rows, config);
    }

    /// Sets the rows of a collection that has none, all as of one event, as far as they fit; false
    /// if they are not in order of place. Costs less than adding one after the other.
    pub(super) fn begin(
        &mut self,
        seq: u64,
        rows: Vec<R>,
        end: Option<End<R::Place>>,
        config: &CollectionConfig,
    ) -> bool {
        let rows: Vec<Arc<R>> = rows.into_iter().map(Arc::new).collect();
        self.bytes = rows.iter().map(|row| row.bytes()).sum();
        let held = rows.iter().map(|row| {
            let place = row.place();
            (row.key(), Held { place, seq })
        });
        self.held = held.collect();
        let Some(list) = RowList::of_sorted(rows) else {
            *self = Self::default();
            return false;
        };
        self.list = list;
        self.set_end(end);
        self.changed();
        self.trim(config);
        true
    }

    /// Adds fetched rows, each as of its event, as far as they fit before the end.
    pub(super) fn append(&mut self, rows: Fetched<R>, config: &CollectionConfig) {
        for (seq, row) in rows.into_values() {
            self.put(seq, row, config);
        }
        self.trim(config);
    }

    const fn changed(&mut self) {
        self.rev = self.rev.saturating_add(1);
    }
}
