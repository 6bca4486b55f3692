//! A first-in, first-out queue without an allocation while it is empty.
//!
//! Machines return effects and transition records through it. A daemon holds thousands of idle
//! sessions and connections, so an empty queue is one null pointer, and draining it frees its
//! memory. The items pushed for one input are bounded; the driver drains the queue before the next
//! input.

use std::collections::VecDeque;

/// A lazily allocated queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EffectQueue<T> {
    // The box makes the field 8 bytes instead of 32, in machines of which there are thousands.
    #[allow(clippy::box_collection)]
    items: Option<Box<VecDeque<T>>>,
}

impl<T> Default for EffectQueue<T> {
    fn default() -> Self {
        Self { items: None }
    }
}

impl<T> EffectQueue<T> {
    /// Appends an item.
    pub(crate) fn push(&mut self, item: T) {
        self.items.get_or_insert_default().push_back(item);
    }

    /// Removes the first item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.items.as_mut()?.pop_front();
        if self.is_empty() {
            self.items = None;
        }
        item
    }

    /// Removes and returns the items for which `is_taken` holds.
    pub(crate) fn take_if(&mut self, mut is_taken: impl FnMut(&T) -> bool) -> Vec<T> {
        let all = self.items.take().map(|items| *items).unwrap_or_default();
        let (taken, rest) = all.into_iter().partition(&mut is_taken);
        let rest: VecDeque<T> = rest;
        self.items = (!rest.is_empty()).then(|| Box::new(rest));
        Vec::from(taken)
    }

    /// Whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.as_ref().is_none_or(|items| items.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_taken_out_leave_the_others_in_order() {
        let mut queue = EffectQueue::default();
        (1..=5).for_each(|item| queue.push(item));
        assert_eq!(queue.take_if(|item| item % 2 == 1), [1, 3, 5]);
        assert_eq!((queue.pop(), queue.take_if(|_| true)), (Some(2), vec![4]));
        assert!(queue.items.is_none(), "an idle queue owns no memory");
    }

    #[test]
    fn keeps_order_and_no_memory_when_drained() {
        let mut queue = EffectQueue::default();
        queue.push(1);
        queue.push(2);
        assert_eq!(
            (queue.pop(), queue.pop(), queue.pop()),
            (Some(1), Some(2), None)
        );
        assert!(queue.items.is_none(), "an idle queue owns no memory");
        assert_eq!(std::mem::size_of::<EffectQueue<String>>(), 8);
    }
}
