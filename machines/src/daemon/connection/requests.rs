//! The pending requests of a connection: a slab whose entries are linked in order of age.
//!
//! Start, finish and the oldest request are constant time, and a finished request uses no memory,
//! however long an older one runs. Nothing is allocated before the first request.

use crate::MonotonicTime;

/// No entry.
const NONE: u32 = u32::MAX;
/// Entries that stay allocated when no request is pending; more are freed.
const KEPT: usize = 32;

/// Id of one pending request of one connection. The slot of a finished request never refers to a
/// later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestSlot {
    index: u32,
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    /// `None`: the entry is free and `newer` is the next free one.
    deadline: Option<MonotonicTime>,
    number: u32,
    older: u32,
    newer: u32,
}

/// The slab.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    entries: Vec<Entry>,
    total: u64,
    pending: u32,
    oldest: u32,
    newest: u32,
    free: u32,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            total: 0,
            pending: 0,
            oldest: NONE,
            newest: NONE,
            free: NONE,
        }
    }
}

/// No deadline; [`Requests::oldest_deadline`] returns `None` for it.
const NEVER: MonotonicTime = MonotonicTime::from_millis(u64::MAX);

impl Requests {
    pub(super) const fn pending(&self) -> u32 {
        self.pending
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Deadline of the oldest pending request, if it has one.
    pub(super) fn oldest_deadline(&self) -> Option<MonotonicTime> {
        self.entry(self.oldest)?
            .deadline
            .filter(|deadline| *deadline != NEVER)
    }

    /// Adds the newest request. `deadline` must not be earlier than that of any pending one.
    pub(super) fn start(&mut self, deadline: Option<MonotonicTime>) -> RequestSlot {
        self.total = self.total.wrapping_add(1);
        // The low half of the count: it repeats after 4 billion requests, long after every slot is
        // gone.
        let number = (self.total & u64::from(u32::MAX)) as u32;
        let entry = Entry {
            deadline: Some(deadline.unwrap_or(NEVER)),
            number,
            older: self.newest,
            newer: NONE,
        };
        let index = match self.entry(self.free).copied() {
            Some(vacant) => {
                let index = self.free;
                self.free = vacant.newer;
                if let Some(place) = self.entry_mut(index) {
                    *place = entry;
                }
                index
            }
            None => {
                let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
                self.entries.push(entry);
                index
            }
        };
        match self.entry_mut(self.newest) {
            Some(newest) => newest.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        self.pending = self.pending.saturating_add(1);
        RequestSlot { index, number }
    }

    /// Removes a request; `false` if it is not pending.
    pub(super) fn finish(&mut self, slot: RequestSlot) -> bool {
        let Some(entry) = self.entry(slot.index).copied() else {
            return false;
        };
        if entry.deadline.is_none() || entry.number != slot.number {
            return false;
        }
        match self.entry_mut(entry.older) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entry_mut(entry.newer) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        self.pending = self.pending.saturating_sub(1);
        if self.pending == 0 && self.entries.len() > KEPT {
            self.clear();
            return true;
        }
        let free = self.free;
        if let Some(place) = self.entry_mut(slot.index) {
            place.deadline = None;
            place.newer = free;
        }
        self.free = slot.index;
        true
    }

    /// Removes and returns the oldest request if its deadline has passed.
    pub(super) fn pop_due(&mut self, now: MonotonicTime) -> Option<RequestSlot> {
        let entry = self.entry(self.oldest)?;
        let slot = RequestSlot {
            index: self.oldest,
            number: entry.number,
        };
        let due = entry.deadline.is_some_and(|deadline| deadline <= now);
        (due && self.finish(slot)).then_some(slot)
    }

    /// Extends every pending request to at least `deadline`.
    pub(super) fn extend(&mut self, deadline: MonotonicTime) {
        for entry in &mut self.entries {
            if let Some(current) = &mut entry.deadline {
                *current = deadline.max(*current);
            }
        }
    }

    /// Removes all requests and frees the memory.
    pub(super) fn clear(&mut self) {
        *self = Self {
            total: self.total,
            ..Self::default()
        };
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compares with a plain list: order of age, removal, and slots that stay distinct.
        #[test]
        fn behaves_like_a_list_in_order_of_age(steps in prop::collection::vec((0_u8..4, 0_usize..40), 1..200)) {
            let mut slab = Requests::default();
            let mut model: VecDeque<(RequestSlot, u64)> = VecDeque::new();
            let mut gone: Vec<RequestSlot> = Vec::new();
            for (time, (what, pick)) in (0_u64..).zip(steps) {
                match what {
                    0 | 1 if model.len() < 40 => {
                        let slot = slab.start(Some(MonotonicTime::from_millis(time + 10)));
                        model.push_back((slot, time + 10));
                    }
                    0..=2 => if !model.is_empty() {
                        let (slot, _) = model.remove(pick % model.len()).unwrap();
                        prop_assert!(slab.finish(slot));
                        gone.push(slot);
                    },
                    _ => {
                        let due = slab.pop_due(MonotonicTime::from_millis(time));
                        match model.front().copied() {
                            Some((slot, deadline)) if deadline <= time => {
                                prop_assert_eq!(due, Some(slot));
                                model.pop_front();
                            }
                            _ => prop_assert_eq!(due, None),
                        }
                    }
                }
                prop_assert_eq!(slab.pending() as usize, model.len());
                prop_assert_eq!(slab.oldest_deadline(), model.front().map(|(_, at)| MonotonicTime::from_millis(*at)));
                for slot in &gone {
                    prop_assert!(!slab.finish(*slot), "a finished slot names nothing");
                }
            }
        }
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut slab = Requests::default();
        let slots: Vec<_> = (0..200).map(|_| slab.start(None)).collect();
        assert_eq!(slab.oldest_deadline(), None, "no timeout, no deadline");
        assert!(slots.into_iter().all(|slot| slab.finish(slot)));
        assert_eq!(slab.entries.capacity(), 0);
        assert_eq!(slab.total(), 200);
    }
}
