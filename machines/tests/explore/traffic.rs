//! Every history of a client's calls: queued, sent, answered, lost with a connection, and drained
//! after its disposal, as its driver does it turn by turn.

use std::{
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

use bowline_machines::{
    MonotonicTime, Path,
    client::{
        connection::{ClientConfig, DaemonClient, Effect, Input, State},
        traffic::{ClientTraffic, NextCall},
    },
};
use bowline_protocol::Reason;

use crate::explorer::{Model, explore};

/// Requests that the daemon takes at once.
const MOST: usize = 2;
/// Calls of one history.
const CALLS: usize = 3;
const DRAIN: Duration = Duration::from_secs(5);

/// The client and its driver's resources.
#[derive(Clone)]
struct Node {
    client: DaemonClient,
    traffic: ClientTraffic,
    now: MonotonicTime,
    is_open: bool,
    /// Calls in the queue.
    queued: usize,
    in_flight: usize,
    /// Calls answered, refused and failed.
    ended: usize,
    /// When a disposed client ends.
    ends_by: Option<MonotonicTime>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Opened,
    Lost,
    Call,
    Answered,
    Dispose(Duration),
    /// Time passes to the next timer.
    Timer,
}

struct Clients;

impl Model for Clients {
    type Node = Node;
    type Step = Step;
    type Key = (u64, [usize; 4], Option<Duration>);

    fn start(&self) -> Vec<Node> {
        vec![Node {
            client: DaemonClient::new(ClientConfig {
                auto_retry: false,
                ..ClientConfig::new(Path::Direct, 1)
            }),
            traffic: ClientTraffic::default(),
            now: MonotonicTime::from_millis(1_000_000),
            is_open: false,
            queued: 0,
            in_flight: 0,
            ended: 0,
            ends_by: None,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Connect, Step::Dispose(Duration::ZERO)];
        match node.client.state() {
            State::Connecting { .. } => steps.extend([Step::Opened, Step::Lost]),
            State::Connected { .. } => steps.push(Step::Lost),
            State::Idle | State::Disconnected { .. } | State::Disposed => {}
        }
        if node.queued + node.in_flight + node.ended < CALLS {
            steps.push(Step::Call);
        }
        if node.in_flight > 0 {
            steps.push(Step::Answered);
        }
        steps.extend([Step::Dispose(DRAIN), Step::Dispose(DRAIN * 2)]);
        if node.timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        let generation = node.client.generation();
        match *step {
            Step::Connect if node.traffic.is_draining() => {}
            Step::Connect => node.client.handle(node.now, Input::ConnectRequest),
            Step::Opened => {
                node.is_open = true;
                node.traffic.opened(MOST, None);
                let opened = Input::TransportOpen {
                    generation,
                    heartbeat: DRAIN,
                    round_trip: Duration::from_millis(20),
                };
                node.client.handle(node.now, opened);
            }
            Step::Lost => {
                node.is_open = false;
                let lost = Input::TransportClosed {
                    generation,
                    reason: Reason::ConnectionLost,
                    retry_after: None,
                };
                node.client.handle(node.now, lost);
            }
            // A client that drains takes none.
            Step::Call if node.traffic.is_draining() => node.ended += 1,
            Step::Call => node.queued += 1,
            Step::Answered => {
                node.in_flight -= 1;
                node.ended += 1;
                let received = Input::Received { generation };
                node.client.handle(node.now, received);
            }
            Step::Dispose(drain) => {
                let by = node.now + drain;
                node.traffic.dispose(by, Reason::ClosedLocally);
                node.ends_by = Some(node.ends_by.map_or(by, |earlier| earlier.min(by)));
            }
            Step::Timer => node.now = node.timeout().unwrap_or(node.now),
        }
        // A turn that changed something is followed by another.
        node.turn();
        node.turn();
        check(&before, node, step).map_err(|name| format!("{name}: {:?}", node.client))
    }

    fn key(&self, node: &Node) -> Self::Key {
        let mut hasher = DefaultHasher::new();
        node.client.fingerprint(node.now, &mut hasher);
        let counts = [
            node.queued,
            node.in_flight,
            node.ended,
            usize::from(node.is_open),
        ];
        let left = node.ends_by.map(|by| by.since(node.now));
        (hasher.finish(), counts, left)
    }
}

impl Node {
    fn timeout(&self) -> Option<MonotonicTime> {
        let client = ClientTraffic::client_timeout(&self.client, false);
        let over = matches!(self.client.state(), State::Disposed);
        let drain = self.traffic.poll_timeout().filter(|_| !over);
        client.into_iter().chain(drain).min()
    }

    /// One turn of the driver, after its inputs.
    fn turn(&mut self) {
        self.execute();
        while self.queued > 0 {
            match self.traffic.next_call(&self.client, self.in_flight) {
                NextCall::Wait => break,
                NextCall::Send => self.in_flight += 1,
                NextCall::Refuse => self.ended += 1,
            }
            self.queued -= 1;
        }
        if !matches!(self.client.state(), State::Disposed) {
            match self.traffic.drained(self.now, self.in_flight) {
                Some(end) => self.client.handle(self.now, end),
                None => self.client.handle_timeout(self.now),
            }
        }
        self.execute();
        // What is still queued is dropped with its queue.
        if matches!(self.client.state(), State::Disposed) {
            self.ended += std::mem::take(&mut self.queued);
        }
    }

    fn execute(&mut self) {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                Effect::CloseTransport { .. } => self.is_open = false,
                Effect::EndWaiters { .. } => self.ended += std::mem::take(&mut self.in_flight),
                Effect::OpenTransport { .. } | Effect::SendPing { .. } | Effect::Suspect { .. } => {
                }
            }
        }
        while self.client.poll_transition().is_some() {}
    }
}

fn check(before: &Node, after: &Node, step: &Step) -> Result<(), &'static str> {
    let calls = |node: &Node| node.queued + node.in_flight + node.ended;
    let added = usize::from(matches!(step, Step::Call));
    if calls(after) != calls(before) + added {
        return Err("each_call_ends_once");
    }
    if after.in_flight > MOST || after.in_flight > 0 && !after.is_open {
        return Err("calls_are_sent_on_a_connection_within_its_bound");
    }
    let waits = matches!(after.client.state(), State::Connecting { .. })
        || after.is_open && after.in_flight == MOST;
    if after.queued > 0 && !waits {
        return Err("inv_12_a_call_waits_only_while_it_can_still_be_sent");
    }
    let is_over = matches!(after.client.state(), State::Disposed);
    let is_due = after.ends_by.is_some_and(|by| by <= after.now);
    let is_idle = after.in_flight == 0 && after.ends_by.is_some();
    if is_over && after.ends_by.is_none() {
        return Err("only_a_disposed_client_ends");
    }
    if !is_over && (is_due || is_idle) {
        return Err("inv_12_a_disposed_client_ends_in_time_or_when_it_is_idle");
    }
    let answered = matches!(step, Step::Answered);
    let cut = before.in_flight > after.in_flight + usize::from(answered);
    if is_over && cut && !(is_due || matches!(step, Step::Lost | Step::Timer)) {
        return Err("inv_12_requests_in_flight_have_their_time_to_end");
    }
    Ok(())
}

#[test]
fn inv_12_every_history_of_a_clients_calls() {
    let report = explore(&Clients, 40);
    assert!(report.complete && report.nodes > 100, "{report:?}");
}
