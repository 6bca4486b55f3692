//! The task that owns a client's connection: it writes what is handed over and gives each answer to whoever asked.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bowline_protocol::{
    Closing, Reason,
    error::RpcError,
    methods::name,
    rpc::{Id, Incoming, Notification as Told, Response, Text, parse, write_error},
};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{ClientOptions, Notification, notifications::Inbox};
use crate::{Closed, LineBuffer};

/// Bytes waiting to be written over which nothing more is taken; one line may go over it.
const MAX_OUT: usize = 256 * 1024;
/// Bytes asked for in one read.
const CHUNK: usize = 16 * 1024;
/// How long the peer's last words are waited for once it takes none of ours, and ours once nobody holds the client.
const FAREWELL: Duration = Duration::from_secs(1);

/// A result, unparsed, or the daemon's error.
pub(super) type Answer = Result<Box<RawValue>, RpcError>;
/// A place among the pending requests; a batch shares one of several.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// Whoever waits for one answer.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Given up when the answer has come, not when nobody wants it any more: until then the daemon is at it.
    pub(super) _place: Place,
    /// The first id of its batch, if it is of one.
    pub(super) batch: Option<u64>,
}

/// One text to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// With its end.
    pub(super) line: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
}

/// How a connection ended of which nothing is known.
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
    told: watch::Sender<Option<Closed>>,
    inbox: Option<Inbox>,
    places: Arc<Semaphore>,
    pending: HashMap<u64, Waiter>,
    input: LineBuffer,
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    /// The last error that answered nothing of ours: the daemon's words before it closes.
    said: Option<String>,
    /// Set once nothing more is written: until when the peer's last words are waited for.
    farewell: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Driver<S> {
    pub(super) fn new(
        stream: S,
        incoming: mpsc::Receiver<Outgoing>,
        told: watch::Sender<Option<Closed>>,
        inbox: Option<Inbox>,
        places: Arc<Semaphore>,
        options: &ClientOptions,
    ) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            incoming,
            told,
            inbox,
            places,
            pending: HashMap::new(),
            input: LineBuffer::new(options.max_answer_bytes),
            out: Vec::new(),
            written: 0,
            said: None,
            farewell: None,
        }
    }

    pub(super) async fn run(mut self) {
        let reason = self.serve().await;
        self.tell(reason);
        // Whoever waits for an answer or for a place learns it now (INV-13), after the reason is known.
        self.places.close();
        self.incoming.close();
        while self.incoming.try_recv().is_ok() {}
        self.pending.clear();
        if let (Some(inbox), Some(closed)) = (&self.inbox, &*self.told.borrow()) {
            inbox.close(closed.clone());
        }
        // A peer that does not read must not keep this task.
        let _ = timeout(FAREWELL, self.writer.shutdown()).await;
    }

    /// Serves until the connection ends.
    async fn serve(&mut self) -> Reason {
        let mut chunk = vec![0; CHUNK];
        loop {
            let unwritten = self.out.get(self.written..).unwrap_or_default();
            let takes_more = unwritten.len() < MAX_OUT && self.farewell.is_none();
            let farewell = self.farewell;
            tokio::select! {
                handed = self.incoming.recv(), if takes_more => match handed {
                    Some(outgoing) => self.take(outgoing),
                    None => {
                        // Nobody holds the client any more; what was handed over is still sent.
                        let rest = self.writer.write_all(unwritten);
                        let _ = timeout(FAREWELL, rest).await;
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
                // Without room nothing is taken, but that nobody is left must still be heard.
                () = self.told.closed(), if !takes_more => return Reason::ClosedLocally,
                () = sleep_until(farewell.unwrap_or_else(Instant::now)), if farewell.is_some() => {
                    return Reason::ConnectionLost;
                }
            }
        }
    }

    /// Takes what is handed over, and everything behind it that fits.
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

    /// The peer takes nothing any more; it may have said why, or is about to.
    fn stop_writing(&mut self) {
        (self.out, self.written) = (Vec::new(), 0);
        self.farewell
            .get_or_insert_with(|| Instant::now() + FAREWELL);
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
            // Whatever this is, it is no JSON-RPC.
            Err(_) => return Err(Reason::NotBowline),
        }
        Ok(())
    }

    /// The oldest batch on its way is answered as a whole; else those who wait for its parts would wait in vain.
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
            Incoming::Response(Response { id, outcome }) => {
                let outcome = outcome.map(ToOwned::to_owned);
                match id.as_u64().and_then(|id| self.pending.remove(&id)) {
                    // Its caller may have given up meanwhile.
                    Some(waiter) => drop(waiter.answer.send(outcome)),
                    // Not about any one request: a batch was not taken, or it says why the connection is about to end.
                    None => {
                        if let Err(error) = outcome {
                            self.fail_batch(&error);
                            self.said = Some(error.message);
                        }
                    }
                }
            }
            Incoming::Notification(Told { method, params }) => {
                if method == name::CONNECTION_CLOSING {
                    self.tell(Closing::parse(params.map_or("{}", RawValue::get)).reason);
                    self.stop_writing();
                }
                if let Some(inbox) = &self.inbox {
                    inbox.push(Notification {
                        method: method.into_owned(),
                        params: params.map(ToOwned::to_owned),
                    });
                }
            }
            // Daemons of this version ask nothing. A peer that reads no answers gets none.
            Incoming::Request(request) => {
                if self.out.len() - self.written < MAX_OUT && self.farewell.is_none() {
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

    /// Makes the reason known; the first one stands.
    fn tell(&mut self, reason: Reason) {
        let said = self.said.take();
        self.told.send_if_modified(|told| {
            if told.is_some() {
                return false;
            }
            *told = Some(Closed { reason, said });
            true
        });
    }
}
