//! Outgoing messages of a client's driver.

use std::task::{Context, Poll};

use bowline_machines::{MonotonicTime, client::traffic::NextCall};
use bowline_protocol::{
    Reason,
    methods::{Empty, name},
    rpc,
};

use super::{Call, ClientOwner, driver::Driver, waiters::Waiter};
use crate::{error::CallError, settings::REQUEST_TIMEOUT, transport::Closed};

/// Maximum bytes of a request's envelope, besides method and parameters.
const ENVELOPE: usize = 64;

impl<O: ClientOwner> Driver<O> {
    pub(super) fn poll_calls(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let mut progress = false;
        loop {
            if self.traffic.is_draining() {
                self.queue.close();
            }
            let Some((call, deadline)) = self.queue.poll_next(cx, &self.clock, now) else {
                return progress;
            };
            // Back-pressure: callers wait while too much is in flight or unwritten.
            let must_wait = match self.traffic.next_call(&self.machine, self.waiters.len()) {
                NextCall::Wait => true,
                NextCall::Send => {
                    let link = self.link.as_mut();
                    link.is_some_and(|(_, link)| link.poll_ready(cx).is_pending())
                }
                NextCall::Refuse => false,
            };
            if must_wait && deadline > now {
                self.queue.hold(call, deadline, now);
                return progress;
            }
            progress = true;
            self.send(now, call, deadline);
        }
    }

    fn send(&mut self, now: MonotonicTime, call: Call, deadline: MonotonicTime) {
        if call.reply.is_closed() {
            return;
        }
        if deadline <= now {
            return call.answer(Err(CallError::Timeout));
        }
        let Some((generation, link)) = &mut self.link else {
            return call.answer(Err(CallError::NotConnected));
        };
        let generation = *generation;
        let carried = call.bytes.as_ref();
        let carried = carried.map_or(0, |bytes| bytes.len() + rpc::CARRIED_OVERHEAD);
        if call.params.len() + call.method.len() + carried + ENVELOPE > link.max_message() {
            let problem = "the request exceeds the daemon's message limit";
            return call.answer(Err(match carried {
                0 => CallError::Malformed(problem.into()),
                _ => CallError::TooLarge,
            }));
        }
        let id = self.waiters.add(now, deadline, Waiter::Caller(call.reply));
        self.text.clear();
        let write =
            |text: &mut Vec<u8>| rpc::write_request_text(text, id, &call.method, &call.params);
        let written = match &call.bytes {
            Some(bytes) => rpc::write_carried(&mut self.text, bytes, write),
            None => write(&mut self.text),
        };
        let queued = written
            .map_err(|_| Closed::from(Reason::BadRequest))
            .and_then(|()| link.queue(&self.text));
        self.unflushed = true;
        if let Err(closed) = queued {
            self.ended(now, generation, closed);
        }
    }

    pub(super) fn notify<P: serde::Serialize>(&mut self, method: &str, params: &P) {
        self.text.clear();
        if rpc::write_notification(&mut self.text, method, params).is_ok() {
            self.queue_text();
        }
    }

    pub(super) fn ping(&mut self, now: MonotonicTime) {
        let id = self.waiters.add(now, now + REQUEST_TIMEOUT, Waiter::Ping);
        self.text.clear();
        if rpc::write_request(&mut self.text, id, name::SYSTEM_PING, &Empty {}).is_ok() {
            self.queue_text();
        }
    }

    /// Queues a message that belongs to no caller. A failure leaves a gap in the sealed sequence,
    /// which ends the connection; the next flush reports it.
    fn queue_text(&mut self) {
        if let Some((_, link)) = &mut self.link {
            if let Err(closed) = link.queue(&self.text) {
                self.broken.get_or_insert(closed);
            }
            self.unflushed = true;
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let Some((generation, link)) = &mut self.link else {
            return false;
        };
        if !self.unflushed {
            return false;
        }
        let generation = *generation;
        let flushed = match self.broken.take() {
            Some(closed) => Poll::Ready(Err(closed)),
            None => link.poll_flush(cx),
        };
        match flushed {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                false
            }
            Poll::Ready(Err(closed)) => {
                self.ended(now, generation, closed);
                true
            }
        }
    }
}
