//! The two kinds of socket that a session joins: clients' lanes and the daemon's data socket.

use std::task::{Context, Poll};

use bowline_protocol::{
    Reason,
    relay::{
        CloseText, Lane, LaneHeader, LaneKind,
        limits::{MAX_CLIENT_MESSAGE, MAX_DATA_MESSAGE, QUEUE_BYTES},
    },
};

use crate::{
    registry::Member,
    socket::{Lost, Socket},
    websocket::{
        frame::{Masked, Opcode},
        may_be_sent,
        reader::{Incoming, Reader},
        write_binary, write_message, write_pong,
    },
};

/// Close code of a client socket that ended without saying so, RFC 6455 §7.1.5.
pub(super) const ABNORMAL: u16 = 1006;
/// Close code of a client socket that gave none, and of a session that is simply over.
pub(super) const NORMAL: u16 = 1000;

/// How a lane ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client closed its socket.
    ByClient(u16),
    /// The socket is gone without a word.
    Lost,
    /// The daemon asked for it.
    ByDaemon(u16),
    /// The relay's own decision.
    ByRelay(Reason),
}

/// What a read of a socket came to.
#[derive(Debug, Default)]
pub(super) struct Haul {
    /// Messages passed on …
    pub(super) messages: u64,
    /// … and their bytes.
    pub(super) bytes: u64,
}

/// One client socket.
#[derive(Debug)]
pub(super) struct LanePeer {
    pub(super) lane: Lane,
    pub(super) socket: Box<Socket>,
    reader: Reader,
    /// Frames for a data socket that is not there yet.
    pub(super) held: Vec<u8>,
    /// The turn of the session in which it was last heard; tells who has been silent longest.
    pub(super) heard: u64,
    pub(super) ending: Option<Ending>,
    _member: Member,
}

impl LanePeer {
    pub(super) fn new(lane: Lane, socket: Box<Socket>, member: Member, heard: u64) -> Self {
        Self {
            lane,
            socket,
            reader: Reader::new(MAX_CLIENT_MESSAGE),
            held: Vec::new(),
            heard,
            ending: None,
            _member: member,
        }
    }

    /// Bytes held for a data socket that is not there yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len() + self.reader.held()
    }

    /// Appends the frame that says so much of this lane and no more.
    pub(super) fn write_open(&self, out: &mut Vec<u8>) {
        let header = LaneHeader {
            kind: LaneKind::Open,
            lane: self.lane,
        };
        write_message(out, Opcode::Binary, &header.to_bytes());
    }

    /// Appends the frame that tells the daemon of the lane's end.
    pub(super) fn write_close(&self, out: &mut Vec<u8>, code: u16) {
        let header = LaneHeader {
            kind: LaneKind::Close,
            lane: self.lane,
        };
        let [a, b] = code.to_be_bytes();
        let [k, l0, l1, l2, l3] = header.to_bytes();
        write_message(out, Opcode::Binary, &[k, l0, l1, l2, l3, a, b]);
    }

    /// Reads once; messages become lane frames in `out`. `None`: there was nothing to read.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Option<Haul> {
        let mut input: &[u8] = match self.socket.poll_read(cx, input) {
            Poll::Pending => {
                self.reader.rest();
                return None;
            }
            Poll::Ready(Err(Lost)) => {
                self.ending = Some(Ending::Lost);
                return Some(Haul::default());
            }
            Poll::Ready(Ok(read)) => input.get(..read).unwrap_or_default(),
        };
        let header = LaneHeader {
            kind: LaneKind::Data,
            lane: self.lane,
        };
        let mut haul = Haul::default();
        let mut pongs = Vec::new();
        while self.ending.is_none() {
            match self.reader.next(&mut input) {
                Ok(Some(Incoming::Binary(payload))) => {
                    haul.messages += 1;
                    haul.bytes += payload.len() as u64;
                    write_binary(out, &header.to_bytes(), payload);
                }
                Ok(Some(Incoming::Ping(payload))) => write_pong(&mut pongs, payload),
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close(code))) => {
                    self.ending = Some(Ending::ByClient(code.unwrap_or(NORMAL)));
                }
                Ok(Some(Incoming::Text(_))) => {
                    self.ending = Some(Ending::ByRelay(Reason::BadRequest));
                }
                Err(violation) => self.ending = Some(Ending::ByRelay(violation.reason())),
                Ok(None) => break,
            }
        }
        self.answer(cx, &pongs);
        Some(haul)
    }

    /// Answers pings, unless the client does not read its answers.
    fn answer(&mut self, cx: &mut Context<'_>, pongs: &[u8]) {
        if !pongs.is_empty() && self.socket.queued() <= QUEUE_BYTES {
            self.send(cx, pongs);
        }
    }

    /// Sends bytes to the client.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        if self.socket.send(cx, bytes).is_err() {
            self.ending.get_or_insert(Ending::Lost);
        }
    }

    /// Writes what waits; whether anything moved.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        if self.socket.is_clear() {
            return false;
        }
        let before = self.socket.queued();
        let flushed = self.socket.poll_flush(cx);
        if flushed == Poll::Ready(Err(Lost)) {
            self.ending.get_or_insert(Ending::Lost);
        }
        flushed.is_ready() || self.socket.queued() < before
    }

    /// Whether so much waits for it that the data socket must wait too.
    pub(super) fn is_full(&self) -> bool {
        self.socket.queued() > QUEUE_BYTES
    }
}

/// The daemon's data socket.
#[derive(Debug)]
pub(super) struct DataPeer {
    pub(super) socket: Box<Socket>,
    reader: Reader,
    /// It is gone; `Some` says what it is told, if there is anybody to tell.
    pub(super) ending: Option<Ending>,
}

/// What the daemon says about a lane, for the session to carry out.
pub(super) trait Lanes {
    /// A message for a lane.
    fn deliver(&mut self, cx: &mut Context<'_>, lane: Lane, payload: Masked<'_>);
    /// A lane is to be closed.
    fn close(&mut self, cx: &mut Context<'_>, lane: Lane, code: u16);
}

impl DataPeer {
    pub(super) const fn new(socket: Box<Socket>) -> Self {
        Self {
            socket,
            reader: Reader::new(MAX_DATA_MESSAGE),
            ending: None,
        }
    }

    /// Sends lane frames to the daemon.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        if !bytes.is_empty() && self.socket.send(cx, bytes).is_err() {
            self.ending.get_or_insert(Ending::Lost);
        }
    }

    /// Writes what waits; whether anything moved.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        if self.socket.is_clear() {
            return false;
        }
        let before = self.socket.queued();
        let flushed = self.socket.poll_flush(cx);
        if flushed == Poll::Ready(Err(Lost)) {
            self.ending.get_or_insert(Ending::Lost);
        }
        flushed.is_ready() || self.socket.queued() < before
    }

    /// Reads once and hands every frame to `lanes`; whether there was anything to read.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        lanes: &mut impl Lanes,
    ) -> bool {
        let mut input: &[u8] = match self.socket.poll_read(cx, input) {
            Poll::Pending => {
                self.reader.rest();
                return false;
            }
            Poll::Ready(Err(Lost)) => {
                self.ending = Some(Ending::Lost);
                return true;
            }
            Poll::Ready(Ok(read)) => input.get(..read).unwrap_or_default(),
        };
        let mut pongs = Vec::new();
        while self.ending.is_none() {
            self.ending = match self.reader.next(&mut input) {
                Ok(Some(Incoming::Binary(message))) => frame(cx, message, lanes).err(),
                Ok(Some(Incoming::Ping(payload))) => {
                    write_pong(&mut pongs, payload);
                    None
                }
                Ok(Some(Incoming::Pong)) => None,
                Ok(Some(Incoming::Close(code))) => Some(Ending::ByClient(code.unwrap_or(NORMAL))),
                Ok(Some(Incoming::Text(_))) => Some(Ending::ByRelay(Reason::BadRequest)),
                Err(violation) => Some(Ending::ByRelay(violation.reason())),
                Ok(None) => break,
            };
        }
        if !pongs.is_empty() && self.socket.queued() <= QUEUE_BYTES {
            self.send(cx, &pongs);
        }
        true
    }

    /// Says goodbye as its ending asks.
    pub(super) fn part(self) {
        match self.ending {
            None => self.socket.dismiss_with(NORMAL),
            Some(ending) => part(self.socket, ending),
        }
    }
}

/// Carries out one lane frame of a daemon.
fn frame(cx: &mut Context<'_>, message: Masked<'_>, lanes: &mut impl Lanes) -> Result<(), Ending> {
    let bad = Ending::ByRelay(Reason::BadRequest);
    let (header, payload) = message.split_first().ok_or(bad)?;
    let LaneHeader { kind, lane } = LaneHeader::from_bytes(header).map_err(|_| bad)?;
    match kind {
        LaneKind::Data => lanes.deliver(cx, lane, payload),
        LaneKind::Close if payload.len() == 2 => {
            let (code, _) = payload.split_first().ok_or(bad)?;
            let code = Some(u16::from_be_bytes(code)).filter(|code| may_be_sent(*code));
            lanes.close(cx, lane, code.unwrap_or(NORMAL));
        }
        // Lanes are opened by the relay alone.
        LaneKind::Open | LaneKind::Close => return Err(bad),
    }
    Ok(())
}

/// Ends a socket as its ending asks.
pub(super) fn part(socket: Box<Socket>, ending: Ending) {
    match ending {
        Ending::Lost => drop(socket),
        Ending::ByClient(code) | Ending::ByDaemon(code) => socket.dismiss_with(code),
        Ending::ByRelay(reason) => socket.dismiss(CloseText::from(reason)),
    }
}
