//! The driver of one open connection: it polls, feeds the machine and executes its effects, and
//! makes no decisions.
//!
//! One round takes all pending input (texts, finished responses, queued events) and ends with one
//! flush. While the socket accepts no bytes the driver reads no more, so a client that does not
//! read its responses cannot send further requests. Working buffers belong to the thread: a quiet
//! connection holds none.

use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Waking, Poll},
};

use bowline_machines::{
    MonotonicTime,
    daemon::connection::{Connection, Effect, Input, State},
};
use bowline_protocol::Reason;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    Acceptor, Listed,
    answers::Answers,
    backlog::Backlog,
    link::{TextChannel, TextEvent},
    requests::{Requests, Scope},
};
use crate::{
    agents::caller::Caller,
    ledger::Attachment,
    observe,
    outbound::{Frame, OUTBOUND_BYTES},
    service::{Context, Origin},
};

/// Texts taken in one round before other connections get theirs.
const ROUND: usize = 128;
/// Bytes of responses waiting for the socket above which no more requests are finished. It bounds
/// responses as the event queue bounds events; one response may exceed it.
const MAX_ANSWERS: usize = OUTBOUND_BYTES;
/// Bytes that a thread's working buffers keep between rounds.
const KEEP: usize = 64 * 1024;

/// Time and working buffers of a round.
#[derive(Default)]
struct Scratch {
    now: MonotonicTime,
    text: Vec<u8>,
    answers: Answers,
    frames: Vec<Frame>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Takes the thread's buffers; a nested round would get empty ones.
    fn take(now: MonotonicTime) -> Self {
        Self {
            now,
            ..SCRATCH.take()
        }
    }

    fn trim(mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.answers.clear(KEEP);
        self.frames.clear();
        self.frames.shrink_to(KEEP / 64);
        SCRATCH.set(self);
    }
}

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

/// Why a round ended early.
enum Stop {
    /// The socket closed.
    Ended,
    /// The machine requested the close.
    Closing,
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
        let scope = &mut Scope::new(&self.acceptor.router, &mut self.machine, *now, answers);
        self.requests.take(first, scope);
        self.keep_answers(&scratch.answers);
        scratch.trim();
    }

    fn keep_answers(&mut self, answers: &Answers) {
        for text in answers.texts() {
            self.backlog.add_answer(text);
        }
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

    fn round(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
        let now = scratch.now;
        if !self.reading && self.link.is_peer_gone() {
            return Err(Stop::Ended);
        }
        let mut room = self.write_late(cx, scratch)?;
        let mut budget = ROUND;
        while room && self.reading && self.closing.is_none() {
            if budget == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            budget -= 1;
            if !self.read_one(cx, scratch)? {
                break;
            }
            room = self.write_answers(cx, scratch)?;
        }
        if let (Some(seq), Some(attachment)) = (self.requests.take_ack(), &self.attachment) {
            attachment.ack(seq);
        }
        let finished = self.finish_requests(cx, scratch);
        // Events emitted before a response are sent before it, because its `seq` counts them.
        room = room && self.write_queued(cx, scratch)?;
        if room {
            room = self.write_answers(cx, scratch)?;
        } else {
            self.keep_answers(&scratch.answers);
            scratch.answers.clear(KEEP);
        }
        if room && !finished {
            // Without room, the round that finds room continues.
            cx.waker().wake_by_ref();
        }
        let flushed = self.flush(cx, now)?;
        if !room && self.closing.is_none() {
            // Without room the queue is not drained, but its close must still be noticed.
            if let Poll::Ready(reason) = self.listed.entry().outbound().poll_closed(cx) {
                self.closing = Some(reason);
            }
        }
        match self.closing {
            Some(Reason::SlowConsumer) => self.machine.handle(now, Input::OutboundOverflow),
            Some(reason) => self.machine.handle(now, Input::Close { reason }),
            // The peer has read all its responses and sends no more requests.
            None if !self.reading && self.requests.is_empty() && room && flushed => {
                return Err(Stop::Ended);
            }
            None => {}
        }
        Ok(())
    }

    /// Reads one text; `false` if none is available.
    fn read_one(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<bool, Stop> {
        let Scratch {
            now, text, answers, ..
        } = scratch;
        let now = *now;
        let (heard, bytes) = match self.link.poll_text(cx, text) {
            Poll::Ready(heard) => heard,
            Poll::Pending => return Ok(false),
        };
        self.listed.entry().heard(now, bytes);
        self.machine.handle(now, Input::Received);
        match heard {
            TextEvent::Text(text) => {
                let scope = &mut Scope::new(&self.acceptor.router, &mut self.machine, now, answers);
                self.requests.take(text, scope);
            }
            TextEvent::More => {}
            TextEvent::HalfClosed => {
                self.reading = false;
                // The last requests start in this round; the next one checks whether the peer still
                // reads.
                cx.waker().wake_by_ref();
            }
            TextEvent::Gone => return Err(Stop::Ended),
            TextEvent::Broken(reason) => {
                self.machine.handle(now, Input::Close { reason });
                return Err(Stop::Closing);
            }
        }
        Ok(true)
    }

    /// Finishes requests while their responses may be buffered. Returns whether all were finished.
    fn finish_requests(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> bool {
        if self.requests.is_empty() {
            return true;
        }
        let most = MAX_ANSWERS.saturating_sub(self.backlog.answer_bytes());
        let scope = &mut Scope::new(
            &self.acceptor.router,
            &mut self.machine,
            scratch.now,
            &mut scratch.answers,
        );
        self.requests.poll_finished(cx, scope, most)
    }

    /// Writes responses while there is room and keeps the rest in order. Returns whether there is
    /// more room.
    fn write_answers(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<bool, Stop> {
        if scratch.answers.is_empty() {
            return Ok(!self.backlog.has_answers());
        }
        let Scratch { now, answers, .. } = scratch;
        for text in answers.texts() {
            if !self.backlog.has_answers() && self.room(cx, *now)? {
                self.feed(text, *now)?;
            } else {
                self.backlog.add_answer(text);
            }
        }
        answers.clear(KEEP);
        Ok(!self.backlog.has_answers())
    }

    /// Writes the backlog: the replay, queued frames, then responses.
    fn write_late(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<bool, Stop> {
        while let Some(frame) = self.backlog.frame() {
            if !self.room(cx, scratch.now)? {
                return Ok(false);
            }
            self.feed(&frame, scratch.now)?;
            self.backlog.frame_written();
        }
        while self.backlog.has_answers() {
            if !self.room(cx, scratch.now)? {
                return Ok(false);
            }
            if let Some(text) = self.backlog.take_answer() {
                self.feed(&text, scratch.now)?;
            }
        }
        self.backlog.clear();
        self.room(cx, scratch.now)
    }

    /// Writes queued frames until the queue is empty or there is no room. Waits on the queue when
    /// it is empty.
    fn write_queued(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<bool, Stop> {
        while self.closing.is_none() {
            if pin!(self.listed.entry().outbound().ready())
                .poll(cx)
                .is_pending()
            {
                break;
            }
            self.closing = self
                .listed
                .entry()
                .outbound()
                .drain_into(&mut scratch.frames);
            self.backlog.add_frames(scratch.frames.drain(..));
            if !self.write_late(cx, scratch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn room(&mut self, cx: &mut Waking<'_>, now: MonotonicTime) -> Result<bool, Stop> {
        match self.link.poll_ready(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Stop::Ended),
            Poll::Pending => {
                self.listed.entry().blocked(now, self.link.taken());
                Ok(false)
            }
        }
    }

    fn feed(&mut self, text: &[u8], now: MonotonicTime) -> Result<(), Stop> {
        let bytes = self.link.feed(text);
        let bytes = bytes.map_err(|_| Stop::Ended)?;
        self.listed.entry().sent(bytes);
        self.machine.handle(now, Input::Sent);
        Ok(())
    }

    fn flush(&mut self, cx: &mut Waking<'_>, now: MonotonicTime) -> Result<bool, Stop> {
        match self.link.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.listed.entry().unblocked();
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(Stop::Ended),
            Poll::Pending => {
                self.listed.entry().blocked(now, self.link.taken());
                Ok(false)
            }
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
                    let scope =
                        &mut Scope::new(&self.acceptor.router, &mut self.machine, *now, answers);
                    self.requests.time_out(slot, scope);
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
