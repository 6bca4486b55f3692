//! What a task was told to do and has not done yet.
//!
//! Orders of one kind add up to the last one, so they need no queue: none is lost, none waits for room, and a task that is
//! busy for long is not flooded afterwards.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

#[derive(Debug, Default)]
struct Inner<T> {
    orders: T,
    waker: Option<Waker>,
}

/// Where handles put orders and one task takes them.
#[derive(Debug, Default)]
pub(crate) struct Desk<T>(Mutex<Inner<T>>);

impl<T: Default + PartialEq> Desk<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn give(&self, order: impl FnOnce(&mut T)) {
        let mut inner = self.lock();
        order(&mut inner.orders);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Everything that was ordered since, if anything was.
    pub(crate) fn take(&self) -> T {
        std::mem::take(&mut self.lock().orders)
    }

    /// Everything that was ordered since; pending while that is nothing.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut inner = self.lock();
        let orders = std::mem::take(&mut inner.orders);
        if orders == T::default() {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(orders)
    }
}
