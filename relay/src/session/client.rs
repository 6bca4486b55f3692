//! One client socket of a session: messages in, lane frames out, and the other way round.

use std::task::{Context, Poll};

use bowline_machines::relay::session::Ending;
use bowline_protocol::relay::{Lane, LaneHeader, LaneKind, limits::MAX_CLIENT_MESSAGE};

use crate::{
    messages::Messages,
    registry::Member,
    socket::Socket,
    websocket::{frame::Opcode, write_binary, write_message},
};

/// Result of one read of a client socket.
#[derive(Debug, Default)]
pub(super) struct ReadStats {
    /// Number of messages forwarded.
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// How the socket ended, if it did.
    pub(super) ending: Option<Ending>,
}

/// One client socket and its messages.
#[derive(Debug)]
pub(super) struct ClientSocket {
    pub(super) lane: Lane,
    pub(super) messages: Messages,
    /// Frames waiting for the data socket to open.
    pub(super) held: Vec<u8>,
    _member: Member,
}

impl ClientSocket {
    pub(super) const fn new(lane: Lane, socket: Box<Socket>, member: Member) -> Self {
        Self {
            lane,
            messages: Messages::new(socket, Opcode::Binary, MAX_CLIENT_MESSAGE),
            held: Vec::new(),
            _member: member,
        }
    }

    /// Buffered bytes: frames for a data socket that is not open yet, and incomplete messages.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len() + self.messages.held()
    }

    /// Reads once; messages become lane frames in `out`. `None`: there was nothing to read.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Option<ReadStats> {
        let kind = LaneKind::Data;
        let header = LaneHeader {
            kind,
            lane: self.lane,
        }
        .to_bytes();
        let mut stats = ReadStats::default();
        let read = self.messages.read(cx, input, |_, payload| {
            stats.messages += 1;
            stats.bytes += payload.len() as u64;
            write_binary(out, &header, payload);
            Ok(())
        });
        let Poll::Ready(read) = read else {
            return None;
        };
        stats.ending = read.err();
        Some(stats)
    }
}

/// Appends the frame that opens a lane at the daemon.
pub(super) fn write_open(out: &mut Vec<u8>, lane: Lane) {
    let kind = LaneKind::Open;
    write_message(out, Opcode::Binary, &LaneHeader { kind, lane }.to_bytes());
}

/// Appends the frame that closes a lane at the daemon.
pub(super) fn write_close(out: &mut Vec<u8>, lane: Lane, code: u16) {
    let kind = LaneKind::Close;
    let [a, b] = code.to_be_bytes();
    let [k, l0, l1, l2, l3] = LaneHeader { kind, lane }.to_bytes();
    write_message(out, Opcode::Binary, &[k, l0, l1, l2, l3, a, b]);
}
