//! The driver of one open connection: it polls, feeds the machine, does what the machine says, and decides nothing.
//!
//! One turn takes everything that is waiting (texts, finished answers, queued events) and ends with one flush. While
//! the socket takes no bytes nothing more is read, so a client that does not read its answers stops being asked
//! for questions. Working buffers belong to the thread: a quiet connection holds none.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bowline_machines::{
    Moment,
    connection::{Connection, Effect, Input},
};
use bowline_protocol::Reason;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{
    Environment, Listed,
    answers::Answers,
    link::{Heard, Link},
    requests::{Desk, Requests},
};
use crate::{ledger::Attachment, observe, outbound::Frame, service::Context};

/// Texts taken in one turn before other connections have theirs.
const TURN: usize = 128;
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
    /// Hash of the session key, for the log.
    pub(super) session: String,
}

/// An open connection.
pub(super) struct Driver<L> {
    environment: Arc<Environment>,
    link: L,
    listed: Listed,
    machine: Connection,
    context: Context,
    attachment: Option<Attachment>,
    session: String,
    requests: Requests,
    /// Frames to be written before anything else: the replay first, then what was queued.
    frames: VecDeque<Frame>,
    /// Answers that the socket had no room for.
    late: VecDeque<Vec<u8>>,
    /// Why the queue was closed; acted upon once what came before it is written.
    closing: Option<Reason>,
    timer: Option<Pin<Box<Sleep>>>,
    reading: bool,
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
        Self {
            environment,
            link: opened.link,
            listed: opened.listed,
            machine: opened.machine,
            context: opened.context,
            attachment: opened.attachment,
            session: opened.session,
            requests: Requests::default(),
            frames: opened.replay.into(),
            late: VecDeque::new(),
            closing: None,
            timer: None,
            reading: true,
        }
    }

    /// Runs the connection to its end. `first` is a text that came with the handshake.
    pub(super) async fn run(mut self: Box<Self>, first: Vec<u8>) {
        if !first.is_empty() {
            self.take_first(&first);
        }
        drop(first);
        let close = poll_fn(|cx| self.poll_turn(cx)).await;
        // From here on the session counts this connection as gone, however long its socket takes to end.
        self.attachment = None;
        self.requests = Requests::default();
        self.frames = VecDeque::new();
        if let Some(reason) = close {
            let now = self.environment.clock.now();
            let allowance = self.machine.poll_timeout().map(|at| at.since(now));
            // Boxed, so that its buffers are not part of every connection's task from the beginning.
            let close = Box::pin(self.link.close(reason));
            let closed = timeout(allowance.unwrap_or_default(), close).await;
            let now = self.environment.clock.now();
            match closed {
                Ok(()) => self.machine.handle(now, Input::PeerClosed { reason }),
                Err(_) => self.machine.handle_timeout(now),
            }
        }
        self.log();
    }

    fn take_first(&mut self, first: &[u8]) {
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
        self.late
            .extend(scratch.answers.texts().map(<[u8]>::to_vec));
        scratch.give_back();
    }

    /// One turn. Ready with the reason to close with, or with nothing when there is nobody left to tell.
    fn poll_turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Reason>> {
        let mut scratch = Scratch::take();
        let now = self.environment.clock.now();
        let turned = self.turn(cx, now, &mut scratch);
        scratch.give_back();
        if let Err(Stop::Ended) = turned {
            let reason = Reason::ConnectionLost;
            self.machine.handle(now, Input::PeerClosed { reason });
        }
        let end = self.end();
        self.listed.entry().note(
            self.machine.state(),
            self.machine.requests(),
            self.machine.pending(),
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
        self.finish_requests(cx, now, scratch);
        // Events made before an answer go out before it: its `seq` counts them.
        room = room && self.write_queued(cx, now, scratch)?;
        if room {
            room = self.write_answers(cx, now, scratch)?;
        } else {
            self.late
                .extend(scratch.answers.texts().map(<[u8]>::to_vec));
            scratch.answers.clear(KEEP);
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
            Heard::HalfClosed => self.reading = false,
            Heard::Gone => return Err(Stop::Ended),
            Heard::Broken(reason) => {
                self.machine.handle(now, Input::Close { reason });
                return Err(Stop::Closing);
            }
        }
        Ok(true)
    }

    fn finish_requests(&mut self, cx: &mut TaskContext<'_>, now: Moment, scratch: &mut Scratch) {
        if self.requests.is_empty() {
            return;
        }
        let mut desk = Desk {
            router: &self.environment.router,
            context: &self.context,
            machine: &mut self.machine,
            now,
            answers: &mut scratch.answers,
        };
        self.requests.poll_finished(cx, &mut desk);
    }

    /// Writes answers as far as there is room; the rest is kept, in order. Whether there is room for more.
    fn write_answers(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
        if scratch.answers.is_empty() {
            return Ok(self.late.is_empty());
        }
        let Scratch { seal, answers, .. } = scratch;
        for text in answers.texts() {
            if self.late.is_empty() && self.room(cx, now)? {
                self.feed(text, seal)?;
            } else {
                self.late.push_back(text.to_vec());
            }
        }
        answers.clear(KEEP);
        Ok(self.late.is_empty())
    }

    /// Writes what an earlier turn had no room for: the replay, queued frames, then answers.
    fn write_late(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<bool, Stop> {
        while let Some(frame) = self.frames.front() {
            let frame = frame.clone();
            if !self.room(cx, now)? {
                return Ok(false);
            }
            self.feed(&frame, &mut scratch.seal)?;
            self.frames.pop_front();
        }
        while !self.late.is_empty() {
            if !self.room(cx, now)? {
                return Ok(false);
            }
            if let Some(text) = self.late.pop_front() {
                self.feed(&text, &mut scratch.seal)?;
            }
        }
        // A replay or a burst must not leave its high-water mark with an idle connection.
        if self.frames.capacity() > 0 {
            self.frames = VecDeque::new();
        }
        if self.late.capacity() > 0 {
            self.late = VecDeque::new();
        }
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
            self.frames.extend(scratch.frames.drain(..));
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
                self.listed.entry().blocked(now, true);
                Ok(false)
            }
        }
    }

    fn feed(&mut self, text: &[u8], seal: &mut Vec<u8>) -> Result<(), Stop> {
        let bytes = self.link.feed(text, seal);
        let bytes = bytes.map_err(|_| Stop::Ended)?;
        self.listed.entry().sent(bytes);
        Ok(())
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>, now: Moment) -> Result<bool, Stop> {
        match self.link.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.listed.entry().blocked(now, false);
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(Stop::Ended),
            Poll::Pending => {
                self.listed.entry().blocked(now, true);
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
            self.late
                .extend(scratch.answers.texts().map(<[u8]>::to_vec));
            scratch.give_back();
        }
        self.log();
        end
    }

    /// Keeps one timer for the machine's next deadline. A deadline that moves later, or goes, leaves the timer as
    /// it is: it fires early and looks again, which is cheaper than setting it for every request.
    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Reason>> {
        loop {
            let now = self.environment.clock.now();
            let Some(due) = self.machine.poll_timeout() else {
                if self.timer.as_ref().is_some_and(|timer| timer.is_elapsed()) {
                    self.timer = None;
                }
                return Poll::Pending;
            };
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
            if !self.late.is_empty() {
                // Requests were answered with `timeout`: another turn writes that.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn log(&mut self) {
        while let Some(transition) = self.machine.poll_transition() {
            let server = self.environment.identity.server_id();
            observe::transition(server, &self.session, &transition);
        }
    }
}
