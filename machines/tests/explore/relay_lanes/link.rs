//! A daemon's end of a data socket, and the frames in flight on it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, hash_map::DefaultHasher},
    hash::Hasher,
};

use bowline_machines::{
    MonotonicTime,
    relay::{
        data::{Admission, DataLanes, Effect, Ended, Input},
        lane::LaneFlow,
        session::Ending,
    },
};
use bowline_protocol::{
    Reason,
    relay::{
        CloseText, Lane,
        limits::{HEARTBEAT, LANE_STALL, QUEUE_BYTES, SOCKET_STALL},
    },
};

/// Frames that the network accepts in each direction.
pub(super) const NETWORK: usize = 1;
/// Every message fills a queue alone.
pub(super) const MESSAGE: usize = QUEUE_BYTES + 1;
pub(super) const CLOSE_FRAME: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Frame {
    Open(Lane),
    Data(Lane),
    Close(Lane),
}

/// A daemon's connection behind a lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) flow: LaneFlow,
    /// Messages it has not read.
    pub(super) inbox: usize,
    pub(super) outbox: VecDeque<Frame>,
    pub(super) over: bool,
    /// Whether the relay has reported that the client is gone.
    pub(super) gone: bool,
}

/// A data socket: the daemon's end, and the frames in flight.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) daemon: DataLanes,
    pub(super) connections: BTreeMap<Lane, Connection>,
    pub(super) up: VecDeque<Frame>,
    pub(super) down: VecDeque<Frame>,
    /// All frames ever sent in each direction, except messages.
    pub(super) sent: [BTreeSet<Frame>; 2],
    /// Number of frames that the network has taken from the daemon.
    taken: u64,
    /// Time since a full lane stopped the daemon's reads.
    pub(super) unread: Option<MonotonicTime>,
}

pub(super) type Outcome = Result<(), String>;

pub(super) fn broken(name: &str) -> Outcome {
    Err(name.to_owned())
}

impl Link {
    pub(super) fn new(now: MonotonicTime) -> Self {
        Self {
            daemon: DataLanes::new(now, HEARTBEAT),
            connections: BTreeMap::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            sent: [BTreeSet::new(), BTreeSet::new()],
            taken: 0,
            unread: None,
        }
    }

    /// Checks the order of the frames that one end sends about a lane.
    pub(super) fn check_sent(&mut self, direction: usize, frame: Frame) -> Outcome {
        let [up, down] = &mut self.sent;
        let sent = if direction == 0 { up } else { down };
        let lane = match frame {
            Frame::Open(lane) | Frame::Data(lane) | Frame::Close(lane) => lane,
        };
        if sent.contains(&Frame::Close(lane)) {
            return broken("an_ending_is_told_once_and_last");
        }
        if direction == 0 && !matches!(frame, Frame::Open(_)) && !sent.contains(&Frame::Open(lane))
        {
            return broken("a_lane_is_opened_first");
        }
        if !matches!(frame, Frame::Data(_)) && !sent.insert(frame) {
            return broken("a_lane_number_is_never_given_twice");
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, now: MonotonicTime) -> bool {
        let full = self.connections.values().any(|c| c.flow.is_full());
        let may = self.daemon.may_read(now, full);
        if may {
            self.unread = None;
        } else {
            self.unread.get_or_insert(now);
        }
        may
    }

    /// The daemon reads one frame if allowed; returns whether it did.
    pub(super) fn read(&mut self, now: MonotonicTime) -> Result<bool, String> {
        if !self.ask(now) {
            return Ok(false);
        }
        let Some(frame) = self.up.pop_front() else {
            return Ok(false);
        };
        match frame {
            Frame::Open(lane) => {
                let stopping = self.daemon.is_stopping();
                if (self.daemon.open(lane, true) == Admission::Served) == stopping {
                    return Err("a_lane_within_the_limits_is_served".to_owned());
                }
                if !stopping {
                    self.connections.insert(lane, Connection::default());
                }
            }
            Frame::Data(lane) => {
                if let Some(connection) = self.connections.get_mut(&lane) {
                    connection.inbox += usize::from(connection.flow.deliver(MESSAGE));
                }
            }
            Frame::Close(lane) => {
                if let Some(connection) = self.connections.get_mut(&lane) {
                    connection.flow.end();
                    connection.gone = true;
                    connection.outbox.clear();
                }
            }
        }
        Ok(true)
    }

    /// The relay has ended the socket.
    pub(super) fn ended(mut self, now: MonotonicTime, ending: Ending) -> Outcome {
        let (input, expected) = match ending {
            Ending::Lost => (Input::Broken, Reason::ConnectionLost),
            Ending::ByRelay(CloseText {
                reason,
                retry_after,
            }) => {
                let code = reason.close_code();
                (Input::Closed { code, retry_after }, reason)
            }
            // The daemon ended it, or its session has no clients.
            Ending::ByPeer(_) | Ending::ByDaemon(_) | Ending::Finished => return Ok(()),
        };
        self.daemon.handle(now, input);
        match self.daemon.ended() {
            Some(Ended::Lost { reason, .. }) if reason == expected => Ok(()),
            _ => broken("both_ends_know_why_a_data_socket_ended"),
        }
    }

    pub(super) fn close(&mut self, now: MonotonicTime, lane: Lane) {
        if let Some(connection) = self.connections.get_mut(&lane) {
            connection.inbox = 0;
            if connection.flow.close(CLOSE_FRAME) {
                connection.outbox.push_back(Frame::Close(lane));
            }
            connection.over = true;
            self.daemon.handle(now, Input::ConnectionOver { lane });
        }
    }

    /// The daemon writes as much as the network accepts; returns whether it wrote.
    pub(super) fn write(&mut self, now: MonotonicTime) -> Result<bool, String> {
        let (mut wrote, mut quiet) = (false, 0);
        while self.down.len() < NETWORK {
            let frame = if let Some((lane, _)) = self.daemon.next_refusal() {
                Some(Frame::Close(lane))
            } else if quiet < self.daemon.lanes() {
                let lane = self.daemon.next_lane().unwrap();
                let connection = self.connections.get_mut(&lane).unwrap();
                let frame = connection.outbox.pop_front();
                if frame.is_some() && connection.gone {
                    return Err("a_daemon_says_nothing_of_a_lane_that_is_gone".to_owned());
                }
                let len = if matches!(frame, Some(Frame::Data(_))) {
                    MESSAGE
                } else {
                    CLOSE_FRAME
                };
                connection.flow.on_taken(len * usize::from(frame.is_some()));
                frame
            } else {
                break;
            };
            quiet += 1;
            if let Some(frame) = frame {
                self.check_sent(1, frame)?;
                self.down.push_back(frame);
                self.taken += 1;
                (wrote, quiet) = (true, 0);
            }
        }
        let clear = self.down.len() < NETWORK;
        self.daemon.on_write(now, self.taken, clear);
        let daemon = &mut self.daemon;
        self.connections
            .retain(|lane, connection| !daemon.forget(*lane, !connection.outbox.is_empty()));
        Ok(wrote)
    }

    pub(super) fn fire(&mut self, now: MonotonicTime) -> Outcome {
        self.daemon.handle_timeout(now);
        while let Some(effect) = self.daemon.poll_effect() {
            match effect {
                // The relay answers.
                Effect::Ping => self.daemon.on_received(now),
                Effect::GiveUpFullLanes => {
                    let full = self.connections.iter().filter(|(_, c)| c.flow.is_full());
                    let full: Vec<_> = full.map(|(lane, _)| *lane).collect();
                    if full.is_empty() {
                        return broken("only_full_lanes_are_given_up");
                    }
                    for lane in full {
                        if let Some(connection) = self.connections.get_mut(&lane) {
                            connection.flow.give_up();
                        }
                        self.close(now, lane);
                    }
                }
            }
        }
        self.ask(now);
        let bound = if self.daemon.lanes() > 1 {
            LANE_STALL
        } else {
            SOCKET_STALL
        };
        match self.unread {
            Some(since) if now.since(since) >= bound => {
                broken("rl_4_a_stalled_connection_stops_no_other_lane_for_longer")
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn key(&self, now: MonotonicTime) -> impl std::hash::Hash + Eq + use<> {
        let mut hasher = DefaultHasher::new();
        self.daemon.fingerprint(now, &mut hasher);
        let connections = self.connections.iter().map(|(lane, c)| {
            let room = c.flow.send_room();
            (
                *lane,
                c.inbox,
                c.outbox.clone(),
                c.over,
                c.flow.has_ended(),
                room,
            )
        });
        (
            hasher.finish(),
            connections.collect::<Vec<_>>(),
            (self.up.clone(), self.down.clone(), self.sent.clone()),
            self.unread.map(|since| now.since(since)),
        )
    }
}
