//! Every history of a daemon's control socket at its relay.

use std::{hash::DefaultHasher, hash::Hasher, time::Duration};

use bowline_machines::{
    MonotonicTime,
    relay::{
        control::{ControlSocket, Effect, Input},
        session::Ending,
    },
};
use bowline_protocol::{
    Reason,
    relay::limits::{HANDSHAKE, HEARTBEAT, QUEUE_BYTES, SOCKET_STALL},
};

use crate::explorer::{Model, explore};

/// The socket and its driver's resources.
#[derive(Clone)]
struct Node {
    socket: ControlSocket,
    now: MonotonicTime,
    /// Proofs that were verified.
    verified: u8,
    /// The daemon is in the registry.
    registered: bool,
    /// Bytes wait that the daemon does not take, since this time.
    stuck: Option<MonotonicTime>,
    heard: MonotonicTime,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A proof, and whether it is valid.
    Proof(bool),
    Received,
    Closed,
    End,
    /// The daemon takes nothing of what is sent from now on, or everything.
    Stuck(bool),
    Timer {
        late: Duration,
    },
}

struct Sockets;

impl Model for Sockets {
    type Node = Node;
    type Step = Step;
    type Key = (u64, bool, u8, Option<Duration>, Duration);

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        vec![Node {
            socket: ControlSocket::new(now, HANDSHAKE),
            now,
            verified: 0,
            registered: false,
            stuck: None,
            heard: now,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![
            Step::Proof(true),
            Step::Proof(false),
            Step::Received,
            Step::Closed,
            Step::End,
            Step::Stuck(node.stuck.is_none()),
        ];
        if node.socket.poll_timeout().is_some() {
            let late = [Duration::ZERO, Duration::from_secs(3_600)];
            steps.extend(late.map(|late| Step::Timer { late }));
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        let mut valid = false;
        match *step {
            Step::Proof(is_valid) => {
                valid = is_valid;
                node.socket.handle(node.now, Input::Proof);
            }
            Step::Received => {
                node.heard = node.now;
                node.socket.on_received(node.now);
            }
            Step::Closed => {
                let ending = Ending::ByPeer(1000);
                node.socket.handle(node.now, Input::Closed { ending });
            }
            Step::End => {
                let text = Reason::Replaced.into();
                node.socket.handle(node.now, Input::End { text });
            }
            Step::Stuck(is_stuck) => {
                node.stuck = is_stuck.then_some(node.now);
                let queued = if is_stuck { QUEUE_BYTES + 1 } else { 0 };
                node.socket.on_write(node.now, queued, !is_stuck);
            }
            Step::Timer { late } => {
                node.now = node.socket.poll_timeout().unwrap_or(node.now) + late;
                node.socket.handle_timeout(node.now);
            }
        }
        let mut pinged = false;
        while let Some(effect) = node.socket.poll_effect() {
            match effect {
                Effect::Verify if valid => {
                    node.verified += 1;
                    node.registered = true;
                    node.heard = node.now;
                    node.stuck = None;
                    let heartbeat = HEARTBEAT;
                    node.socket.handle(node.now, Input::Accepted { heartbeat });
                }
                Effect::Verify => {
                    node.verified += 1;
                    let reason = Reason::IdentityMissing;
                    node.socket.handle(node.now, Input::Refused { reason });
                }
                Effect::Ping => pinged = true,
            }
        }
        if node.socket.ended().is_some() {
            node.registered = false;
        }
        check(&before, node, step, pinged).map_err(|name| format!("{name}: {:?}", node.socket))
    }

    fn key(&self, node: &Node) -> Self::Key {
        let mut hasher = DefaultHasher::new();
        node.socket.fingerprint(node.now, &mut hasher);
        let stuck = node.stuck.map(|since| node.now.since(since));
        let silent = node.now.since(node.heard).min(HEARTBEAT * 4);
        let fingerprint = hasher.finish();
        (fingerprint, node.registered, node.verified, stuck, silent)
    }
}

fn check(before: &Node, after: &Node, step: &Step, pinged: bool) -> Result<(), &'static str> {
    let (was, is) = (before.socket.ended(), after.socket.ended());
    if was.is_some() && was != is {
        return Err("ended_is_terminal (INV-12)");
    }
    if after.verified > 1 {
        return Err("rl_2_a_daemon_proves_itself_once");
    }
    if after.registered != after.socket.is_registered() {
        return Err("machine_and_driver_agree");
    }
    if is.is_none() == after.socket.poll_timeout().is_none() {
        return Err("every_wait_has_a_deadline (INV-12)");
    }
    if pinged && !before.registered || after.socket.may_tell(0) != after.registered {
        return Err("rl_2_nothing_is_said_to_a_daemon_that_is_not_registered");
    }
    let silent = after.now.since(before.heard);
    if is == Some(Reason::HeartbeatTimeout.into()) && was.is_none() && silent < HEARTBEAT * 2 {
        return Err("ls_3_a_daemon_that_answers_stays");
    }
    let stuck = after.stuck.filter(|_| after.registered);
    if let (Step::Timer { .. }, Some(since)) = (step, stuck)
        && after.now.since(since) >= SOCKET_STALL
    {
        return Err("tr_8_a_daemon_that_only_speaks_is_closed");
    }
    if let Step::Timer { .. } = step
        && after
            .socket
            .poll_timeout()
            .is_some_and(|due| due <= after.now)
    {
        return Err("timers_make_progress");
    }
    Ok(())
}

#[test]
fn rl_2_rl_5_every_history_of_a_control_socket() {
    let report = explore(&Sockets, 60);
    assert!(report.complete && report.nodes > 20, "{report:?}");
}
