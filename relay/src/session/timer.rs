//! A timer that exists only while somebody waits.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Deadlines move with every byte, mostly to later; the timer below follows only when it would fire too late, or has fired.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Nobody waits at the moment. Kept until it fires, because somebody soon may.
    pub(super) fn rest(&mut self) {
        if self.0.as_ref().is_some_and(|sleep| sleep.is_elapsed()) {
            self.0 = None;
        }
    }

    /// Whether the deadline is past; if not, the task is woken at the deadline at the latest.
    pub(super) fn is_past(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
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
