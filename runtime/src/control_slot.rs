//! Pending commands of a task.
//!
//! Only the latest command of each kind counts, so no queue is needed: none is lost, none waits for
//! capacity, and a busy task does not face a backlog afterwards.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

#[derive(Debug, Default)]
struct Inner<T> {
    commands: T,
    waker: Option<Waker>,
}

/// The control slot: handles write the latest command, one task takes it.
#[derive(Debug, Default)]
pub(crate) struct ControlSlot<T>(Mutex<Inner<T>>);

impl<T: Default + PartialEq> ControlSlot<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn update(&self, order: impl FnOnce(&mut T)) {
        let mut inner = self.lock();
        order(&mut inner.commands);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The commands since the last take; empty if there are none.
    pub(crate) fn take(&self) -> T {
        std::mem::take(&mut self.lock().commands)
    }

    /// The commands since the last take; pending if there are none.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut inner = self.lock();
        let commands = std::mem::take(&mut inner.commands);
        if commands == T::default() {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(commands)
    }
}
