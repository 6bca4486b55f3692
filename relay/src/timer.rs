//! A timer that is allocated only while a deadline is pending.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Deadlines move with every byte, mostly later. The timer is reset only if it would fire too late;
/// if it fires early, it is set again.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// No deadline is pending. The timer stays until it fires, because a deadline may follow soon.
    pub(crate) fn rest(&mut self) {
        if self.0.as_ref().is_some_and(|sleep| sleep.is_elapsed()) {
            self.0 = None;
        }
    }

    /// Whether the deadline has passed; if not, the task is woken by then.
    pub(crate) fn is_past(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        loop {
            match &mut self.0 {
                None => self.0 = Some(Box::pin(sleep_until(deadline))),
                Some(sleep) if sleep.deadline() > deadline => sleep.as_mut().reset(deadline),
                Some(sleep) => match sleep.as_mut().poll(cx) {
                    Poll::Pending => return false,
                    Poll::Ready(()) if Instant::now() >= deadline => {
                        self.0 = None;
                        return true;
                    }
                    Poll::Ready(()) => self.0 = None,
                },
            }
        }
    }
}
