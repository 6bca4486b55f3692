//! The driver of one open connection: it polls, feeds the machine and executes its effects, and
//! makes no decisions.
//!
//! One round takes all pending input (texts, finished responses, queued events) and ends with one
//! flush. While the socket accepts no bytes the driver reads no more, so a client that does not
//! read its responses cannot send further requests. Working buffers belong to the thread: a quiet
//! connection holds none.

mod round;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as Waking, Poll},
};

use bowline_machines::daemon::connection::{Connection, Effect, Input, State};
use bowline_protocol::Reason;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until, timeout},
};

use self::round::{Scratch, Stop};
use super::{
    Acceptor, Listed,
    backlog::Backlog,
    link::TextChannel,
    requests::{Requests, Serving},
};
use crate::{
    caller::Caller,
    ledger::Attachment,
    observe,
    outbound::Frame,
    service::{Context, Origin},
};

/// Result of the handshake, from which a connection starts.
pub(super) struct Opened<L> {
    pub(super) link: L,
    pub(super) listed: Listed,
    pub(super) machine: Connection,
    pub(super) origin: Origin,
    /// The process at the other end of the local socket.
    pub(super) caller: Option<Caller>,
    pub(super) attachment: Option<Attachment>,
    pub(super) replay: Vec<Frame>,
    /// Hash of the session key, for the log; `None` on the local socket.
    pub(super) session: Option<Box<str>>,
    /// Permit among the open connections; `None` if another owner holds it.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// An open connection.
pub(super) struct Driver<L> {
    acceptor: Arc<Acceptor>,
    link: L,
    listed: Listed,
    machine: Connection,
    attachment: Option<Attachment>,
    session: Option<Box<str>>,
    requests: Requests,
    /// Written before all other output.
    backlog: Backlog,
    /// Reason of the closed queue; applied once earlier output is written.
    closing: Option<Reason>,
    timer: Option<Pin<Box<Sleep>>>,
    reading: bool,
    /// Dropped last.
    _place: Option<OwnedSemaphorePermit>,
}

impl<L: TextChannel> Driver<L> {
    pub(super) fn new(acceptor: Arc<Acceptor>, opened: Opened<L>) -> Self {
        let mut backlog = Backlog::default();
        backlog.add_frames(opened.replay.into_iter());
        let attachment = opened.attachment.as_ref();
        let context = Context {
            ledger: acceptor.ledger.clone(),
            session: attachment.map(|attachment| attachment.session().clone()),
            origin: opened.origin,
            connection: opened.listed.entry().handle().id,
            max_message_bytes: acceptor.limits.max_message_bytes,
        };
        Self {
            requests: Requests::new(context, opened.caller),
            acceptor,
            link: opened.link,
            listed: opened.listed,
            machine: opened.machine,
            attachment: opened.attachment,
            session: opened.session,
            backlog,
            closing: None,
            timer: None,
            reading: true,
            _place: opened.place,
        }
    }

    /// Closes the connection, with a close message if there is a reason to send.
    pub(super) async fn finish(mut self: Box<Self>, close: Option<Reason>) {
        // The session counts this connection as detached from here on, however long its socket
        // takes to close.
        self.attachment = None;
        self.requests.clear();
        self.backlog.clear();
        if let Some(reason) = close {
            let now = self.acceptor.clock.now();
            let allowance = self.machine.poll_timeout().map(|at| at.since(now));
            let closed = timeout(allowance.unwrap_or_default(), self.link.close(reason)).await;
            let now = self.acceptor.clock.now();
            match closed {
                Ok(()) => self.machine.handle(now, Input::PeerClosed { reason }),
                Err(_) => self.machine.handle_timeout(now),
            }
        }
        self.log();
    }

    /// Takes a text that arrived with the handshake.
    pub(super) fn take_first(&mut self, first: &[u8]) {
        let mut scratch = Scratch::take(self.acceptor.clock.now());
        let Scratch { now, answers, .. } = &mut scratch;
        let serving = &mut Serving::new(&self.acceptor.router, &mut self.machine, *now, answers);
        self.requests.take(first, serving);
        self.keep_answers(&scratch.answers);
        scratch.trim();
    }

    /// One round. Ready with the close reason, or with none if the socket has ended.
    pub(super) fn poll_turn(&mut self, cx: &mut Waking<'_>) -> Poll<Option<Reason>> {
        let now = self.acceptor.clock.now();
        let mut scratch = Scratch::take(now);
        let outcome = self.round(cx, &mut scratch);
        scratch.trim();
        if let Err(Stop::Ended) = outcome {
            let reason = Reason::ConnectionLost;
            self.machine.handle(now, Input::PeerClosed { reason });
        }
        let end = self.end();
        self.machine.trim();
        self.listed.entry().note(
            self.machine.state(),
            self.machine.requests(),
            self.machine.pending(),
            self.backlog.bytes(),
        );
        match end {
            Some(end) => Poll::Ready(end),
            None => self.poll_timer(cx),
        }
    }

    /// Executes the machine's effects. Returns how the connection ends, once it does.
    fn end(&mut self) -> Option<Option<Reason>> {
        let mut end = None;
        let mut scratch = None;
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::BeginClose { reason } => end = Some(Some(reason)),
                Effect::Terminate { .. } => end = Some(None),
                Effect::RequestTimedOut { slot } => {
                    let clock = &self.acceptor.clock;
                    let Scratch { now, answers, .. } =
                        scratch.get_or_insert_with(|| Scratch::take(clock.now()));
                    let serving =
                        &mut Serving::new(&self.acceptor.router, &mut self.machine, *now, answers);
                    self.requests.time_out(slot, serving);
                }
            }
        }
        if let Some(scratch) = scratch {
            self.keep_answers(&scratch.answers);
            scratch.trim();
        }
        self.log();
        end
    }

    /// Keeps one timer for the machine's next deadline. A deadline that moves later or is removed
    /// leaves the timer unchanged: it fires early and checks again, which is cheaper than a reset
    /// for every request. A quiet connection has no timer: the sweep wakes it at its idle timeout.
    fn poll_timer(&mut self, cx: &mut Waking<'_>) -> Poll<Option<Reason>> {
        loop {
            let now = self.acceptor.clock.now();
            let due = self.machine.poll_timeout();
            let quiet = matches!(self.machine.state(), State::Active | State::Idle { .. });
            // A half-closed peer may close its other side without any event, so the sweep wakes
            // this task to check.
            let look_again = (!self.reading).then_some(now);
            let rest_until = look_again.or_else(|| due.filter(|_| quiet));
            self.listed.entry().rest_until(rest_until);
            let Some(due) = due else {
                if self.timer.as_ref().is_some_and(|timer| timer.is_elapsed()) {
                    self.timer = None;
                }
                return Poll::Pending;
            };
            if quiet && due > now && self.timer.is_none() {
                return Poll::Pending;
            }
            let at = Instant::now() + due.since(now);
            let timer = match &mut self.timer {
                Some(timer) => {
                    if timer.deadline() > at {
                        timer.as_mut().reset(at);
                    }
                    timer
                }
                none => none.insert(Box::pin(sleep_until(at))),
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            self.machine.handle_timeout(self.acceptor.clock.now());
            if let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            if self.backlog.has_answers() {
                // Requests were answered with `timeout`: the next round writes that.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn log(&mut self) {
        while let Some(transition) = self.machine.poll_transition() {
            let server = self.acceptor.identity.server_id();
            let session = self.session.as_deref().unwrap_or("local");
            observe::transition(server, session, &transition);
        }
    }
}
