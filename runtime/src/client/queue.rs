//! The calls that a client has not sent yet, with the deadline of each (INV-12).

use std::task::{Context, Poll};

use bowline_machines::MonotonicTime;
use tokio::sync::mpsc;

use super::{Call, holding::Holding};
use crate::{clock::Clock, settings::REQUEST_TIMEOUT};

/// The driver's end of the queue.
pub(super) struct Queue {
    calls: mpsc::Receiver<Call>,
    holding: Holding,
    /// The oldest call with its deadline, while none can be sent.
    held: Option<(Call, MonotonicTime)>,
    /// Since when calls wait. A call without a time was queued before or then.
    held_since: Option<MonotonicTime>,
}

impl Queue {
    pub(super) const fn new(calls: mpsc::Receiver<Call>, holding: Holding) -> Self {
        Self {
            calls,
            holding,
            held: None,
            held_since: None,
        }
    }

    /// The oldest call that was not sent, and when it is answered with a timeout.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
        now: MonotonicTime,
    ) -> Option<(Call, MonotonicTime)> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let Poll::Ready(Some(call)) = self.calls.poll_recv(cx) else {
            // A task that has done much in one turn is told to come again though calls wait.
            if self.calls.is_empty() && self.held_since.take().is_some() {
                self.holding.set(false);
            }
            return None;
        };
        let asked = match call.asked {
            Some(asked) => clock.at(asked),
            None => self.held_since.unwrap_or(now),
        };
        Some((call, asked + REQUEST_TIMEOUT))
    }

    /// Takes back a call that cannot be sent now.
    pub(super) fn hold(&mut self, call: Call, deadline: MonotonicTime, now: MonotonicTime) {
        self.held = Some((call, deadline));
        if self.held_since.is_none() {
            self.held_since = Some(now);
            self.holding.set(true);
        }
    }

    /// Number of calls held: at most one, since the others stay in the channel.
    pub(super) fn held(&self) -> usize {
        usize::from(self.held.is_some())
    }

    /// When the held call is answered with a timeout. Those behind it were made later.
    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        self.held.as_ref().map(|(_, deadline)| *deadline)
    }

    /// Takes no more calls; those that wait remain.
    pub(super) fn close(&mut self) {
        self.calls.close();
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::Duration};

    use super::*;

    const OTHERS: usize = 300;

    fn call(holding: &Holding) -> Call {
        let (mut call, _) = Call::new("a.b", Cow::Borrowed("{}"));
        call.asked = holding.asked();
        call
    }

    #[tokio::test(start_paused = true)]
    async fn inv_12_a_call_expires_by_when_it_was_made_also_if_it_waited_behind_others() {
        let (send, receive) = mpsc::channel(512);
        let holding = Holding::default();
        let mut queue = Queue::new(receive, holding.clone());
        let clock = Clock::start();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let wait = Duration::from_secs(3);
        let first = clock.now();
        send.send(call(&holding)).await.unwrap();
        // Queued in the same moment, before the first is held: more than tokio lets one turn take.
        for _ in 0..OTHERS {
            send.send(call(&holding)).await.unwrap();
        }
        let (held, deadline) = queue.poll_next(cx, &clock, first).unwrap();
        assert_eq!(deadline, first + REQUEST_TIMEOUT);
        queue.hold(held, deadline, first);
        assert_eq!((queue.held(), queue.deadline()), (1, Some(deadline)));
        tokio::time::advance(wait).await;
        send.send(call(&holding)).await.unwrap();
        tokio::time::advance(wait).await;
        let now = clock.now();
        let mut deadlines = Vec::new();
        while deadlines.len() < OTHERS + 2 {
            let turn = std::iter::from_fn(|| queue.poll_next(cx, &clock, now));
            deadlines.extend(turn.map(|(_, deadline)| deadline));
            tokio::task::yield_now().await;
        }
        assert_eq!(deadlines.pop(), Some(first + wait + REQUEST_TIMEOUT));
        assert_eq!(deadlines, vec![deadline; OTHERS + 1]);
        assert!(queue.poll_next(cx, &clock, now).is_none());
        // Nothing waits any more, so the next call is as old as the turn that takes it.
        send.send(call(&holding)).await.unwrap();
        let (next, deadline) = queue.poll_next(cx, &clock, now).unwrap();
        assert_eq!((next.asked, deadline), (None, now + REQUEST_TIMEOUT));
    }
}
