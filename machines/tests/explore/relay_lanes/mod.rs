//! Every history of two lanes between a relay and a daemon: both machines, and the frames in flight
//! between them.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

mod link;

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::Hasher,
    time::Duration,
};

use bowline_machines::{
    MonotonicTime,
    relay::{
        data::{self, Ended},
        lane::SendRoom,
        session::{self, Ending, Input, SessionConfig, SessionLanes},
    },
};
use bowline_protocol::relay::{
    Lane,
    limits::{HEARTBEAT, PEER_WAIT, SOCKET_STALL},
};

use self::link::{Connection, Frame, Link, MESSAGE, NETWORK, Outcome, broken};
use crate::explorer::{Model, explore};

/// Number of client sockets in one history.
const CLIENTS: u32 = 3;

/// Both ends of a session, and its clients.
#[derive(Clone)]
struct Node {
    now: MonotonicTime,
    session: SessionLanes,
    /// Client sockets, and whether each has a full queue from which nothing is taken.
    clients: BTreeMap<Lane, bool>,
    /// Clients that read nothing.
    stuck: BTreeSet<Lane>,
    opened: u32,
    link: Option<Link>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    ClientOpens,
    ClientCloses(Lane),
    ClientSends(Lane),
    ClientSticks(Lane),
    ClientTakes(Lane),
    DataOpens,
    DataBreaks,
    DaemonReads,
    DaemonWrites,
    DaemonStops,
    RelayReads,
    ConnectionReads(Lane),
    ConnectionSends(Lane),
    ConnectionCloses(Lane),
    Timer,
}

impl Node {
    fn execute(&mut self) -> Outcome {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                session::Effect::UseData => self.link = Some(Link::new(self.now)),
                session::Effect::RefuseData { .. } => {
                    return broken("only_a_session_that_ends_refuses_its_data_socket");
                }
                session::Effect::CloseData { ending } => {
                    if let Some(link) = self.link.take() {
                        link.ended(self.now, ending)?;
                    }
                }
                session::Effect::Announce { lane } => self.send_up(Frame::Open(lane))?,
                session::Effect::CloseLane { lane, tell, .. } => {
                    if tell.is_some() {
                        self.send_up(Frame::Close(lane))?;
                    }
                    if self.clients.remove(&lane).is_none() {
                        return broken("every_ending_reaches_the_client_once");
                    }
                    self.stuck.remove(&lane);
                }
            }
        }
        Ok(())
    }

    /// The relay sends a frame to the daemon; frames that the network does not accept are queued.
    fn send_up(&mut self, frame: Frame) -> Outcome {
        let Some(link) = &mut self.link else {
            return broken("only_a_data_socket_that_is_there_is_written");
        };
        link.check_sent(0, frame)?;
        link.up.push_back(frame);
        self.report_up();
        Ok(())
    }

    fn report_up(&mut self) {
        if let Some(link) = &self.link {
            let waiting = link.up.len().saturating_sub(NETWORK);
            self.session.on_data_write(self.now, waiting, waiting == 0);
        }
    }

    fn daemon_reads(&mut self) -> Result<bool, String> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        let read = link.read(self.now)?;
        self.report_up();
        Ok(read)
    }

    fn daemon_writes(&mut self) -> Result<bool, String> {
        self.link
            .as_mut()
            .map_or(Ok(false), |link| link.write(self.now))
    }

    /// The relay reads one frame of the daemon if allowed; returns whether it did.
    fn relay_reads(&mut self) -> Result<bool, String> {
        if !self.session.may_read_data(self.now) {
            return Ok(false);
        }
        let Some(frame) = self.link.as_mut().and_then(|link| link.down.pop_front()) else {
            return Ok(false);
        };
        match frame {
            Frame::Data(lane) if self.stuck.contains(&lane) => {
                self.session.on_lane_write(self.now, lane, MESSAGE, false);
                self.clients.insert(lane, true);
            }
            Frame::Data(_) | Frame::Open(_) => {}
            Frame::Close(lane) => {
                let ending = Ending::ByDaemon(1000);
                self.session
                    .handle(self.now, Input::LaneEnded { lane, ending });
                self.execute()?;
            }
        }
        Ok(true)
    }

    fn client_takes(&mut self, lane: Lane) {
        self.stuck.remove(&lane);
        if let Some(full @ true) = self.clients.get_mut(&lane) {
            *full = false;
            self.session.on_lane_write(self.now, lane, 0, true);
        }
    }

    /// All parties read and send nothing new; then both ends agree on the lanes.
    fn settle(mut self) -> Outcome {
        loop {
            for lane in self.clients.keys().copied().collect::<Vec<_>>() {
                self.client_takes(lane);
            }
            for connection in self
                .link
                .iter_mut()
                .flat_map(|link| link.connections.values_mut())
            {
                connection
                    .flow
                    .on_read(MESSAGE * std::mem::take(&mut connection.inbox));
            }
            let moved = [
                self.daemon_reads()?,
                self.daemon_writes()?,
                self.relay_reads()?,
            ];
            if moved == [false; 3] {
                break;
            }
        }
        let Some(link) = &self.link else {
            return Ok(());
        };
        let served = link.connections.iter();
        let served = served.filter(|(_, c)| !c.over && !c.gone);
        if !served.map(|(lane, _)| lane).eq(self.clients.keys()) {
            return broken("every_ending_reaches_the_other_side");
        }
        if !link.up.is_empty() || !link.down.is_empty() {
            return broken("nothing_is_stuck");
        }
        Ok(())
    }
}

struct Lanes;

impl Model for Lanes {
    type Node = Node;
    type Step = Step;
    type Key = (u64, Vec<(Lane, bool)>, Vec<Lane>, u32, u64);

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        let config = SessionConfig {
            most_lanes: 2,
            data_wait: PEER_WAIT,
        };
        let empty = Node {
            now,
            session: SessionLanes::new(config, now),
            clients: BTreeMap::new(),
            stuck: BTreeSet::new(),
            opened: 0,
            link: None,
        };
        let mut served = empty.clone();
        for step in [Step::ClientOpens, Step::ClientOpens, Step::DataOpens] {
            self.apply(&mut served, &step).unwrap();
        }
        for _ in 0..2 {
            self.apply(&mut served, &Step::DaemonReads).unwrap();
        }
        vec![empty, served]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Timer, Step::DataOpens];
        if node.opened < CLIENTS {
            steps.push(Step::ClientOpens);
        }
        for &lane in node.clients.keys() {
            steps.push(Step::ClientCloses(lane));
            if node.stuck.contains(&lane) {
                steps.push(Step::ClientTakes(lane));
            } else {
                steps.push(Step::ClientSticks(lane));
            }
        }
        let Some(link) = &node.link else {
            return steps;
        };
        steps.extend(node.clients.keys().map(|lane| Step::ClientSends(*lane)));
        let both = [Step::DaemonReads, Step::DaemonWrites, Step::RelayReads];
        steps.extend(both);
        steps.extend([Step::DataBreaks, Step::DaemonStops]);
        for (&lane, connection) in link.connections.iter().filter(|(_, c)| !c.over) {
            steps.push(Step::ConnectionCloses(lane));
            if connection.inbox > 0 {
                steps.push(Step::ConnectionReads(lane));
            }
            if connection.flow.send_room() == SendRoom::Free {
                steps.push(Step::ConnectionSends(lane));
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Outcome {
        match *step {
            Step::ClientOpens => {
                let lane = node.session.open().unwrap();
                node.opened = lane.number();
                node.clients.insert(lane, false);
            }
            Step::ClientCloses(lane) => {
                let ending = Ending::ByPeer(1000);
                node.session
                    .handle(node.now, Input::LaneEnded { lane, ending });
            }
            Step::ClientSends(lane) => {
                let mut reads = (0..node.clients.len()).map_while(|n| node.session.next_read(n));
                if reads.any(|(read, _)| read == lane) {
                    node.session.on_read(lane, 0);
                    node.send_up(Frame::Data(lane))?;
                }
            }
            Step::ClientSticks(lane) => {
                node.stuck.insert(lane);
            }
            Step::ClientTakes(lane) => node.client_takes(lane),
            Step::DataOpens => node.session.handle(node.now, Input::DataOpened),
            Step::DataBreaks => {
                let ending = Ending::Lost;
                node.session.handle(node.now, Input::DataEnded { ending });
            }
            Step::DaemonReads => drop(node.daemon_reads()?),
            Step::DaemonWrites => drop(node.daemon_writes()?),
            Step::RelayReads => drop(node.relay_reads()?),
            Step::DaemonStops => {
                let link = node.link.as_mut().unwrap();
                link.daemon.handle(node.now, data::Input::Stop);
            }
            Step::ConnectionReads(lane) => {
                let link = node.link.as_mut().unwrap();
                let connection = link.connections.get_mut(&lane).unwrap();
                connection.inbox -= 1;
                connection.flow.on_read(MESSAGE);
            }
            Step::ConnectionSends(lane) => {
                let link = node.link.as_mut().unwrap();
                let connection = link.connections.get_mut(&lane).unwrap();
                connection.flow.send(MESSAGE);
                connection.outbox.push_back(Frame::Data(lane));
            }
            Step::ConnectionCloses(lane) => {
                node.link.as_mut().unwrap().close(node.now, lane);
            }
            Step::Timer => {
                let daemon = node.link.as_ref().map(|link| link.daemon.poll_timeout());
                let due = node.session.poll_timeout().into_iter().chain(daemon).min();
                node.now = due.unwrap_or(node.now).max(node.now);
                node.session.handle_timeout(node.now);
                if let Some(link) = &mut node.link {
                    link.fire(node.now)?;
                }
            }
        }
        node.execute()?;
        if let Some(link) = &mut node.link {
            link.ask(node.now);
            match link.daemon.ended() {
                Some(Ended::Violation(_)) => return broken("an_honest_relay_breaks_no_rule"),
                Some(Ended::Lost { .. }) => return broken("a_relay_that_answers_is_alive"),
                Some(_) => {
                    let ending = Ending::ByPeer(1000);
                    node.session.handle(node.now, Input::DataEnded { ending });
                    node.execute()?;
                }
                None => {}
            }
        }
        node.session.may_read_data(node.now);
        check(node)?;
        node.clone().settle()
    }

    fn key(&self, node: &Node) -> Self::Key {
        let mut hasher = DefaultHasher::new();
        node.session.fingerprint(node.now, &mut hasher);
        let session = hasher.finish();
        let mut hasher = DefaultHasher::new();
        std::hash::Hash::hash(
            &node.link.as_ref().map(|link| link.key(node.now)),
            &mut hasher,
        );
        (
            session,
            node.clients
                .iter()
                .map(|(lane, full)| (*lane, *full))
                .collect(),
            node.stuck.iter().copied().collect(),
            node.opened,
            hasher.finish(),
        )
    }
}

fn check(node: &Node) -> Outcome {
    let Some(link) = &node.link else {
        return Ok(());
    };
    // A message per client that was read before the network was known to be full.
    let waiting = link
        .up
        .iter()
        .filter(|frame| matches!(frame, Frame::Data(_)));
    if waiting.count() > NETWORK + 1 {
        return broken("rl_4_what_waits_for_a_data_socket_is_bounded");
    }
    let held = |c: &Connection| (c.inbox, c.outbox.len());
    if link
        .connections
        .values()
        .map(held)
        .any(|(inbox, outbox)| inbox > 1 + NETWORK || outbox > 2)
    {
        return broken("rl_4_what_waits_on_a_lane_is_bounded");
    }
    let stalled = link.unread.is_some() || node.clients.values().any(|full| *full);
    let due = node
        .session
        .poll_timeout()
        .into_iter()
        .chain([link.daemon.poll_timeout()]);
    let longest: Duration = SOCKET_STALL + HEARTBEAT;
    if stalled && due.min().is_none_or(|due| due.since(node.now) > longest) {
        return broken("every_wait_has_a_deadline (INV-12)");
    }
    Ok(())
}

#[test]
fn rl_3_rl_4_every_history_of_lanes_between_a_relay_and_a_daemon() {
    let report = explore(&Lanes, 6);
    assert!(report.nodes > 5_000, "{report:?}");
}
