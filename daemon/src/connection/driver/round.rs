//! One round of a connection: everything that came is read, and what is due is written.

use std::{
    cell::RefCell,
    future::Future,
    pin::pin,
    task::{Context as Waking, Poll},
};

use bowline_machines::{MonotonicTime, daemon::connection::Input};
use bowline_protocol::Reason;

use super::Driver;
use crate::{
    connection::{
        answers::Answers,
        link::{TextChannel, TextEvent},
        requests::Serving,
    },
    outbound::{Frame, OUTBOUND_BYTES},
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
pub(super) struct Scratch {
    pub(super) now: MonotonicTime,
    text: Vec<u8>,
    pub(super) answers: Answers,
    frames: Vec<Frame>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Takes the thread's buffers; a nested round would get empty ones.
    pub(super) fn take(now: MonotonicTime) -> Self {
        Self {
            now,
            ..SCRATCH.take()
        }
    }

    /// Gives the buffers back to the thread.
    pub(super) fn trim(mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.answers.clear(KEEP);
        self.frames.clear();
        self.frames.shrink_to(KEEP / 64);
        SCRATCH.set(self);
    }
}

/// Why a round ended early.
pub(super) enum Stop {
    /// The socket closed.
    Ended,
    /// The machine requested the close.
    Closing,
}

impl<L: TextChannel> Driver<L> {
    /// Runs a round.
    pub(super) fn round(&mut self, cx: &mut Waking<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
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
                let serving =
                    &mut Serving::new(&self.acceptor.router, &mut self.machine, now, answers);
                self.requests.take(text, serving);
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
        let serving = &mut Serving::new(
            &self.acceptor.router,
            &mut self.machine,
            scratch.now,
            &mut scratch.answers,
        );
        self.requests.poll_finished(cx, serving, most)
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

    /// Keeps responses until the socket takes them.
    pub(super) fn keep_answers(&mut self, answers: &Answers) {
        for text in answers.texts() {
            self.backlog.add_answer(text);
        }
    }
}
