//! One lane of a daemon's data socket: bytes queued in each direction, and its end (RL-3, RL-4).
//!
//! ```text
//!  Open ──too slow──► GivenUp ──connection closes──► Closed      what the connection has not taken is dropped
//!   │                    │                             │
//!   └────────────────────┴──────client is gone─────────┴──► Ended     what it has sent is dropped
//! ```
//!
//! The driver moves the messages and reports their lengths. A full queue corresponds to a socket's
//! full kernel buffer: writes wait for the reader.

use bowline_protocol::relay::limits::{FRAME_COST, QUEUE_BYTES};

/// State of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum State {
    /// Messages pass in both directions.
    #[default]
    Open,
    /// The connection did not read its messages in time. It is being closed and receives no more.
    GivenUp,
    /// The connection closed the lane; the close frame is the last one sent to the relay.
    Closed,
    /// The client socket is gone.
    Ended,
}

/// Whether the connection may send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendRoom {
    /// It may.
    Free,
    /// Not until the relay has taken some bytes.
    Full,
    /// Never again.
    Gone,
}

/// What a frame of this length counts in a queue (TR-8).
const fn cost(len: usize) -> usize {
    len + FRAME_COST
}

/// The lane machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LaneFlow {
    state: State,
    /// Cost of the messages that the connection has not read.
    inbox: usize,
    /// Cost of the frames that the relay's socket has not taken.
    outbox: usize,
    /// Bytes of frames that the relay's socket has taken.
    taken: u64,
}

impl LaneFlow {
    /// Handles a message of length `len` for the connection; `false`: drop it.
    pub const fn deliver(&mut self, len: usize) -> bool {
        let open = matches!(self.state, State::Open);
        if open {
            self.inbox += cost(len);
        }
        open
    }

    /// Handles a message of length `len` read by the connection.
    pub const fn on_read(&mut self, len: usize) {
        self.inbox = self.inbox.saturating_sub(cost(len));
    }

    /// Whether the connection is too slow, so that reads from the data socket stop.
    pub const fn is_full(&self) -> bool {
        self.inbox >= QUEUE_BYTES
    }

    /// Gives the lane up: the driver drops the messages that its connection has not read, and later
    /// ones.
    pub const fn give_up(&mut self) {
        self.inbox = 0;
        if matches!(self.state, State::Open) {
            self.state = State::GivenUp;
        }
    }

    /// Handles the end of the client socket: the connection reads the queued messages, then the
    /// end. Queued frames to the relay are dropped.
    pub const fn end(&mut self) {
        self.state = State::Ended;
        self.outbox = 0;
    }

    /// Handles the connection's close. Messages it has not read are dropped. `true`: send the close
    /// frame, whose length is `frame`.
    pub const fn close(&mut self, frame: usize) -> bool {
        self.inbox = 0;
        let told = matches!(self.state, State::Open | State::GivenUp);
        if told {
            self.state = State::Closed;
            self.outbox += cost(frame);
        }
        told
    }

    /// Whether the connection may send a message.
    pub const fn send_room(&self) -> SendRoom {
        match self.state {
            State::Closed | State::Ended => SendRoom::Gone,
            State::Open | State::GivenUp if self.outbox >= QUEUE_BYTES => SendRoom::Full,
            State::Open | State::GivenUp => SendRoom::Free,
        }
    }

    /// Handles a frame sent by the connection after [`SendRoom::Free`].
    pub const fn send(&mut self, frame: usize) {
        self.outbox += cost(frame);
    }

    /// Handles a frame taken by the relay's socket.
    pub const fn on_taken(&mut self, frame: usize) {
        self.outbox = self.outbox.saturating_sub(cost(frame));
        self.taken += frame as u64;
    }

    /// Total bytes taken by the relay's socket.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the client socket is gone.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rl_4_both_directions_are_bounded_and_say_so() {
        let mut flow = LaneFlow::default();
        while flow.send_room() == SendRoom::Free {
            flow.send(1_024);
        }
        assert!(flow.outbox < QUEUE_BYTES + cost(1_024));
        flow.on_taken(1_024);
        assert_eq!((flow.taken(), flow.send_room()), (1_024, SendRoom::Free));
        while !flow.is_full() {
            assert!(flow.deliver(1_024));
        }
        flow.on_read(1_024);
        assert!(!flow.is_full());
        flow.give_up();
        assert!(!flow.deliver(1_024), "dropped from here on");
        assert_eq!(
            flow.send_room(),
            SendRoom::Free,
            "it can still say why it closes"
        );
    }

    #[test]
    fn tr_8_empty_messages_fill_a_lane_too() {
        let mut flow = LaneFlow::default();
        let mut delivered = 0;
        while !flow.is_full() {
            assert!(flow.deliver(0));
            delivered += 1;
        }
        assert_eq!(delivered, QUEUE_BYTES / FRAME_COST);
        flow.on_read(0);
        assert!(!flow.is_full());
    }

    #[test]
    fn a_lane_is_closed_once_and_not_at_all_when_its_client_is_gone() {
        for given_up in [false, true] {
            let mut flow = LaneFlow::default();
            if given_up {
                flow.give_up();
            }
            assert!(flow.close(7));
            assert!(!flow.close(7));
            assert_eq!((flow.outbox, flow.send_room()), (cost(7), SendRoom::Gone));
            flow.end();
            assert_eq!(
                (flow.outbox, flow.has_ended()),
                (0, true),
                "nobody is left to be told"
            );
            flow.give_up();
            assert!(flow.has_ended());
        }
        let mut flow = LaneFlow::default();
        assert!(flow.deliver(5));
        flow.end();
        assert_eq!(
            flow.inbox,
            cost(5),
            "what came before the end is read before it"
        );
        assert!(!flow.deliver(5) && !flow.close(7));
        assert_eq!(flow.send_room(), SendRoom::Gone);
    }
}
