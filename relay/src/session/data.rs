//! The delivery of frames of a session's data socket to their client sockets.

use std::task::Context;

use bowline_machines::{
    MonotonicTime,
    relay::session::{Ending, Input, SessionLanes},
};
use bowline_protocol::{
    Reason,
    relay::{Lane, LaneHeader, LaneKind},
};

use super::{client::ClientSocket, find};
use crate::{
    socket::Lost,
    websocket::{NORMAL, frame::Masked, may_be_sent, write_binary},
};

/// Passes the daemon's frames to their lanes: one write for each run of frames of one lane.
pub(super) struct Delivery<'a> {
    now: MonotonicTime,
    machine: &'a mut SessionLanes,
    clients: &'a mut [ClientSocket],
    /// The lane of the messages in `output`.
    current: Option<Lane>,
    output: &'a mut Vec<u8>,
    messages: u64,
    bytes: u64,
}

impl<'a> Delivery<'a> {
    pub(super) const fn new(
        now: MonotonicTime,
        machine: &'a mut SessionLanes,
        clients: &'a mut [ClientSocket],
        output: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            now,
            machine,
            clients,
            current: None,
            output,
            messages: 0,
            bytes: 0,
        }
    }

    /// Sends the rest. Returns the delivered messages and their bytes.
    pub(super) fn finish(mut self, cx: &mut Context<'_>) -> (u64, u64) {
        self.write(cx);
        (self.messages, self.bytes)
    }

    /// Passes a frame on.
    ///
    /// # Errors
    /// How the data socket must end.
    pub(super) fn frame(
        &mut self,
        cx: &mut Context<'_>,
        message: Masked<'_>,
    ) -> Result<(), Ending> {
        let bad = Ending::from(Reason::BadRequest);
        let (header, payload) = message.split_first().ok_or(bad)?;
        let LaneHeader { kind, lane } = LaneHeader::from_bytes(header).map_err(|_| bad)?;
        match kind {
            LaneKind::Data => self.deliver(cx, lane, payload),
            LaneKind::Close if payload.len() == 2 => {
                let (code, _) = payload.split_first().ok_or(bad)?;
                let code = Some(u16::from_be_bytes(code)).filter(|code| may_be_sent(*code));
                self.write(cx);
                let ending = Ending::ByDaemon(code.unwrap_or(NORMAL));
                self.machine
                    .handle(self.now, Input::LaneEnded { lane, ending });
            }
            // Only the relay opens lanes.
            LaneKind::Open | LaneKind::Close => return Err(bad),
        }
        Ok(())
    }

    fn deliver(&mut self, cx: &mut Context<'_>, lane: Lane, payload: Masked<'_>) {
        if self.current != Some(lane) {
            self.write(cx);
            // An unknown lane: its client closed while this frame was on its way.
            if !self.machine.is_open(lane) {
                return;
            }
            self.current = Some(lane);
        }
        self.messages += 1;
        self.bytes += payload.len() as u64;
        write_binary(self.output, &[], payload);
    }

    /// Sends the gathered messages of a lane.
    fn write(&mut self, cx: &mut Context<'_>) {
        let Some(lane) = self.current.take() else {
            return;
        };
        if let Some(client) = find(self.clients, lane) {
            let sent = client.messages.socket.send(cx, self.output);
            report(self.machine, self.now, client, sent);
        }
        self.output.clear();
    }
}

/// Reports the result of a write to a client to the machine.
pub(super) fn report(
    machine: &mut SessionLanes,
    now: MonotonicTime,
    client: &ClientSocket,
    sent: Result<(), Lost>,
) {
    let (lane, socket) = (client.lane, &client.messages.socket);
    match sent {
        Ok(()) => machine.on_lane_write(now, lane, socket.queued(), socket.is_clear()),
        Err(Lost) => {
            let ending = Ending::Lost;
            machine.handle(now, Input::LaneEnded { lane, ending });
        }
    }
}
