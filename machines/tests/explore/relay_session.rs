//! Every history of a relay's session with two lanes, its data sockets and receivers that stall, to
//! a bounded depth.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::Hasher,
    time::Duration,
};

use bowline_machines::{
    MonotonicTime,
    relay::session::{Effect, Ending, Input, SessionConfig, SessionLanes, State},
};
use bowline_protocol::{
    Reason,
    relay::{
        CloseText, Lane,
        limits::{HELD_BYTES, LANE_STALL, QUEUE_BYTES, SOCKET_STALL},
    },
};

use crate::explorer::{Model, explore};

const CONFIG: SessionConfig = SessionConfig {
    most_lanes: 2,
    data_wait: Duration::from_secs(10),
};

/// The driver's view of a client socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    /// Whether its lane was announced to the daemon.
    announced: bool,
    /// Bytes held for a data socket.
    held: usize,
    /// Whether its queue is full and the client reads nothing.
    full: bool,
}

/// A session and its driver's resources.
#[derive(Clone)]
struct Node {
    session: SessionLanes,
    now: MonotonicTime,
    clients: BTreeMap<Lane, Client>,
    /// The highest lane number so far.
    newest: u32,
    data: bool,
    /// Whether bytes are queued for the data socket.
    data_waits: bool,
    arrived: bool,
    /// Time since the open data socket was last not read.
    unread: Option<MonotonicTime>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    Feed(Input),
    /// A client has sent as much as is accepted, in messages that double on their way; the daemon
    /// reads them or not.
    ReadAll {
        taken: bool,
    },
    /// The daemon has sent more to a client than its queue should hold, and the client reads none
    /// of it.
    Fill(Lane),
    /// A client has read everything.
    Drain(Lane),
    DrainData,
    Pass(Duration),
    Timer,
}

struct Sessions;

impl Node {
    /// One round of the driver without its clients: returns whether the data socket may be read.
    fn ask(&mut self) -> bool {
        let may = self.session.may_read_data(self.now);
        if may || !self.data {
            self.unread = None;
        } else {
            self.unread.get_or_insert(self.now);
        }
        may
    }

    fn execute(&mut self) -> Result<(), String> {
        while let Some(effect) = self.session.poll_effect() {
            self.effect(effect)
                .map_err(|broken| format!("{broken}: {effect:?}"))?;
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect) -> Result<(), &'static str> {
        match effect {
            Effect::UseData => {
                if self.data || !std::mem::take(&mut self.arrived) {
                    return Err("one_data_socket (RL-3)");
                }
                self.data = true;
            }
            Effect::RefuseData { .. } => {
                let ending = matches!(self.session.state(), State::Ending { .. });
                if !ending || !std::mem::take(&mut self.arrived) {
                    return Err("only_a_session_that_ends_refuses_its_data_socket");
                }
            }
            Effect::CloseData { .. } => {
                if !std::mem::take(&mut self.data) {
                    return Err("only_what_there_is_is_closed");
                }
                (self.data_waits, self.unread) = (false, None);
            }
            Effect::Announce { lane } => {
                let client = self.clients.get_mut(&lane);
                let client = client.ok_or("only_what_there_is_is_announced")?;
                if !self.data || std::mem::replace(&mut client.announced, true) {
                    return Err("a_lane_is_announced_once");
                }
                client.held = 0;
            }
            Effect::CloseLane { lane, ending, tell } => {
                let client = self.clients.remove(&lane);
                let client = client.ok_or("every_ending_reaches_the_client_once")?;
                // With its data socket the daemon has already lost the lane.
                let asked = matches!(ending, Ending::ByDaemon(_));
                if tell.is_some() != (client.announced && self.data && !asked) {
                    return Err("every_ending_reaches_the_daemon_once");
                }
            }
        }
        Ok(())
    }

    fn fire(&mut self) -> Result<(), String> {
        self.session.handle_timeout(self.now);
        self.execute()?;
        self.ask();
        if self
            .session
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            return Err("a_deadline_that_passed_has_had_its_consequence".to_owned());
        }
        let bound = if self.clients.len() > 1 {
            LANE_STALL
        } else {
            SOCKET_STALL
        };
        match self.unread {
            Some(since) if self.now.since(since) >= bound => {
                Err("rl_4_a_stalled_client_stops_no_other_lane_for_longer".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read_all(&mut self, taken: bool) {
        for step in 0..self.session.lanes() {
            let Some((lane, room)) = self.session.next_read(step) else {
                break;
            };
            let client = self.clients.get_mut(&lane).unwrap();
            if self.data {
                self.data_waits = !taken;
                self.session.on_read(lane, 0);
                self.session
                    .on_data_write(self.now, usize::from(!taken), taken);
            } else {
                client.held += 2 * room;
                self.session.on_read(lane, client.held);
            }
        }
    }
}

impl Model for Sessions {
    type Node = Node;
    type Step = Step;
    type Key = (u64, Vec<Client>, [bool; 3], Option<Duration>);

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        vec![Node {
            session: SessionLanes::new(CONFIG, now),
            now,
            clients: BTreeMap::new(),
            newest: 0,
            data: false,
            data_waits: false,
            arrived: false,
            unread: None,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let ending = Ending::Lost;
        let texts = [Reason::ServerRestarting, Reason::DaemonOffline].map(CloseText::from);
        let mut steps = vec![
            Step::Open,
            Step::Feed(Input::DataOpened),
            Step::Feed(Input::DataEnded { ending }),
        ];
        steps.extend(texts.map(|text| Step::Feed(Input::End { text })));
        if node.session.vacancy().is_some() && node.newest > 0 {
            steps.extend([Input::Retired, Input::Kept].map(Step::Feed));
        }
        for (&lane, client) in &node.clients {
            for ending in [Ending::ByPeer(1000), Ending::ByDaemon(1000)] {
                steps.push(Step::Feed(Input::LaneEnded { lane, ending }));
            }
            let step = if client.full {
                Step::Drain(lane)
            } else {
                Step::Fill(lane)
            };
            steps.push(step);
        }
        if !node.clients.is_empty() {
            steps.extend([true, false].map(|taken| Step::ReadAll { taken }));
        }
        if node.data_waits {
            steps.push(Step::DrainData);
        }
        if node.session.poll_timeout().is_some() {
            steps.extend([Step::Timer, Step::Pass(LANE_STALL / 2)]);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = *node.session.state();
        let refuses = matches!(before, State::Ending { .. } | State::Over);
        match *step {
            Step::Open => match node.session.open() {
                Ok(lane) if lane.number() <= node.newest => {
                    return Err("a_lane_number_is_never_given_twice".to_owned());
                }
                Ok(_) if refuses => return Err("a_session_that_ends_takes_nobody".to_owned()),
                Ok(lane) => {
                    node.newest = lane.number();
                    let client = Client {
                        announced: false,
                        held: 0,
                        full: false,
                    };
                    node.clients.insert(lane, client);
                }
                Err(_) if !refuses => return Err("rl_3_a_client_gets_a_lane".to_owned()),
                Err(_) => {}
            },
            Step::Feed(input) => {
                node.arrived = input == Input::DataOpened;
                node.session.handle(node.now, input);
            }
            Step::ReadAll { taken } => node.read_all(taken),
            Step::Fill(lane) => {
                if node.ask() {
                    node.session
                        .on_lane_write(node.now, lane, QUEUE_BYTES + 1, false);
                    node.clients.get_mut(&lane).unwrap().full = true;
                }
            }
            Step::Drain(lane) => {
                node.session.on_lane_write(node.now, lane, 0, true);
                node.clients.get_mut(&lane).unwrap().full = false;
            }
            Step::DrainData => {
                node.session.on_data_write(node.now, 0, true);
                node.data_waits = false;
            }
            Step::Pass(time) => {
                let due = node.session.poll_timeout().unwrap_or(node.now);
                node.now = (node.now + time).min(due).max(node.now);
                node.fire()?;
            }
            Step::Timer => {
                node.now = node
                    .session
                    .poll_timeout()
                    .unwrap_or(node.now)
                    .max(node.now);
                node.fire()?;
            }
        }
        node.execute()?;
        node.ask();
        check(node, &before)
    }

    fn key(&self, node: &Node) -> Self::Key {
        let mut hasher = DefaultHasher::new();
        node.session.fingerprint(node.now, &mut hasher);
        (
            hasher.finish(),
            node.clients.values().copied().collect(),
            [node.data, node.data_waits, node.newest > 0],
            node.unread.map(|since| node.now.since(since)),
        )
    }
}

fn check(node: &Node, before: &State) -> Result<(), String> {
    let fail = |name: &str| Err(format!("{name}: {:?}", node.session));
    let session = &node.session;
    let ends = |state: &State| matches!(state, State::Ending { .. } | State::Over);
    if *before == State::Over && !session.is_over() || ends(before) && !ends(session.state()) {
        return fail("over_is_terminal (INV-12)");
    }
    if let (State::Ending { text }, State::Ending { text: now }) = (before, session.state())
        && text != now
    {
        return fail("everybody_gets_the_same_text");
    }
    // Nothing else ends these two: the driver answers at once.
    if session.vacancy().is_some() != (node.clients.is_empty() && !session.is_over()) {
        return fail("a_session_without_clients_is_always_removed (INV-12)");
    }
    if ends(session.state()) && (node.data || !node.clients.is_empty()) {
        return fail("the_end_reaches_everybody");
    }
    if session.lanes() > CONFIG.most_lanes {
        return fail("rl_4_lanes_are_bounded");
    }
    let agreed = node.clients.keys().all(|lane| session.is_open(*lane));
    if !agreed || session.lanes() != node.clients.len() || session.is_joined() != node.data {
        return fail("machine_and_driver_agree");
    }
    if node.data != node.clients.values().all(|client| client.announced) && !node.clients.is_empty()
    {
        return fail("the_daemon_knows_every_lane");
    }
    let held: usize = node.clients.values().map(|client| client.held).sum();
    if held > HELD_BYTES {
        return fail("rl_4_what_is_held_is_bounded");
    }
    let waits = match session.state() {
        State::Awaiting { .. } => !node.clients.is_empty(),
        State::Joined { .. } => node.data_waits || node.unread.is_some(),
        State::Ending { .. } | State::Over => false,
    };
    if waits && session.poll_timeout().is_none() {
        return fail("every_wait_has_a_deadline (INV-12)");
    }
    Ok(())
}

#[test]
fn rl_3_rl_4_every_history_of_a_session_of_a_relay() {
    let report = explore(&Sessions, 400);
    assert!(report.complete, "{report:?}");
}
