//! Every history of a daemon's link with a relay and two sessions, to a bounded depth.

#![allow(clippy::unwrap_used, clippy::panic)] // The lint knows unit tests only.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

use bowline_machines::{
    Generation, Moment,
    backoff::BackoffConfig,
    relay::{Effect, Input, PeerEnd, PeerId, RelayConfig, RelayLink, State},
};
use bowline_protocol::{ClientSessionKey, DaemonIdentity, Reason, RouteKey};

use crate::explorer::{Model, explore};

fn config() -> RelayConfig {
    RelayConfig {
        register_deadline: Duration::from_secs(2),
        open_deadline: Duration::from_secs(2),
        drain: Duration::from_secs(1),
        // No jitter: all pauses are nothing.
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
    ClientSessionKey::from_random([n; 16]).route_key(identity.server_id())
}

/// A link, and the driver's side of it.
#[derive(Clone)]
struct Node {
    link: RelayLink,
    now: Moment,
    /// The control socket that the driver has.
    control: Option<Generation>,
    /// Data sockets that the driver has, and whether each is open.
    peers: BTreeMap<PeerId, (RouteKey, bool)>,
    stopped: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    /// News of the socket before the last one.
    Stale(Input),
    Timer,
}

struct Links {
    routes: [RouteKey; 2],
}

impl Links {
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

impl Model for Links {
    type Node = Node;
    type Step = Step;
    type Key = (u64, Vec<(RouteKey, bool)>);

    fn start(&self) -> Vec<Node> {
        vec![Node {
            link: RelayLink::new(config()),
            now: Moment::from_millis(1_000_000),
            control: None,
            peers: BTreeMap::new(),
            stopped: false,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Feed(Input::Start), Step::Feed(Input::Hurry)];
        let stale = self.news(Generation::ZERO);
        steps.extend(stale.into_iter().take(2).map(Step::Stale));
        if let Some(generation) = node.control {
            steps.extend(self.news(generation).into_iter().map(Step::Feed));
        }
        let lost = PeerEnd::Lost {
            reason: Reason::ConnectionLost,
            retry_after: None,
        };
        for (&peer, (_, open)) in &node.peers {
            if !open {
                steps.push(Step::Feed(Input::PeerOpened { peer }));
            }
            for end in [PeerEnd::Gone, lost] {
                steps.push(Step::Feed(Input::PeerEnded { peer, end }));
            }
        }
        if node.link.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        let reason = Reason::ShuttingDown;
        steps.push(Step::Feed(Input::Stop { reason }));
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = (*node.link.state(), node.link.sessions());
        match step {
            Step::Feed(input) => {
                match input {
                    Input::Ended { .. } => node.control = None,
                    Input::PeerOpened { peer } => {
                        node.peers.entry(*peer).and_modify(|peer| peer.1 = true);
                    }
                    Input::PeerEnded { peer, .. } => {
                        node.peers.remove(peer);
                    }
                    Input::Stop { .. } => node.stopped = true,
                    _ => {}
                }
                node.link.handle(node.now, input.clone());
            }
            Step::Stale(input) => {
                node.link.handle(node.now, input.clone());
                if (*node.link.state(), node.link.sessions()) != before {
                    return Err("stale_results_change_nothing".to_owned());
                }
            }
            Step::Timer => {
                node.now = node.link.poll_timeout().unwrap().max(node.now);
                node.link.handle_timeout(node.now);
            }
        }
        while let Some(effect) = node.link.poll_effect() {
            match effect {
                Effect::Connect { generation } => {
                    if node.control.replace(generation).is_some() {
                        return Err("one_control_socket: a second was dialled".to_owned());
                    }
                }
                Effect::Disconnect { .. } => node.control = None,
                Effect::OpenPeer { peer, session } => {
                    if node.peers.insert(peer, (session, false)).is_some() {
                        return Err("peers_are_numbered_once".to_owned());
                    }
                }
                Effect::ClosePeer { peer } => {
                    if node.peers.remove(&peer).is_none() {
                        return Err("only_what_there_is_is_closed".to_owned());
                    }
                }
                Effect::CheckPeer { peer } if !node.peers.contains_key(&peer) => {
                    return Err("only_what_there_is_is_checked".to_owned());
                }
                Effect::CheckPeer { .. } | Effect::Answer | Effect::Ping => {}
            }
        }
        while node.link.poll_transition().is_some() {}
        check(node)
    }

    fn key(&self, node: &Node) -> (u64, Vec<(RouteKey, bool)>) {
        let mut hasher = DefaultHasher::new();
        node.link.fingerprint(node.now, &mut hasher);
        let peers = node.peers.values().cloned().collect();
        (hasher.finish(), peers)
    }
}

fn check(node: &Node) -> Result<(), String> {
    let link = &node.link;
    if link.refused() != 0 {
        return Err("every_change_is_in_the_table".to_owned());
    }
    let waits = !matches!(link.state(), State::Idle | State::Stopped);
    if waits && link.poll_timeout().is_none() {
        return Err(format!(
            "every_waiting_state_has_a_deadline: {:?}",
            link.state()
        ));
    }
    let dialled = matches!(
        link.state(),
        State::Connecting { .. } | State::Registered { .. }
    );
    if dialled != node.control.is_some() {
        return Err(format!("one_control_socket: {:?}", link.state()));
    }
    if node.stopped && *link.state() != State::Stopped {
        return Err("stopped_is_terminal".to_owned());
    }
    let most = config().most_sessions;
    if link.sessions() > most || link.peers() > most {
        return Err("rl_4_sessions_and_peers_are_bounded".to_owned());
    }
    if !node.stopped && link.peers() != node.peers.len() {
        return Err(format!(
            "machine_and_driver_agree_about_peers: {} and {}",
            link.peers(),
            node.peers.len()
        ));
    }
    let sessions: BTreeSet<_> = node.peers.values().map(|(session, _)| session).collect();
    if sessions.len() > most {
        return Err("rl_4_sessions_and_peers_are_bounded".to_owned());
    }
    Ok(())
}

#[test]
fn every_history_of_a_link_keeps_its_invariants() {
    let routes = [route(1), route(2)];
    let report = explore(&Links { routes }, 14);
    assert!(report.nodes > 200, "{report:?}");
}
