//! A first-in, first-out queue that owns no memory while it is empty.
//!
//! Machines hand out effects and transition records through it. A daemon holds thousands of idle sessions and
//! connections, so an empty queue is one null pointer and draining it gives the memory back. What a machine
//! pushes for one input is bounded; the driver drains it before the next input.

use std::collections::VecDeque;

/// A lazily allocated queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outbox<T> {
    // The box is the point: 8 bytes instead of 32 in machines that exist by the thousand.
    #[allow(clippy::box_collection)]
    items: Option<Box<VecDeque<T>>>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { items: None }
    }
}

impl<T> Outbox<T> {
    /// Adds at the end.
    pub(crate) fn push(&mut self, item: T) {
        self.items.get_or_insert_default().push_back(item);
    }

    /// Takes from the front.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.items.as_mut()?.pop_front();
        if self.is_empty() {
            self.items = None;
        }
        item
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.as_ref().is_none_or(|items| items.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_no_memory_when_drained() {
        let mut outbox = Outbox::default();
        outbox.push(1);
        outbox.push(2);
        assert_eq!(
            (outbox.pop(), outbox.pop(), outbox.pop()),
            (Some(1), Some(2), None)
        );
        assert!(outbox.items.is_none(), "an idle queue owns no memory");
        assert_eq!(std::mem::size_of::<Outbox<String>>(), 8);
    }
}
