//! The requests of one connection: parsed, checked, run concurrently, and answered as they finish
//! (SV-4).

use std::{
    collections::{BTreeMap, btree_map},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Instant,
};

use bowline_machines::{
    MonotonicTime,
    daemon::connection::{Admission, Connection, RequestSlot},
};
use bowline_protocol::{
    RpcReason,
    error::RpcError,
    methods::{Ack, name},
    rpc::{Id, Incoming, Notification, Request as RpcRequest, Text, parse, split_carried},
};
use futures_util::{Stream, stream::FuturesUnordered};
use serde_json::value::RawValue;

use super::{
    access::permitted,
    answers::{Answers, Batch, bounded, encode},
};
use crate::{
    caller::Caller,
    rpc::{Outcome, Reply, ReplyFuture},
    service::{self, Access, Call, Context, Method, Origin, Router},
};

/// The request that a response is for.
#[derive(Debug)]
struct Ticket {
    id: Id<'static>,
    /// The batch that it came in.
    batch: Option<u64>,
}

/// A request in progress.
struct Running {
    slot: RequestSlot,
    method: Arc<Method>,
    began: Instant,
    /// `None` for a notification, which gets no response.
    ticket: Option<Ticket>,
    /// `None` once the response is no longer needed.
    future: Option<ReplyFuture>,
    waker: Option<Waker>,
}

/// A request with its response.
struct Finished {
    slot: RequestSlot,
    method: Arc<Method>,
    began: Instant,
    ticket: Option<Ticket>,
    answer: Reply,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.method.stats().note(Outcome::ABANDONED);
        }
    }
}

impl Future for Running {
    /// `None` for a request that was answered before it finished.
    type Output = Option<Finished>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                self.future = None;
                Poll::Ready(Some(Finished {
                    slot: self.slot,
                    method: Arc::clone(&self.method),
                    began: self.began,
                    ticket: self.ticket.take(),
                    answer,
                }))
            }
            Poll::Pending => {
                match &mut self.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

/// What requests use and change besides themselves.
pub(super) struct Serving<'a> {
    router: &'a Router,
    machine: &'a mut Connection,
    now: MonotonicTime,
    answers: &'a mut Answers,
}

impl<'a> Serving<'a> {
    pub(super) const fn new(
        router: &'a Router,
        machine: &'a mut Connection,
        now: MonotonicTime,
        answers: &'a mut Answers,
    ) -> Self {
        Self {
            router,
            machine,
            now,
            answers,
        }
    }
}

/// The requests of one connection. Holds no memory while none is pending.
pub(super) struct Requests {
    context: Context,
    /// The process at the other end of the local socket. Boxed, so that connections of devices stay
    /// small.
    caller: Option<Box<Caller>>,
    running: Option<Box<FuturesUnordered<Running>>>,
    /// Open batches.
    batches: BTreeMap<u64, Batch>,
    /// The newest acknowledgement not yet taken.
    acked: Option<u64>,
}

/// Result of checking a request.
enum Started {
    /// Already answered.
    Answered(Reply),
    /// To be run.
    Running(Running),
    /// The connection accepts no more requests; there is no response.
    Refused,
}

impl Requests {
    pub(super) fn new(context: Context, caller: Option<Caller>) -> Self {
        Self {
            context,
            caller: caller.map(Box::new),
            running: None,
            batches: BTreeMap::new(),
            acked: None,
        }
    }

    /// Whether nothing is pending.
    pub(super) const fn is_empty(&self) -> bool {
        self.running.is_none()
    }

    /// Ends all work.
    pub(super) fn clear(&mut self) {
        self.running = None;
        self.batches.clear();
    }

    /// Takes the newest acknowledgement.
    pub(super) const fn take_ack(&mut self) -> Option<u64> {
        self.acked.take()
    }

    /// Takes one text: answers at once where possible and starts the other requests.
    pub(super) fn take(&mut self, text: &[u8], serving: &mut Serving<'_>) {
        // A line of the local socket is JSON; it carries no bytes.
        let split = match self.context.origin {
            Origin::Local => Ok((text, None)),
            Origin::Session | Origin::Probe => split_carried(text),
        };
        let parsed = split.and_then(|(message, bytes)| match (parse(message)?, bytes) {
            (Text::Batch(_), Some(_)) => Err(RpcError::parse("a batch carries no bytes")),
            (text, bytes) => Ok((text, bytes)),
        });
        match parsed {
            Ok((Text::Single(incoming), bytes)) => self.take_one(incoming, bytes, None, serving),
            Ok((Text::Batch(items), _)) => {
                let batch = self.batches.last_key_value();
                let batch = batch.map_or(0, |(last, _)| last + 1);
                self.batches.insert(batch, Batch::new());
                for item in items {
                    self.take_one(item, None, Some(batch), serving);
                }
                self.release(batch, serving);
            }
            // Malformed input is answered; the connection stays open (SV-4).
            Err(error) => self.respond(None, &Id::NULL, &invalid(error, serving), serving),
        }
    }

    fn take_one(
        &mut self,
        incoming: Incoming<'_>,
        bytes: Option<&[u8]>,
        batch: Option<u64>,
        serving: &mut Serving<'_>,
    ) {
        match incoming {
            Incoming::Request(RpcRequest { id, method, params }) => {
                match self.start(&method, params, bytes, serving) {
                    Started::Answered(answer) => self.respond(batch, &id, &answer, serving),
                    Started::Running(mut running) => {
                        if let Some(batch) = batch.and_then(|batch| self.batches.get_mut(&batch)) {
                            batch.expect();
                        }
                        let id = id.into_owned();
                        running.ticket = Some(Ticket { id, batch });
                        self.running.get_or_insert_default().push(running);
                    }
                    Started::Refused => {}
                }
            }
            Incoming::Notification(notification) => self.notified(&notification, serving),
            Incoming::Invalid { id, error } => {
                self.respond(batch, &id, &invalid(error, serving), serving);
            }
            // This side sends no requests, so a response matches none.
            Incoming::Response(_) => {}
        }
    }

    /// A notification is a request without a response; those of the session are handled separately.
    fn notified(&mut self, notification: &Notification<'_>, serving: &mut Serving<'_>) {
        match (&*notification.method, &self.context.session) {
            (name::SESSION_READY, _) => {}
            (name::SESSION_ACK, Some(_)) => {
                let params = notification.params.map_or("", RawValue::get);
                // A malformed acknowledgement is ignored; a notification has no response.
                if let Ok(ack) = serde_json::from_str::<Ack>(params) {
                    self.acked = self.acked.max(Some(ack.seq));
                }
            }
            (method, _) => {
                if let Started::Running(running) =
                    self.start(method, notification.params, None, serving)
                {
                    self.running.get_or_insert_default().push(running);
                }
            }
        }
    }

    /// Checks a request, and answers or begins it.
    fn start(
        &self,
        method: &str,
        params: Option<&RawValue>,
        bytes: Option<&[u8]>,
        serving: &mut Serving<'_>,
    ) -> Started {
        let router = serving.router;
        let found = router.find(method);
        let stats = found.map_or(router.others(), |method| method.stats().as_ref());
        let answered = |answer: Reply| {
            let answer = bounded(answer, self.max());
            stats.note(outcome(&answer));
            Started::Answered(answer)
        };
        if let Err(error) = permitted(&self.context, found.map(Arc::as_ref)) {
            return answered(Err(error));
        }
        if bytes.is_some() && !found.is_some_and(|method| method.takes_bytes()) {
            let text = "a request of this method carries no bytes";
            return answered(Err(RpcError::invalid_params(text)));
        }
        let slot = match serving.machine.start_request(serving.now) {
            Admission::Admitted(slot) => slot,
            Admission::Overloaded => {
                return answered(Err(RpcError::new(
                    RpcReason::Overloaded,
                    "too many requests are pending on this connection",
                )));
            }
            Admission::Refused => return Started::Refused,
        };
        let answer = match found.map(|found| (found, self.run(found, params, bytes))) {
            Some((found, service::Started::Running(future))) => {
                return Started::Running(Running {
                    slot,
                    method: Arc::clone(found),
                    began: Instant::now(),
                    ticket: None,
                    future: Some(future),
                    waker: None,
                });
            }
            Some((_, service::Started::Answered(answer))) => answer,
            None => Err(RpcError::method_not_found(method)),
        };
        serving.machine.finish_request(serving.now, slot);
        answered(answer)
    }

    /// Starts a method; one for the owner once it is known that nothing that a service has started
    /// makes the request (TR-7).
    fn run(
        &self,
        method: &Arc<Method>,
        params: Option<&RawValue>,
        bytes: Option<&[u8]>,
    ) -> service::Started {
        let context = &self.context;
        let caller = self.caller.as_ref();
        let Some(caller) = caller.filter(|_| method.access() == Access::Owner) else {
            return method.start(Call {
                params,
                context,
                bytes,
            });
        };
        let caller = caller.clone();
        let (method, context) = (Arc::clone(method), context.clone());
        let params = params.map(RawValue::to_owned);
        service::Started::Running(Box::pin(async move {
            caller.check_owner(method.name()).await?;
            let (params, context) = (params.as_deref(), &context);
            let call = Call {
                params,
                context,
                bytes: None,
            };
            match method.start(call) {
                service::Started::Answered(answer) => answer,
                service::Started::Running(future) => future.await,
            }
        }))
    }

    /// Collects finished requests up to a limit of response bytes. Returns whether all were
    /// collected; the task is then woken when more finish.
    pub(super) fn poll_finished(
        &mut self,
        cx: &mut TaskContext<'_>,
        serving: &mut Serving<'_>,
        most: usize,
    ) -> bool {
        while let Some(running) = &mut self.running {
            if serving.answers.bytes() >= most {
                return false;
            }
            match Pin::new(&mut **running).poll_next(cx) {
                Poll::Ready(Some(Some(finished))) => {
                    let answer = bounded(finished.answer, self.max());
                    let stats = finished.method.stats();
                    stats.note_after(outcome(&answer), finished.began.elapsed());
                    if serving.machine.finish_request(serving.now, finished.slot) {
                        self.settle(finished.ticket, &answer, serving);
                    }
                }
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) => self.running = None,
                Poll::Pending => break,
            }
        }
        true
    }

    /// Answers a request with `timeout` and stops its work.
    pub(super) fn time_out(&mut self, slot: RequestSlot, serving: &mut Serving<'_>) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(late) = running.iter_mut().find(|running| running.slot == slot) else {
            return;
        };
        late.future = None;
        // Its slot is freed at the next poll.
        if let Some(waker) = late.waker.take() {
            waker.wake();
        }
        let answer = Err(RpcError::new(
            RpcReason::Timeout,
            "the daemon did not finish in time; an intent sent again with its id tells its outcome",
        ));
        let stats = late.method.stats();
        stats.note_after(outcome(&answer), late.began.elapsed());
        let ticket = late.ticket.take();
        self.settle(ticket, &answer, serving);
    }

    fn settle(&mut self, ticket: Option<Ticket>, answer: &Reply, serving: &mut Serving<'_>) {
        if let Some(Ticket { id, batch }) = ticket {
            self.respond(batch, &id, answer, serving);
            batch
                .into_iter()
                .for_each(|batch| self.release(batch, serving));
        }
    }

    /// Writes a response, or adds it to its batch.
    fn respond(
        &mut self,
        batch: Option<u64>,
        id: &Id<'_>,
        answer: &Reply,
        serving: &mut Serving<'_>,
    ) {
        let max = self.max();
        match batch.and_then(|batch| self.batches.get_mut(&batch)) {
            Some(batch) => batch.add(id, answer, max),
            None => serving.answers.add(|out| encode(out, id, answer, max)),
        }
    }

    /// Writes a batch once all its responses are there.
    fn release(&mut self, batch: u64, serving: &mut Serving<'_>) {
        let max = self.max();
        if let btree_map::Entry::Occupied(mut entry) = self.batches.entry(batch)
            && entry.get_mut().release()
        {
            let batch = entry.remove();
            serving.answers.add(|out| batch.finish(out, max));
        }
    }

    const fn max(&self) -> usize {
        self.context.max_message_bytes as usize
    }
}

fn outcome(answer: &Reply) -> Outcome {
    answer.as_ref().map_or_else(Outcome::of, |_| Outcome::OK)
}

/// The answer to what is no request.
fn invalid(error: RpcError, serving: &Serving<'_>) -> Reply {
    serving.router.others().note(Outcome::of(&error));
    Err(error)
}
