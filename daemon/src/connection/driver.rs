//! The driver of one open connection: it polls, feeds the machine, does what the machine says, and decides nothing.
//!
//! One turn takes everything that is waiting (texts, finished answers, queued events) and ends with one flush. While
//! the socket takes no bytes nothing more is read, so a client that does not read its answers stops being asked
//! for questions. Working buffers belong to the thread: a quiet connection holds none.

use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bowline_machines::{
    Moment,
    connection::{Connection, Effect, Input, State},
};
use bowline_protocol::Reason;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    Environment, Listed,
    answers::Answers,
    backlog::Backlog,
    link::{Heard, Link},
    requests::{Desk, Requests},
};
use crate::{
    ledger::Attachment,
    observe,
    outbound::{Frame, OUTBOUND_BYTES},
    service::Context,
};

/// Texts taken in one turn before other connections have theirs.
const TURN: usize = 128;
/// Bytes of answers to wait for the socket, over which no more requests are finished: they are as bounded as the
/// queue of events. One answer may go over it.
const MAX_ANSWERS: usize = OUTBOUND_BYTES;
/// Bytes a thread's working buffers keep between turns.
const KEEP: usize = 64 * 1024;

/// Working buffers of a turn.
#[derive(Default)]
struct Scratch {
    text: Vec<u8>,
    seal: Vec<u8>,
    answers: Answers,
    frames: Vec<Frame>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Takes the thread's buffers; a turn within a turn would find them empty, not shared.
    fn take() -> Self {
        SCRATCH.with(|scratch| scratch.take())
    }

    fn give_back(mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.seal.clear();
        self.seal.shrink_to(KEEP);
        self.answers.clear(KEEP);
        self.frames.clear();
        self.frames.shrink_to(KEEP / 64);
        SCRATCH.with(|scratch| scratch.replace(self));
    }
}

/// What a connection begins with, after its handshake.
pub(super) struct Opened<L> {
    pub(super) link: L,
    pub(super) listed: Listed,
    pub(super) machine: Connection,
    pub(super) context: Context,
    pub(super) attachment: Option<Attachment>,
    pub(super) replay: Vec<Frame>,
    /// Hash of the session key, for the log; `None` on the local socket.
    pub(super) session: Option<Box<str>>,
    /// Its place among those that may be open; `None` where somebody else keeps it.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// An open connection.
pub(super) struct Driver<L> {
    environment: Arc<Environment>,
    link: L,
    listed: Listed,
    machine: Connection,
    context: Context,
    attachment: Option<Attachment>,
    session: Option<Box<str>>,
    requests: Requests,
    /// To be written before anything else.
    backlog: Backlog,
    /// Why the queue was closed; acted upon once what came before it is written.
    closing: Option<Reason>,
    timer: Option<Pin<Box<Sleep>>>,
    reading: bool,
    /// Given up last.
    _place: Option<OwnedSemaphorePermit>,
}

/// Why a turn ended early.
enum Stop {
    /// The socket ended.
    Ended,
    /// The machine was told to close.
    Closing,
}

impl<L: Link> Driver<L> {
    pub(super) fn new(environment: Arc<Environment>, opened: Opened<L>) -> Self {
        let mut backlog = Backlog::default();
        backlog.add_frames(opened.replay.into_iter());
        Self {
            environment,
            link: opened.link,
            listed: opened.listed,
            machine: opened.machine,
            context: opened.context,
            attachment: opened.attachment,
            session: opened.session,
            requests: Requests::default(),
            backlog,
            closing: None,
            timer: None,
            reading: true,
            _place: opened.place,
        }
    }

    /// Ends the connection: with words for the peer if there is a reason to tell it.
    pub(super) async fn finish(mut self: Box<Self>, close: Option<Reason>) {
        // From here on the session counts this connection as gone, however long its socket takes to end.
        self.attachment = None;
        self.requests = Requests::default();
        self.backlog.clear();
        if let Some(reason) = close {
            let now = self.environment.clock.now();
            let allowance = self.machine.poll_timeout().map(|at| at.since(now));
            let closed = timeout(allowance.unwrap_or_default(), self.link.close(reason)).await;
            let now = self.environment.clock.now();
            match closed {
                Ok(()) => self.machine.handle(now, Input::PeerClosed { reason }),
                Err(_) => self.machine.handle_timeout(now),
            }
        }
        self.log();
    }

    /// Takes a text that came with the handshake.
    pub(super) fn take_first(&mut self, first: &[u8]) {
        let mut scratch = Scratch::take();
        let now = self.environment.clock.now();
        let mut desk = Desk {
            router: &self.environment.router,
            context: &self.context,
            machine: &mut self.machine,
            now,
            answers: &mut scratch.answers,
        };
        self.requests.take(first, &mut desk);
        self.keep_answers(&scratch.answers);
        scratch.give_back();
    }

    fn keep_answers(&mut self, answers: &Answers) {
        for text in answers.texts() {
            self.backlog.add_answer(text);
        }
    }

    /// One turn. Ready with the reason to close with, or with nothing when there is nobody left to tell.
    pub(super) fn poll_turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Reason>> {
        let mut scratch = Scratch::take();
        let now = self.environment.clock.now();
        let turned = self.turn(cx, now, &mut scratch);
        scratch.give_back();
        if let Err(Stop::Ended) = turned {
            let reason = Reason::ConnectionLost;
            self.machine.handle(now, Input::PeerClosed { reason });
        }
        let end = self.end();
        self.machine.give_back();
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

    fn turn(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<(), Stop> {
        if !self.reading && self.link.is_peer_gone() {
            return Err(Stop::Ended);
        }
        let mut room = self.write_late(cx, now, scratch)?;
        let mut budget = TURN;
        while room && self.reading && self.closing.is_none() {
            if budget == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            budget -= 1;
            if !self.read_one(cx, now, scratch)? {
                break;
            }
            room = self.write_answers(cx, now, scratch)?;
        }
        if let (Some(seq), Some(attachment)) = (self.requests.take_ack(), &self.attachment) {
            attachment.ack(seq);
        }
        let finished = self.finish_requests(cx, now, scratch);
        // Events made before an answer go out before it: its `seq` counts them.
        room = room && self.write_queued(cx, now, scratch)?;
        if room {
            room = self.write_answers(cx, now, scratch)?;
        } else {
            self.keep_answers(&scratch.answers);
            scratch.answers.clear(KEEP);
        }
        if room && !finished {
            // Without room, the turn that finds some goes on.
            cx.waker().wake_by_ref();
        }
        let flushed = self.flush(cx, now)?;
        if !room && self.closing.is_none() {
            // Without room the queue is not drained, but its end must still be heard.
            if let Poll::Ready(reason) = self.listed.entry().outbound().poll_closed(cx) {
                self.closing = Some(reason);
            }
        }
        match self.closing {
            Some(Reason::SlowConsumer) => self.machine.handle(now, Input::OutboundOverflow),
            Some(reason) => self.machine.handle(now, Input::Close { reason }),
            // It has read all it asked for, and asks for no more.
            None if !self.reading && self.requests.is_empty() && room && flushed => {
                return Err(Stop::Ended);
            }
            None => {}
        }
        Ok(())
    }

    /// Reads one text; `false` when none is waiting.
    fn read_one(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
        let (heard, bytes) = match self.link.poll_text(cx, &mut scratch.text) {
            Poll::Ready(heard) => heard,
            Poll::Pending => return Ok(false),
        };
        self.listed.entry().heard(now, bytes);
        self.machine.handle(now, Input::Received);
        match heard {
            Heard::Text(text) => {
                let mut desk = Desk {
                    router: &self.environment.router,
                    context: &self.context,
                    machine: &mut self.machine,
                    now,
                    answers: &mut scratch.answers,
                };
                self.requests.take(text, &mut desk);
            }
            Heard::More => {}
            Heard::HalfClosed => {
                self.reading = false;
                // What was asked last begins in this turn; the next one looks whether anybody waits for it.
                cx.waker().wake_by_ref();
            }
            Heard::Gone => return Err(Stop::Ended),
            Heard::Broken(reason) => {
                self.machine.handle(now, Input::Close { reason });
                return Err(Stop::Closing);
            }
        }
        Ok(true)
    }

    /// Finishes requests as far as their answers may wait; whether none had to be put off.
    fn finish_requests(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> bool {
        if self.requests.is_empty() {
            return true;
        }
        let most = MAX_ANSWERS.saturating_sub(self.backlog.answer_bytes());
        let mut desk = Desk {
            router: &self.environment.router,
            context: &self.context,
            machine: &mut self.machine,
            now,
            answers: &mut scratch.answers,
        };
        self.requests.poll_finished(cx, &mut desk, most)
    }

    /// Writes answers as far as there is room; the rest is kept, in order. Whether there is room for more.
    fn write_answers(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
        if scratch.answers.is_empty() {
            return Ok(!self.backlog.has_answers());
        }
        let Scratch { seal, answers, .. } = scratch;
        for text in answers.texts() {
            if !self.backlog.has_answers() && self.room(cx, now)? {
                self.feed(text, now, seal)?;
            } else {
                self.backlog.add_answer(text);
            }
        }
        answers.clear(KEEP);
        Ok(!self.backlog.has_answers())
    }

    /// Writes what an earlier turn had no room for: the replay, queued frames, then answers.
    fn write_late(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
        while let Some(frame) = self.backlog.frame() {
            if !self.room(cx, now)? {
                return Ok(false);
            }
            self.feed(&frame, now, &mut scratch.seal)?;
            self.backlog.frame_written();
        }
        while self.backlog.has_answers() {
            if !self.room(cx, now)? {
                return Ok(false);
            }
            if let Some(text) = self.backlog.take_answer() {
                self.feed(&text, now, &mut scratch.seal)?;
            }
        }
        self.backlog.clear();
        self.room(cx, now)
    }

    /// Writes queued frames until the queue is empty or there is no more room. Waits on the queue when it is empty.
    fn write_queued(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
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
            if !self.write_late(cx, now, scratch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn room(&mut self, cx: &mut TaskContext<'_>, now: Moment) -> Result<bool, Stop> {
        match self.link.poll_ready(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Stop::Ended),
            Poll::Pending => {
                self.listed.entry().blocked(now, self.link.taken());
                Ok(false)
            }
        }
    }

    fn feed(&mut self, text: &[u8], now: Moment, seal: &mut Vec<u8>) -> Result<(), Stop> {
        let bytes = self.link.feed(text, seal);
        let bytes = bytes.map_err(|_| Stop::Ended)?;
        self.listed.entry().sent(bytes);
        self.machine.handle(now, Input::Sent);
        Ok(())
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>, now: Moment) -> Result<bool, Stop> {
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

    /// Does what the machine says; tells how the connection ends once it does.
    fn end(&mut self) -> Option<Option<Reason>> {
        let mut end = None;
        let mut scratch = None;
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::BeginClose { reason } => end = Some(Some(reason)),
                Effect::Terminate { .. } => end = Some(None),
                Effect::RequestTimedOut { slot } => {
                    let scratch = scratch.get_or_insert_with(Scratch::take);
                    let mut desk = Desk {
                        router: &self.environment.router,
                        context: &self.context,
                        now: self.environment.clock.now(),
                        machine: &mut self.machine,
                        answers: &mut scratch.answers,
                    };
                    self.requests.time_out(slot, &mut desk);
                }
            }
        }
        if let Some(scratch) = scratch {
            self.keep_answers(&scratch.answers);
            scratch.give_back();
        }
        self.log();
        end
    }

    /// Keeps one timer for the machine's next deadline. A deadline that moves later, or goes, leaves the timer as
    /// it is: it fires early and looks again, which is cheaper than setting it for every request. A quiet connection
    /// needs none: the sweep wakes it when it has been idle for too long.
    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Reason>> {
        loop {
            let now = self.environment.clock.now();
            let due = self.machine.poll_timeout();
            let quiet = matches!(self.machine.state(), State::Active | State::Idle { .. });
            // Nobody says when a peer that sends no more goes away as well: the sweep has us look.
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
            self.machine.handle_timeout(self.environment.clock.now());
            if let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            if self.backlog.has_answers() {
                // Requests were answered with `timeout`: another turn writes that.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn log(&mut self) {
        while let Some(transition) = self.machine.poll_transition() {
            let server = self.environment.identity.server_id();
            let session = self.session.as_deref().unwrap_or("local");
            observe::transition(server, session, &transition);
        }
    }
}
