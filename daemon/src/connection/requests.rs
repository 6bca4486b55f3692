//! The requests of one connection: read, checked, run side by side, answered as they finish (SV-4).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Instant,
};

use bowline_machines::{
    Moment,
    connection::{Admission, Connection, RequestSlot},
};
use bowline_protocol::{
    RpcReason,
    error::RpcError,
    methods::{Ack, name},
    rpc::{Id, Incoming, Notification, Request as RpcRequest, Text, parse, write_error},
};
use futures_util::{Stream, stream::FuturesUnordered};
use serde_json::value::RawValue;

use super::{
    access::permitted,
    answers::{Answers, Batch, bounded, encode},
};
use crate::{
    metrics::Outcome,
    service::{self, Answer, AnswerFuture, Call, Context, Method, Router},
};

/// Where an answer goes.
#[derive(Debug)]
enum Ticket {
    /// A response of its own.
    Single(Id<'static>),
    /// Into a batch.
    Item { batch: usize, id: Id<'static> },
    /// Nowhere: it was a notification.
    Silent,
}

/// A request being worked on.
struct Running {
    slot: RequestSlot,
    method: Arc<Method>,
    began: Instant,
    ticket: Option<Ticket>,
    /// `None` once nobody waits for it any more.
    future: Option<AnswerFuture>,
    waker: Option<Waker>,
}

/// A request that has its answer.
struct Finished {
    slot: RequestSlot,
    method: Arc<Method>,
    began: Instant,
    ticket: Ticket,
    answer: Answer,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.method.stats().note(Outcome::ABANDONED);
        }
    }
}

impl Future for Running {
    /// `None` for one that was answered before it was done.
    type Output = Option<Finished>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                self.future = None;
                Poll::Ready(self.ticket.take().map(|ticket| Finished {
                    slot: self.slot,
                    method: Arc::clone(&self.method),
                    began: self.began,
                    ticket,
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

/// What a text is judged by.
pub(super) struct Desk<'a> {
    pub(super) router: &'a Router,
    pub(super) context: &'a Context,
    pub(super) machine: &'a mut Connection,
    pub(super) now: Moment,
    pub(super) answers: &'a mut Answers,
}

impl Desk<'_> {
    fn max(&self) -> usize {
        self.context.max_message_bytes as usize
    }
}

/// The requests of one connection. Owns no memory while none is pending.
#[derive(Default)]
pub(super) struct Requests {
    running: Option<Box<FuturesUnordered<Running>>>,
    /// Open batches; `None` is a free place.
    batches: Vec<Option<Batch>>,
    /// What the client has acknowledged since this was last asked.
    acked: Option<u64>,
}

impl Requests {
    /// Whether nothing is pending.
    pub(super) const fn is_empty(&self) -> bool {
        self.running.is_none()
    }

    /// The newest acknowledgement, once.
    pub(super) const fn take_ack(&mut self) -> Option<u64> {
        self.acked.take()
    }

    /// Takes one text: answers at once what can be, starts the rest.
    pub(super) fn take(&mut self, text: &[u8], desk: &mut Desk<'_>) {
        match parse(text) {
            Ok(Text::Single(incoming)) => self.take_single(incoming, desk),
            Ok(Text::Batch(items)) => self.take_batch(items, desk),
            // Malformed input is answered and survived (SV-4).
            Err(error) => {
                desk.router.others().note(Outcome::of(&error));
                desk.answers.add(|out| write_error(out, &Id::NULL, &error));
            }
        }
    }

    fn take_single(&mut self, incoming: Incoming<'_>, desk: &mut Desk<'_>) {
        match incoming {
            Incoming::Request(RpcRequest { id, method, params }) => {
                let now = answer_now(&method, params, desk);
                match now {
                    Started::Answered(answer) => {
                        let max = desk.max();
                        desk.answers.add(|out| encode(out, &id, &answer, max));
                    }
                    Started::Running(begun) => self.run(begun, Ticket::Single(id.into_owned())),
                    Started::Refused => {}
                }
            }
            Incoming::Notification(notification) => self.notified(&notification, desk),
            Incoming::Invalid { id, error } => {
                desk.router.others().note(Outcome::of(&error));
                desk.answers.add(|out| write_error(out, &id, &error));
            }
            // This side asks nothing, so an answer answers nothing.
            Incoming::Response(_) => {}
        }
    }

    fn take_batch(&mut self, items: Vec<Incoming<'_>>, desk: &mut Desk<'_>) {
        let max = desk.max();
        let place = self.open_batch();
        for item in items {
            let (id, answer) = match item {
                Incoming::Request(RpcRequest { id, method, params }) => {
                    match answer_now(&method, params, desk) {
                        Started::Answered(answer) => (id, answer),
                        Started::Running(begun) => {
                            if let Some(batch) = self.batch(place) {
                                batch.expect();
                            }
                            let ticket = Ticket::Item {
                                batch: place,
                                id: id.into_owned(),
                            };
                            self.run(begun, ticket);
                            continue;
                        }
                        Started::Refused => continue,
                    }
                }
                Incoming::Notification(notification) => {
                    self.notified(&notification, desk);
                    continue;
                }
                Incoming::Invalid { id, error } => {
                    desk.router.others().note(Outcome::of(&error));
                    (id, Err(error))
                }
                Incoming::Response(_) => continue,
            };
            if let Some(batch) = self.batch(place) {
                batch.add(&id, &answer, max);
            }
        }
        self.release_batch(place, max, desk.answers);
    }

    /// A notification is a request whose answer nobody wants; those of the session are its own business.
    fn notified(&mut self, notification: &Notification<'_>, desk: &mut Desk<'_>) {
        match (&*notification.method, &desk.context.session) {
            (name::SESSION_READY, _) => {}
            (name::SESSION_ACK, Some(_)) => {
                let params = notification.params.map_or("", RawValue::get);
                // A malformed acknowledgement acknowledges nothing; there is nobody to tell.
                if let Ok(ack) = serde_json::from_str::<Ack>(params) {
                    self.acked = self.acked.max(Some(ack.seq));
                }
            }
            (method, _) => {
                let started = answer_now(method, notification.params, desk);
                if let Started::Running(begun) = started {
                    self.run(begun, Ticket::Silent);
                }
            }
        }
    }

    fn run(&mut self, begun: Begun, ticket: Ticket) {
        let running = self.running.get_or_insert_default();
        running.push(Running {
            slot: begun.slot,
            method: begun.method,
            began: Instant::now(),
            ticket: Some(ticket),
            future: Some(begun.future),
            waker: None,
        });
    }

    /// Collects what has finished, until there are so many bytes of answers; whether that is all of it, and the task
    /// is woken when more finishes.
    pub(super) fn poll_finished(
        &mut self,
        cx: &mut TaskContext<'_>,
        desk: &mut Desk<'_>,
        most: usize,
    ) -> bool {
        while let Some(running) = &mut self.running {
            if desk.answers.bytes() >= most {
                return false;
            }
            match Pin::new(&mut **running).poll_next(cx) {
                Poll::Ready(Some(Some(finished))) => {
                    let answer = bounded(finished.answer, desk.max());
                    let stats = finished.method.stats();
                    stats.note_after(outcome(&answer), finished.began.elapsed());
                    if desk.machine.finish_request(desk.now, finished.slot) {
                        self.settle(finished.ticket, &answer, desk);
                    }
                }
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) => self.running = None,
                Poll::Pending => break,
            }
        }
        true
    }

    /// Answers a request whose time is up, and stops its work.
    pub(super) fn time_out(&mut self, slot: RequestSlot, desk: &mut Desk<'_>) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(late) = running.iter_mut().find(|running| running.slot == slot) else {
            return;
        };
        late.future = None;
        // So that its place is given up at the next poll.
        if let Some(waker) = late.waker.take() {
            waker.wake();
        }
        if let Some(ticket) = late.ticket.take() {
            let error = RpcError::new(
                RpcReason::Timeout,
                "the daemon did not finish in time; an intent sent again with its id tells its outcome",
            );
            let stats = late.method.stats();
            stats.note_after(Outcome::of(&error), late.began.elapsed());
            self.settle(ticket, &Err(error), desk);
        }
    }

    fn settle(&mut self, ticket: Ticket, answer: &Answer, desk: &mut Desk<'_>) {
        let max = desk.max();
        match ticket {
            Ticket::Single(id) => desk.answers.add(|out| encode(out, &id, answer, max)),
            Ticket::Item { batch: place, id } => {
                if let Some(batch) = self.batch(place) {
                    batch.add(&id, answer, max);
                }
                self.release_batch(place, max, desk.answers);
            }
            Ticket::Silent => {}
        }
    }

    fn open_batch(&mut self) -> usize {
        let place = self.batches.iter().position(Option::is_none);
        let place = place.unwrap_or(self.batches.len());
        match self.batches.get_mut(place) {
            Some(free) => *free = Some(Batch::new()),
            None => self.batches.push(Some(Batch::new())),
        }
        place
    }

    fn batch(&mut self, place: usize) -> Option<&mut Batch> {
        self.batches.get_mut(place)?.as_mut()
    }

    fn release_batch(&mut self, place: usize, max: usize, answers: &mut Answers) {
        if !self.batch(place).is_some_and(Batch::release) {
            return;
        }
        if let Some(batch) = self.batches.get_mut(place).and_then(Option::take) {
            answers.add(|out| batch.finish(out, max));
        }
        if self.batches.iter().all(Option::is_none) {
            self.batches = Vec::new();
        }
    }
}

/// What became of a request on sight.
enum Started {
    /// Done already.
    Answered(Answer),
    /// To be run.
    Running(Begun),
    /// The connection takes none any more; nobody is told.
    Refused,
}

/// A request that waits for something.
struct Begun {
    slot: RequestSlot,
    method: Arc<Method>,
    future: AnswerFuture,
}

fn outcome(answer: &Answer) -> Outcome {
    answer.as_ref().map_or_else(Outcome::of, |_| Outcome::OK)
}

fn answer_now(method: &str, params: Option<&RawValue>, desk: &mut Desk<'_>) -> Started {
    let found = desk.router.find(method);
    let stats = found.map_or(desk.router.others(), |method| method.stats().as_ref());
    let answered = |answer: Answer| {
        let answer = bounded(answer, desk.context.max_message_bytes as usize);
        stats.note(outcome(&answer));
        Started::Answered(answer)
    };
    if let Err(error) = permitted(desk.context.origin, found.map(Arc::as_ref)) {
        return answered(Err(error));
    }
    let slot = match desk.machine.start_request(desk.now) {
        Admission::Admitted(slot) => slot,
        Admission::Overloaded => {
            return answered(Err(RpcError::new(
                RpcReason::Overloaded,
                "too many requests are pending on this connection",
            )));
        }
        Admission::Refused => return Started::Refused,
    };
    let Some(found) = found else {
        desk.machine.finish_request(desk.now, slot);
        return answered(Err(RpcError::method_not_found(method)));
    };
    let call = Call {
        params,
        context: desk.context,
    };
    match found.start(call) {
        service::Started::Answered(answer) => {
            desk.machine.finish_request(desk.now, slot);
            answered(answer)
        }
        service::Started::Running(future) => Started::Running(Begun {
            slot,
            method: Arc::clone(found),
            future,
        }),
    }
}
