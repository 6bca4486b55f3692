//! Requests that await their answers on one connection (INV-13).

use std::{collections::VecDeque, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::Reason;
use tokio::sync::oneshot;

use super::Reply;
use crate::error::CallError;

/// The receiver of an answer.
pub(super) enum Waiter {
    /// A caller.
    Caller(oneshot::Sender<Result<Reply, CallError>>),
    /// The liveness check, which measures the time until the answer.
    Ping,
}

/// Timing of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Time since the request was sent.
    pub(super) round_trip: Duration,
    /// Whether it answers a ping, which the daemon answers at once.
    pub(super) is_ping: bool,
}

struct Waiting {
    id: u64,
    sent: MonotonicTime,
    deadline: MonotonicTime,
    waiter: Waiter,
}

/// The waiters of one connection. At most `limits.maxInFlight` of the welcome.
#[derive(Default)]
pub(super) struct Waiters {
    next_id: u64,
    /// Sorted by id, since ids grow. Calls are sent in the order in which they were made, so the
    /// first expires first. Most answers come in that order as well, and are found at the front.
    waiting: VecDeque<Waiting>,
    /// Number of pings among them.
    pings: usize,
}

impl Waiters {
    /// Adds the waiter of a request that is sent now; returns the request's id.
    pub(super) fn add(
        &mut self,
        sent: MonotonicTime,
        deadline: MonotonicTime,
        waiter: Waiter,
    ) -> u64 {
        self.next_id += 1;
        self.pings += usize::from(matches!(waiter, Waiter::Ping));
        let waiting = Waiting {
            id: self.next_id,
            sent,
            deadline,
            waiter,
        };
        self.waiting.push_back(waiting);
        self.next_id
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether any caller is waiting.
    pub(super) fn has_callers(&self) -> bool {
        self.waiting.len() > self.pings
    }

    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let place = match self.waiting.front() {
            Some(first) if first.id == id => 0,
            _ => self
                .waiting
                .binary_search_by_key(&id, |waiting| waiting.id)
                .ok()?,
        };
        let removed = self.waiting.remove(place)?;
        self.pings -= usize::from(matches!(removed.waiter, Waiter::Ping));
        Some(removed)
    }

    /// Delivers an answer to its waiter; an answer without a waiter is dropped.
    pub(super) fn answer(
        &mut self,
        now: MonotonicTime,
        id: u64,
        outcome: Result<Reply, CallError>,
    ) -> Option<Answered> {
        let Waiting { sent, waiter, .. } = self.remove(id)?;
        let is_ping = match waiter {
            Waiter::Caller(reply) => {
                // The caller may have stopped waiting.
                let _ = reply.send(outcome);
                false
            }
            Waiter::Ping => true,
        };
        let round_trip = now.since(sent);
        Some(Answered {
            round_trip,
            is_ping,
        })
    }

    /// The deadline of the oldest request.
    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        Some(self.waiting.front()?.deadline)
    }

    /// Ends requests past their deadline (INV-12).
    pub(super) fn expire(&mut self, now: MonotonicTime) {
        while let Some(oldest) = self.waiting.pop_front_if(|oldest| oldest.deadline <= now) {
            match oldest.waiter {
                Waiter::Caller(reply) => {
                    let _ = reply.send(Err(CallError::Timeout));
                }
                Waiter::Ping => self.pings -= 1,
            }
        }
    }

    /// Ends every waiter with the reason for which the connection ended (INV-13).
    pub(super) fn end(&mut self, reason: Reason) {
        self.pings = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiter::Caller(reply) = waiting.waiter {
                let _ = reply.send(Err(CallError::Disconnected(reason)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::settings::REQUEST_TIMEOUT;

    #[test]
    fn inv_12_inv_13_every_waiter_ends_by_answer_deadline_or_disconnect() {
        let mut waiters = Waiters::default();
        let start = MonotonicTime::from_millis(0);
        let end = start + REQUEST_TIMEOUT;
        let mut receive = Vec::new();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            waiters.add(start, end, Waiter::Caller(reply));
            receive.push(answer);
        }
        let result = RawValue::from_string("1".into()).unwrap();
        let reply = Reply {
            result,
            seq: Some(7),
            bytes: None,
        };
        let answered = waiters.answer(start + Duration::from_millis(20), 1, Ok(reply));
        let round_trip = Duration::from_millis(20);
        assert_eq!(
            answered,
            Some(Answered {
                round_trip,
                is_ping: false
            })
        );
        assert!(waiters.has_callers());
        let reply = receive[0].try_recv().unwrap().unwrap();
        assert_eq!((reply.result.get(), reply.seq), ("1", Some(7)));
        assert_eq!(waiters.deadline(), Some(end));
        waiters.expire(end);
        assert_eq!(
            receive[1].try_recv().unwrap().unwrap_err(),
            CallError::Timeout
        );
        let (reply, mut answer) = oneshot::channel();
        waiters.add(start, end, Waiter::Caller(reply));
        waiters.end(Reason::HeartbeatTimeout);
        assert_eq!(
            answer.try_recv().unwrap().unwrap_err(),
            CallError::Disconnected(Reason::HeartbeatTimeout)
        );
        assert!(waiters.len() == 0 && waiters.deadline().is_none());
    }

    #[test]
    fn the_deadline_is_that_of_the_oldest_request_and_answered_ones_hold_no_memory() {
        let mut waiters = Waiters::default();
        let start = MonotonicTime::from_millis(0);
        let end = start + REQUEST_TIMEOUT;
        let slow = waiters.add(start, end, Waiter::Ping);
        for _ in 0..100_000 {
            let id = waiters.add(start, end, Waiter::Ping);
            let answered = waiters.answer(start, id, Err(CallError::Timeout));
            assert!(answered.is_some_and(|answered| answered.is_ping));
        }
        assert!(!waiters.has_callers(), "a ping does not count as a caller");
        assert_eq!(waiters.len(), 1);
        assert_eq!(waiters.deadline(), Some(end));
        assert!(
            waiters
                .answer(start, slow, Err(CallError::Timeout))
                .is_some()
        );
        assert_eq!(waiters.deadline(), None);
    }
}
