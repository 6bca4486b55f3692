//! Requests that wait for their answers on one connection (INV-13).

use std::collections::{HashMap, VecDeque};

use bowline_machines::Moment;
use bowline_protocol::Reason;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{error::CallError, settings::REQUEST_TIMEOUT};

/// Who waits for an answer.
pub(super) enum Waiter {
    /// A caller.
    Caller(oneshot::Sender<Result<Box<RawValue>, CallError>>),
    /// The liveness check; that anything arrived is all it wants.
    Ping,
}

/// Deadlines of answered requests that may pile up behind one that is not answered.
const ANSWERED: usize = 64;

/// The waiters of one connection. At most `limits.maxInFlight` of the welcome.
#[derive(Default)]
pub(super) struct Waiters {
    next_id: u64,
    waiting: HashMap<u64, Waiter>,
    /// All requests have the same deadline, so the oldest expires first; answered ones are skipped.
    deadlines: VecDeque<(Moment, u64)>,
}

impl Waiters {
    pub(super) fn add(&mut self, now: Moment, waiter: Waiter) -> u64 {
        self.next_id += 1;
        self.waiting.insert(self.next_id, waiter);
        self.deadlines
            .push_back((now + REQUEST_TIMEOUT, self.next_id));
        self.next_id
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands an answer to its waiter; an answer nobody waits for (any more) is dropped.
    pub(super) fn answer(&mut self, id: u64, outcome: Result<Box<RawValue>, CallError>) {
        if let Some(Waiter::Caller(reply)) = self.waiting.remove(&id) {
            // The caller may have stopped waiting.
            let _ = reply.send(outcome);
        }
        self.forget_answered();
    }

    /// When the oldest request expires.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Ends what has waited too long (INV-12).
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some((deadline, id)) = self.deadlines.front().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if let Some(Waiter::Caller(reply)) = self.waiting.remove(&id) {
                let _ = reply.send(Err(CallError::Timeout));
            }
        }
        self.forget_answered();
    }

    /// Ends every waiter with the reason its connection ended for (INV-13).
    pub(super) fn end(&mut self, reason: Reason) {
        self.deadlines.clear();
        for (_, waiter) in self.waiting.drain() {
            if let Waiter::Caller(reply) = waiter {
                let _ = reply.send(Err(CallError::Disconnected(reason)));
            }
        }
    }

    fn forget_answered(&mut self) {
        while let Some((_, id)) = self.deadlines.front() {
            if self.waiting.contains_key(id) {
                break;
            }
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > ANSWERED + 2 * self.waiting.len() {
            let waiting = &self.waiting;
            self.deadlines.retain(|(_, id)| waiting.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_12_inv_13_every_waiter_ends_by_answer_deadline_or_disconnect() {
        let mut waiters = Waiters::default();
        let start = Moment::from_millis(0);
        let mut receive = Vec::new();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            waiters.add(start, Waiter::Caller(reply));
            receive.push(answer);
        }
        let result = RawValue::from_string("1".into()).unwrap();
        waiters.answer(1, Ok(result));
        assert_eq!(receive[0].try_recv().unwrap().unwrap().get(), "1");
        assert_eq!(waiters.deadline(), Some(start + REQUEST_TIMEOUT));
        waiters.expire(start + REQUEST_TIMEOUT);
        assert_eq!(
            receive[1].try_recv().unwrap().unwrap_err(),
            CallError::Timeout
        );
        let (reply, mut answer) = oneshot::channel();
        waiters.add(start, Waiter::Caller(reply));
        waiters.end(Reason::HeartbeatTimeout);
        assert_eq!(
            answer.try_recv().unwrap().unwrap_err(),
            CallError::Disconnected(Reason::HeartbeatTimeout)
        );
        assert!(waiters.is_empty() && waiters.deadline().is_none());
    }

    #[test]
    fn a_request_without_an_answer_makes_the_deadlines_of_others_no_longer() {
        let mut waiters = Waiters::default();
        let start = Moment::from_millis(0);
        let slow = waiters.add(start, Waiter::Ping);
        for _ in 0..100_000 {
            let id = waiters.add(start, Waiter::Ping);
            waiters.answer(id, Err(CallError::Timeout));
        }
        assert!(waiters.deadlines.len() <= ANSWERED + 3);
        assert_eq!(waiters.deadlines.front().map(|(_, id)| *id), Some(slow));
    }
}
