//! Every history of a daemon's registration with a relay and two sessions, to a bounded depth.

#![allow(clippy::unwrap_used, clippy::panic)] // The lint exempts unit tests only.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use bowline_machines::{
    Generation, MonotonicTime,
    backoff::BackoffConfig,
    daemon::registration::{
        DataSocketEnd, DataSocketId, Effect, Input, RelayConfig, RelayRegistration, State,
    },
};
use bowline_protocol::{DaemonIdentity, PublicKey, Reason, RouteKey};

use crate::explorer::{Model, explore};

fn config() -> RelayConfig {
    RelayConfig {
        register_deadline: Duration::from_secs(2),
        open_deadline: Duration::from_secs(2),
        drain: Duration::from_secs(1),
        // No jitter: all pauses are zero.
        backoff: BackoffConfig {
            base: Duration::ZERO,
            cap: Duration::ZERO,
            reset_after: Duration::from_secs(10),
        },
        patient: BackoffConfig {
            base: Duration::ZERO,
            cap: Duration::ZERO,
            reset_after: Duration::from_secs(10),
        },
        between_hurries: Duration::ZERO,
        most_sessions: 2,
        ..RelayConfig::new(1)
    }
}

fn route(n: u8) -> RouteKey {
    let identity = DaemonIdentity::from_seed([1; 32]).unwrap();
    RouteKey::of_device(&PublicKey::from_bytes([n; 32]), identity.server_id())
}

/// A registration and its driver's resources.
#[derive(Clone)]
struct Node {
    registration: RelayRegistration,
    now: MonotonicTime,
    /// The driver's control socket.
    control: Option<Generation>,
    /// The driver's data sockets, and whether each is open.
    sockets: BTreeMap<DataSocketId, (RouteKey, bool)>,
    stopped: bool,
    /// Attempts and registrations that ended since the last registration.
    failed: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    /// An input of the socket before the last one.
    Stale(Input),
    Timer,
}

struct Registrations {
    routes: [RouteKey; 2],
}

impl Registrations {
    fn news(&self, generation: Generation) -> Vec<Input> {
        let [one, two] = self.routes.clone();
        let reason = Reason::ConnectionLost;
        let session = |session: &RouteKey| session.clone();
        vec![
            Input::Registered {
                generation,
                heartbeat: Duration::from_secs(1),
            },
            Input::Ended {
                generation,
                reason,
                retry_after: None,
            },
            Input::Sync {
                generation,
                sessions: vec![],
            },
            Input::Sync {
                generation,
                sessions: vec![session(&one), session(&two)],
            },
            Input::SessionOpened {
                generation,
                session: session(&one),
            },
            Input::SessionClosed {
                generation,
                session: session(&one),
            },
        ]
    }
}

impl Model for Registrations {
    type Node = Node;
    type Step = Step;
    type Key = (u64, Vec<(RouteKey, bool)>);

    fn start(&self) -> Vec<Node> {
        vec![Node {
            registration: RelayRegistration::new(config()),
            now: MonotonicTime::from_millis(1_000_000),
            control: None,
            sockets: BTreeMap::new(),
            stopped: false,
            failed: 0,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Feed(Input::Start), Step::Feed(Input::Hurry)];
        let routes = Arc::new(BTreeSet::from([self.routes[0].clone()]));
        steps.push(Step::Feed(Input::Known { routes }));
        let stale = self.news(Generation::ZERO);
        steps.extend(stale.into_iter().take(2).map(Step::Stale));
        if let Some(generation) = node.control {
            steps.extend(self.news(generation).into_iter().map(Step::Feed));
        }
        let lost = DataSocketEnd::Lost {
            reason: Reason::ConnectionLost,
            retry_after: None,
        };
        for (&socket, (_, open)) in &node.sockets {
            if !open {
                steps.push(Step::Feed(Input::DataOpened { socket }));
            }
            for end in [DataSocketEnd::Gone, lost] {
                steps.push(Step::Feed(Input::DataEnded { socket, end }));
            }
        }
        if node.registration.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        let reason = Reason::ShuttingDown;
        steps.push(Step::Feed(Input::Stop { reason }));
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = (*node.registration.state(), node.registration.sessions());
        match step {
            Step::Feed(input) => {
                match input {
                    Input::Ended { .. } => node.control = None,
                    Input::DataOpened { socket } => {
                        node.sockets
                            .entry(*socket)
                            .and_modify(|socket| socket.1 = true);
                    }
                    Input::DataEnded { socket, .. } => {
                        node.sockets.remove(socket);
                    }
                    Input::Stop { .. } => node.stopped = true,
                    _ => {}
                }
                node.registration.handle(node.now, input.clone());
            }
            Step::Stale(input) => {
                node.registration.handle(node.now, input.clone());
                if (*node.registration.state(), node.registration.sessions()) != before {
                    return Err("stale_results_change_nothing".to_owned());
                }
            }
            Step::Timer => {
                node.now = node.registration.poll_timeout().unwrap().max(node.now);
                node.registration.handle_timeout(node.now);
            }
        }
        let registered = matches!(node.registration.state(), State::Registered { .. });
        let waits = |state: &State| matches!(state, State::Waiting { .. });
        if waits(node.registration.state()) && !waits(&before.0) {
            node.failed += 1;
        }
        while let Some(effect) = node.registration.poll_effect() {
            match effect {
                Effect::Connect { generation } => {
                    if node.control.replace(generation).is_some() {
                        return Err("one_control_socket: a second was dialled".to_owned());
                    }
                }
                Effect::Disconnect { .. } => node.control = None,
                Effect::OpenData {
                    socket, session, ..
                } => {
                    if node.sockets.insert(socket, (session, false)).is_some() {
                        return Err("peers_are_numbered_once".to_owned());
                    }
                }
                Effect::CloseData { socket } => {
                    if node.sockets.remove(&socket).is_none() {
                        return Err("only_what_there_is_is_closed".to_owned());
                    }
                }
                Effect::CheckData { socket } if !node.sockets.contains_key(&socket) => {
                    return Err("only_what_there_is_is_checked".to_owned());
                }
                Effect::TellDevices { .. } if !registered => {
                    return Err("tr_10_only_a_relay_that_took_the_proof_is_told".to_owned());
                }
                Effect::HurryOthers if node.failed < 2 || !registered => {
                    return Err("only_a_network_that_came_back_hurries_others".to_owned());
                }
                Effect::TellDevices { .. }
                | Effect::HurryOthers
                | Effect::CheckData { .. }
                | Effect::Answer
                | Effect::Ping => {}
            }
        }
        if registered {
            node.failed = 0;
        }
        while node.registration.poll_transition().is_some() {}
        check(node)
    }

    fn key(&self, node: &Node) -> (u64, Vec<(RouteKey, bool)>) {
        let mut hasher = DefaultHasher::new();
        node.registration.fingerprint(node.now, &mut hasher);
        let sockets = node.sockets.values().cloned().collect();
        (hasher.finish(), sockets)
    }
}

fn check(node: &Node) -> Result<(), String> {
    let registration = &node.registration;
    if registration.refused() != 0 {
        return Err("every_change_is_in_the_table".to_owned());
    }
    let waits = !matches!(registration.state(), State::Idle | State::Stopped);
    if waits && registration.poll_timeout().is_none() {
        return Err(format!(
            "every_waiting_state_has_a_deadline: {:?}",
            registration.state()
        ));
    }
    let dialled = matches!(
        registration.state(),
        State::Connecting { .. } | State::Registered { .. }
    );
    if dialled != node.control.is_some() {
        return Err(format!("one_control_socket: {:?}", registration.state()));
    }
    if node.stopped && *registration.state() != State::Stopped {
        return Err("stopped_is_terminal".to_owned());
    }
    let most = config().most_sessions;
    if registration.sessions() > most || registration.data_sockets() > most {
        return Err("rl_4_sessions_and_peers_are_bounded".to_owned());
    }
    if !node.stopped && registration.data_sockets() != node.sockets.len() {
        return Err(format!(
            "machine_and_driver_agree_about_peers: {} and {}",
            registration.data_sockets(),
            node.sockets.len()
        ));
    }
    let sessions: BTreeSet<_> = node.sockets.values().map(|(session, _)| session).collect();
    if sessions.len() > most {
        return Err("rl_4_sessions_and_peers_are_bounded".to_owned());
    }
    Ok(())
}

#[test]
fn every_history_of_a_link_keeps_its_invariants() {
    let routes = [route(1), route(2)];
    let report = explore(&Registrations { routes }, 14);
    assert!(report.nodes > 200, "{report:?}");
}
