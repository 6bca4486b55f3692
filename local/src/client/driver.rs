//! The task that owns a client's connection: writes requests and delivers each answer to its
//! caller.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bowline_protocol::{
    Closing, Reason,
    error::RpcError,
    methods::name,
    rpc::{Id, Incoming, Notification as NotificationText, Response, Text, parse, write_error},
};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{ClientOptions, Notification, notifications::Inbox};
use crate::{Closed, LineBuffer};

/// Bytes queued for writing beyond which no request is taken; the last line may exceed it.
const MAX_OUT: usize = 256 * 1024;
/// Size of one read in bytes.
const CHUNK: usize = 16 * 1024;
/// Time to wait for the peer's last message after it stopped reading, and time to write queued
/// requests after the last handle was dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A result, unparsed, or the daemon's error.
pub(super) type Answer = Result<Box<RawValue>, RpcError>;
/// A permit among the pending requests; the calls of a batch share one permit object.
pub(super) type CallPermit = Arc<OwnedSemaphorePermit>;

/// A caller waiting for one answer.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Released when the answer arrives, not when the caller gives up: until then the daemon may
    /// still process the request.
    pub(super) _permit: CallPermit,
    /// The first id of its batch, if it belongs to one.
    pub(super) batch: Option<u64>,
}

/// One text to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// With its line end.
    pub(super) line: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
}

/// The end of a connection without a known reason.
pub(super) const fn lost() -> Closed {
    Closed {
        reason: Reason::ConnectionLost,
        said: None,
    }
}

pub(super) struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    incoming: mpsc::Receiver<Outgoing>,
    closed: watch::Sender<Option<Closed>>,
    inbox: Option<Inbox>,
    permits: Arc<Semaphore>,
    pending: HashMap<u64, Waiter>,
    input: LineBuffer,
    out: Vec<u8>,
    /// Bytes of `out` already written.
    written: usize,
    /// The last error without a matching request: the daemon's message before it closes.
    said: Option<String>,
    /// Deadline for the peer's last message, set once writing has stopped.
    close_deadline: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Driver<S> {
    pub(super) fn new(
        stream: S,
        incoming: mpsc::Receiver<Outgoing>,
        closed: watch::Sender<Option<Closed>>,
        inbox: Option<Inbox>,
        permits: Arc<Semaphore>,
        options: &ClientOptions,
    ) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            incoming,
            closed,
            inbox,
            permits,
            pending: HashMap::new(),
            input: LineBuffer::new(options.max_answer_bytes),
            out: Vec::new(),
            written: 0,
            said: None,
            close_deadline: None,
        }
    }

    pub(super) async fn run(mut self) {
        let reason = self.serve().await;
        self.publish(reason);
        // The reason is published first; then every caller waiting for an answer or a permit fails
        // (INV-13).
        self.permits.close();
        self.incoming.close();
        while self.incoming.try_recv().is_ok() {}
        self.pending.clear();
        if let (Some(inbox), Some(closed)) = (&self.inbox, &*self.closed.borrow()) {
            inbox.close(closed.clone());
        }
        // Bounded, so that a peer that does not read cannot keep this task alive.
        let _ = timeout(CLOSE_GRACE, self.writer.shutdown()).await;
    }

    /// Serves until the connection ends.
    async fn serve(&mut self) -> Reason {
        let mut chunk = vec![0; CHUNK];
        loop {
            let unwritten = self.out.get(self.written..).unwrap_or_default();
            let takes_more = unwritten.len() < MAX_OUT && self.close_deadline.is_none();
            let close_deadline = self.close_deadline;
            tokio::select! {
                handed = self.incoming.recv(), if takes_more => match handed {
                    Some(outgoing) => self.take(outgoing),
                    None => {
                        // The last handle was dropped; requests already taken are still written.
                        let rest = self.writer.write_all(unwritten);
                        let _ = timeout(CLOSE_GRACE, rest).await;
                        return Reason::ClosedLocally;
                    }
                },
                written = self.writer.write(unwritten), if !unwritten.is_empty() => match written {
                    Ok(written) if written > 0 => self.wrote(written),
                    _ => self.stop_writing(),
                },
                read = self.reader.read(&mut chunk) => match read {
                    Ok(0) | Err(_) => return Reason::ConnectionLost,
                    Ok(read) => {
                        self.input.push(chunk.get(..read).unwrap_or_default());
                        if let Err(reason) = self.read_lines() {
                            return reason;
                        }
                    }
                },
                // While the buffer is full no request is taken, but dropped handles are still
                // noticed.
                () = self.closed.closed(), if !takes_more => return Reason::ClosedLocally,
                () = sleep_until(close_deadline.unwrap_or_else(Instant::now)), if close_deadline.is_some() => {
                    return Reason::ConnectionLost;
                }
            }
        }
    }

    /// Takes a request, and all queued ones that fit.
    fn take(&mut self, mut outgoing: Outgoing) {
        loop {
            self.out.extend_from_slice(&outgoing.line);
            for waiter in outgoing.waiters {
                self.pending.insert(waiter.id, waiter);
            }
            if self.out.len() - self.written >= MAX_OUT {
                return;
            }
            match self.incoming.try_recv() {
                Ok(next) => outgoing = next,
                Err(_) => return,
            }
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= self.out.len() {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(CHUNK);
        } else if self.written >= MAX_OUT {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Stops writing: the peer reads no more, but may have sent a reason or be about to.
    fn stop_writing(&mut self) {
        (self.out, self.written) = (Vec::new(), 0);
        self.close_deadline
            .get_or_insert_with(|| Instant::now() + CLOSE_GRACE);
    }

    fn read_lines(&mut self) -> Result<(), Reason> {
        let mut input = std::mem::replace(&mut self.input, LineBuffer::new(0));
        let outcome = loop {
            match input.next_line() {
                Ok(Some(line)) => {
                    if let Err(reason) = self.read_line(line) {
                        break Err(reason);
                    }
                }
                Ok(None) => break Ok(()),
                Err(_) => break Err(Reason::MessageTooLarge),
            }
        };
        self.input = input;
        outcome
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), Reason> {
        match parse(line) {
            Ok(Text::Single(incoming)) => self.heard(incoming),
            Ok(Text::Batch(items)) => items.into_iter().for_each(|item| self.heard(item)),
            // The text is not JSON-RPC.
            Err(_) => return Err(Reason::NotBowline),
        }
        Ok(())
    }

    /// Fails the oldest pending batch as a whole; otherwise its callers would wait until their
    /// timeouts.
    fn fail_batch(&mut self, error: &RpcError) {
        let waiting = self.pending.values();
        let Some(oldest) = waiting.filter_map(|waiter| waiter.batch).min() else {
            return;
        };
        let of_batch = |_: &u64, waiter: &mut Waiter| waiter.batch == Some(oldest);
        for (_, waiter) in self.pending.extract_if(of_batch) {
            let _ = waiter.answer.send(Err(error.clone()));
        }
    }

    fn heard(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Response(Response { id, outcome, .. }) => {
                let outcome = outcome.map(ToOwned::to_owned);
                match id.as_u64().and_then(|id| self.pending.remove(&id)) {
                    // The caller may have given up.
                    Some(waiter) => drop(waiter.answer.send(outcome)),
                    // Without an id it concerns no single request: a batch was rejected, or it
                    // explains the coming end of the connection.
                    None => {
                        if let Err(error) = outcome {
                            self.fail_batch(&error);
                            self.said = Some(error.message);
                        }
                    }
                }
            }
            Incoming::Notification(NotificationText { method, params }) => {
                if method == name::CONNECTION_CLOSING {
                    self.publish(Closing::parse(params.map_or("{}", RawValue::get)).reason);
                    self.stop_writing();
                }
                if let Some(inbox) = &self.inbox {
                    inbox.push(Notification {
                        method: method.into_owned(),
                        params: params.map(ToOwned::to_owned),
                    });
                }
            }
            // Daemons of this version send no requests. A peer that does not read gets no answers.
            Incoming::Request(request) => {
                if self.out.len() - self.written < MAX_OUT && self.close_deadline.is_none() {
                    let error = RpcError::method_not_found(&request.method);
                    self.answer(&request.id, &error);
                }
            }
            Incoming::Invalid { .. } => {}
        }
    }

    fn answer(&mut self, id: &Id<'_>, error: &RpcError) {
        write_error(&mut self.out, id, error);
        self.out.push(b'\n');
    }

    /// Publishes the reason; the first one is kept.
    fn publish(&mut self, reason: Reason) {
        let said = self.said.take();
        self.closed.send_if_modified(|closed| {
            if closed.is_some() {
                return false;
            }
            *closed = Some(Closed { reason, said });
            true
        });
    }
}
