//! A WebSocket as a source of messages of one kind.

use std::task::{Context, Poll};

use bowline_machines::relay::session::Ending;
use bowline_protocol::Reason;

use crate::{
    socket::{Lost, Socket},
    websocket::{
        NORMAL,
        frame::{Masked, Opcode},
        reader::{Incoming, Reader},
        write_pong,
    },
};

/// A socket and the reader of its messages.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) socket: Box<Socket>,
    reader: Reader,
    /// The only kind of message that the peer may send.
    kind: Opcode,
}

impl Messages {
    /// Messages of one kind, of at most `max` bytes.
    pub(crate) const fn new(socket: Box<Socket>, kind: Opcode, max: usize) -> Self {
        Self {
            socket,
            reader: Reader::new(max),
            kind,
        }
    }

    /// Bytes of unfinished messages.
    pub(crate) fn held(&self) -> usize {
        self.reader.held()
    }

    /// Reads once, passes every message to `take` and answers pings. Pending: there was nothing to
    /// read.
    ///
    /// # Errors
    /// How the socket ended, or must end.
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        mut take: impl FnMut(&mut Context<'_>, Masked<'_>) -> Result<(), Ending>,
    ) -> Poll<Result<(), Ending>> {
        let mut input: &[u8] = match self.socket.poll_read(cx, input) {
            Poll::Pending => {
                self.reader.rest();
                return Poll::Pending;
            }
            Poll::Ready(Err(Lost)) => return Poll::Ready(Err(Ending::Lost)),
            Poll::Ready(Ok(read)) => input.get(..read).unwrap_or_default(),
        };
        let mut pongs = Vec::new();
        let read = loop {
            let taken = match self.reader.next(&mut input) {
                Ok(Some(Incoming::Message(kind, payload))) if kind == self.kind => {
                    take(cx, payload)
                }
                Ok(Some(Incoming::Message(..))) => Err(Reason::BadRequest.into()),
                Ok(Some(Incoming::Ping(payload))) => {
                    write_pong(&mut pongs, payload);
                    Ok(())
                }
                Ok(Some(Incoming::Pong)) => Ok(()),
                Ok(Some(Incoming::Close(code))) => Err(Ending::ByPeer(code.unwrap_or(NORMAL))),
                Ok(None) => break Ok(()),
                Err(violation) => Err(violation.reason().into()),
            };
            if taken.is_err() {
                break taken;
            }
        };
        let answered = self.socket.answer(cx, &pongs);
        Poll::Ready(read.and(answered.map_err(|Lost| Ending::Lost)))
    }
}
