//! Every history of a `HostRuntimeManager`: over one and two paths until no new state appears, over
//! three to a bounded depth.

mod invariants;

use self::invariants::{
    candidate, check_away, check_data, check_network, check_state, check_step, hold,
};
use crate::explorer::{Model, explore};
use bowline_machines::{
    Generation, MonotonicTime, Path,
    client::paths::{ClientStatus, Effect, HostConfig, HostRuntimeManager, Input, PathId, State},
};
use bowline_protocol::Reason;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::Hasher,
    time::Duration,
};

/// The retry-after of a peer that limits the rate.
const RETRY_AFTER: Duration = Duration::from_secs(20);

/// The host and the driver's resources.
#[derive(Clone)]
struct Node {
    host: HostRuntimeManager,
    now: MonotonicTime,
    /// Clients created and not disposed of.
    clients: Vec<Generation>,
    /// The running probes: their cycle and paths.
    probes: Option<(u64, Vec<PathId>)>,
    network: Network,
    /// Paths whose peers sent a retry-after, and its end.
    away: BTreeMap<PathId, MonotonicTime>,
}

/// Reports of a network change.
#[derive(Clone, Copy, Default)]
struct Network {
    /// Whether a report has not taken effect yet.
    is_waiting: bool,
    /// No report takes effect before this time.
    quiet_until: MonotonicTime,
}

/// The state before a step.
struct Before {
    state: State,
    generation: Generation,
    stale: u32,
    switches_failed: u64,
    clients: Vec<Generation>,
    cycle: Option<u64>,
}

/// The effect of a report of a network change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    /// It takes effect in this step, alone or after timers that were due earlier.
    Counts { is_alone: bool },
    /// It follows another one within the pause.
    Waits,
}

impl Before {
    fn of(node: &Node) -> Self {
        Self {
            state: *node.host.state(),
            generation: node.host.generation(),
            stale: node.host.stale(),
            switches_failed: node.host.switches_failed(),
            clients: node.clients.clone(),
            cycle: node.probes.as_ref().map(|(cycle, _)| *cycle),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    /// The timer fires on time, or far too late.
    Timer {
        late: Duration,
    },
}

struct Host {
    connections: Vec<(PathId, Path)>,
    /// Whether clients suspect their paths (SP-1). The host then starts online, with the other
    /// paths known to work.
    is_suspecting: bool,
    /// Time for which reports of a network change count as one; zero: every report counts.
    network_pause: Duration,
    /// Transitions reached: from, to, and whether a candidate was promoted.
    seen: RefCell<BTreeSet<(&'static str, &'static str, bool)>>,
}

impl Network {
    /// Records a step. `at`: its end.
    fn note(&mut self, step: &Step, at: MonotonicTime, pause: Duration) -> Option<Report> {
        let is_alone = match step {
            Step::Feed(Input::NetworkChanged) => true,
            Step::Timer { late } if self.is_waiting && self.quiet_until <= at => late.is_zero(),
            Step::Feed(_) | Step::Timer { .. } => return None,
        };
        self.is_waiting = at < self.quiet_until;
        if self.is_waiting {
            return Some(Report::Waits);
        }
        self.quiet_until = at + pause;
        Some(Report::Counts { is_alone })
    }
}

type Broken = Result<(), &'static str>;

impl Host {
    /// Steps about clients: the active one, the candidate, and one that is gone.
    fn client_steps(&self, node: &Node, steps: &mut Vec<Step>) {
        let lost = |reason: Reason| ClientStatus::Disconnected {
            reason,
            retry_after: None,
        };
        // One path is limited, so that the states stay few enough.
        let limited = ClientStatus::Disconnected {
            reason: Reason::ConnectionLost,
            retry_after: Some(RETRY_AFTER),
        };
        let last = self.connections.last().map(|(path, _)| *path);
        let of_last = [node.host.state().active(), candidate(node.host.state())];
        let of_last = of_last.map(|client| client.filter(|(path, _)| Some(*path) == last));
        for (_, generation) in of_last.into_iter().flatten() {
            let state = limited;
            steps.push(Step::Feed(Input::ClientState { generation, state }));
        }
        let mut generations = node.clients.clone();
        generations.push(Generation::ZERO);
        for generation in generations {
            for state in [
                ClientStatus::Connecting,
                ClientStatus::Connected,
                lost(Reason::ConnectionLost),
                lost(Reason::DeviceRevoked),
                lost(Reason::ServerIdentityMismatch),
                ClientStatus::Disposed,
            ] {
                steps.push(Step::Feed(Input::ClientState { generation, state }));
            }
            for is_suspected in [true, false].into_iter().filter(|_| self.is_suspecting) {
                steps.push(Step::Feed(Input::Suspected {
                    generation,
                    is_suspected,
                }));
            }
        }
    }

    fn probe_steps(node: &Node, steps: &mut Vec<Step>) {
        let Some((cycle, pending)) = &node.probes else {
            return;
        };
        for connection in pending {
            // By label, so that one path is always much faster than the other.
            let rtt = Duration::from_millis(u64::from(connection.0) * 50);
            for outcome in [
                Ok(rtt),
                Err(Reason::Unreachable),
                Err(Reason::DeviceUnknown),
            ] {
                steps.push(Step::Feed(Input::ProbeFinished {
                    cycle: *cycle,
                    connection: *connection,
                    outcome,
                    retry_after: None,
                }));
            }
            steps.push(Step::Feed(Input::ProbeFinished {
                cycle: cycle - 1,
                connection: *connection,
                outcome: Ok(rtt),
                retry_after: None,
            }));
        }
    }

    /// Updates the driver's resources by the effects. INV-4, INV-11: no effect names a client or
    /// cycle that the driver does not hold, and generations of clients only grow.
    fn follow(before: &Before, node: &mut Node, step: &Step, effects: &[Effect]) -> Broken {
        if let Step::Feed(Input::ProbeFinished {
            cycle, connection, ..
        }) = step
            && let Some((running, pending)) = &mut node.probes
            && running == cycle
        {
            pending.retain(|pending| pending != connection);
            if pending.is_empty() {
                node.probes = None;
            }
        }
        let mut newest = before.clients.iter().copied().max();
        for effect in effects {
            match effect {
                Effect::CreateClient { generation, .. } => {
                    hold(
                        Some(*generation) > newest,
                        "inv_10_generation_never_decreases",
                    )?;
                    newest = Some(*generation);
                    node.clients.push(*generation);
                }
                Effect::DisposeClient { generation, .. } => {
                    let held = node.clients.contains(generation);
                    hold(held, "inv_4_only_own_clients_are_disposed_of")?;
                    node.clients.retain(|client| client != generation);
                }
                Effect::Promote { generation }
                | Effect::Attached { generation }
                | Effect::CheckLiveness { generation }
                | Effect::NetworkChanged { generation }
                | Effect::Reconnect { generation }
                | Effect::TellAlternative { generation, .. }
                | Effect::SetBackground { generation, .. } => {
                    hold(
                        node.clients.contains(generation),
                        "inv_4_effects_name_own_clients",
                    )?;
                }
                Effect::Lost { .. } => {}
                Effect::StartProbe {
                    cycle, connection, ..
                } => match &mut node.probes {
                    Some((running, pending)) if running == cycle => pending.push(*connection),
                    Some(_) => hold(false, "hr_one_cycle_at_a_time")?,
                    None => node.probes = Some((*cycle, vec![*connection])),
                },
                Effect::CancelProbes { cycle } => {
                    let running = node.probes.take().map(|(running, _)| running);
                    hold(
                        running == Some(*cycle),
                        "hr_only_the_running_cycle_is_cancelled",
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Model for Host {
    type Node = Node;
    type Step = Step;
    type Key = u64;

    fn start(&self) -> Vec<Node> {
        let mut config = HostConfig::new(3);
        // No pauses: jitter would make every state a new one. `machines::backoff` tests them.
        config.backoff.base = Duration::ZERO;
        config.backoff.cap = Duration::ZERO;
        config.second_look = Duration::from_secs(20);
        config.distrusted_cycles = 3;
        config.network_pause = self.network_pause;
        let mut node = Node {
            host: HostRuntimeManager::new(config),
            now: MonotonicTime::from_millis(1_000_000),
            clients: Vec::new(),
            probes: None,
            network: Network::default(),
            away: BTreeMap::new(),
        };
        if self.is_suspecting {
            let rtt = Duration::from_millis(50);
            let proven = |connection| {
                Step::Feed(Input::ProbeFinished {
                    cycle: 1,
                    connection,
                    outcome: Ok(rtt),
                    retry_after: None,
                })
            };
            let connections = self.connections.clone();
            let mut steps = vec![Step::Feed(Input::Start { connections })];
            steps.extend(self.connections.iter().map(|(path, _)| proven(*path)));
            steps.push(Step::Feed(Input::ClientState {
                generation: Generation::new(1),
                state: ClientStatus::Connected,
            }));
            for step in steps {
                let applied = self.apply(&mut node, &step);
                assert_eq!(applied, Ok(()), "{step:?}");
            }
            assert!(matches!(node.host.state(), State::Online { .. }));
        }
        vec![node]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let (first, rest) = (self.connections.first(), self.connections.get(1..));
        let mut steps = vec![
            Step::Feed(Input::Start {
                connections: self.connections.clone(),
            }),
            Step::Feed(Input::ConnectionsChanged(self.connections.clone())),
            Step::Feed(Input::ConnectionsChanged(rest.unwrap_or_default().to_vec())),
            Step::Feed(Input::ConnectionsChanged(Vec::new())),
            Step::Feed(Input::UserSelect(None)),
            Step::Feed(Input::UserSelect(first.map(|(connection, _)| *connection))),
            Step::Feed(Input::UserSelect(Some(PathId(99)))),
            Step::Feed(Input::ReconnectNow),
            Step::Feed(Input::IntentQueued),
            Step::Feed(Input::Foreground),
            Step::Feed(Input::Background),
            Step::Feed(Input::NetworkChanged),
            Step::Feed(Input::Stop),
        ];
        let last = self.connections.last().map(|(connection, _)| *connection);
        // A late probe: no cycle has this number.
        steps.extend(last.map(|connection| {
            Step::Feed(Input::ProbeFinished {
                cycle: 0,
                connection,
                outcome: Err(Reason::RateLimited),
                retry_after: Some(RETRY_AFTER),
            })
        }));
        self.client_steps(node, &mut steps);
        Self::probe_steps(node, &mut steps);
        if node.host.poll_timeout().is_some() {
            for late in [Duration::ZERO, Duration::from_secs(3_600)] {
                steps.push(Step::Timer { late });
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = Before::of(node);
        match step {
            Step::Feed(input) => node.host.handle(node.now, input.clone()),
            Step::Timer { late } => {
                let at = node.host.poll_timeout().unwrap_or(node.now);
                node.now = at.max(node.now) + *late;
                node.host.handle_timeout(node.now);
            }
        }
        let report = node.network.note(step, node.now, self.network_pause);
        let mut effects = Vec::new();
        while let Some(effect) = node.host.poll_effect() {
            effects.push(effect);
        }
        let mut changes = 0;
        while node.host.poll_transition().is_some() {
            changes += 1;
        }
        let is_promotion = |effect: &Effect| matches!(effect, Effect::Promote { .. });
        let promoted = effects.iter().any(is_promotion);
        let (from, to) = (before.state.name(), node.host.state().name());
        self.seen.borrow_mut().insert((from, to, promoted));
        Self::follow(&before, node, step, &effects)
            .and_then(|()| check_state(&before, node, changes, &effects))
            .and_then(|()| check_step(&before, node, step, &effects))
            .and_then(|()| check_data(&before, node, step, &effects))
            .and_then(|()| check_away(&before, node, step, &effects))
            .and_then(|()| check_network(&before, node, report, &effects))
            .map_err(|name| format!("{name}: {:?}\neffects: {effects:?}", node.host))
    }

    fn key(&self, node: &Node) -> u64 {
        let mut hasher = DefaultHasher::new();
        node.host.fingerprint(node.now, &mut hasher);
        hasher.finish()
    }
}

fn host(kinds: &[Path]) -> Host {
    Host {
        connections: (1..).map(PathId).zip(kinds.iter().copied()).collect(),
        is_suspecting: false,
        network_pause: Duration::ZERO,
        seen: RefCell::default(),
    }
}

const STATES: [&str; 8] = [
    "booting",
    "no_connections",
    "selecting_active_connection",
    "connecting_active",
    "online",
    "degraded",
    "error",
    "stopped",
];

#[test]
fn bx_7_the_host_keeps_its_invariants_in_every_history_of_one_path() {
    let host = host(&[Path::Direct]);
    let report = explore(&host, 1_000);
    assert!(report.complete && report.nodes > 300, "{report:?}");
}

#[test]
fn bx_7_the_host_keeps_its_invariants_in_every_history_of_a_direct_path_and_a_relay() {
    let host = host(&[Path::Direct, Path::Relay]);
    let report = explore(&host, 1_000);
    assert!(report.complete && report.nodes > 10_000, "{report:?}");
    // Everything was reached: every state, switches, and both ways out of degraded.
    let seen = host.seen.borrow();
    for state in STATES {
        assert!(
            seen.iter()
                .any(|(from, to, _)| *from == state || *to == state),
            "{state}"
        );
    }
    for (from, promoted) in [("online", true), ("degraded", true), ("degraded", false)] {
        assert!(
            seen.contains(&(from, "online", promoted)),
            "{from}, {promoted}"
        );
    }
}

#[test]
fn bx_7_the_host_keeps_its_invariants_over_three_paths() {
    let host = host(&[Path::Relay, Path::Local, Path::Relay]);
    let report = explore(&host, 7);
    assert!(report.nodes > 10_000, "{report:?}");
}

#[test]
fn bx_7_sp_1_the_host_keeps_its_invariants_while_clients_suspect_their_paths() {
    let host = Host {
        is_suspecting: true,
        ..host(&[Path::Direct, Path::Relay])
    };
    let report = explore(&host, 7);
    assert!(report.nodes > 5_000, "{report:?}");
    let seen = host.seen.borrow();
    assert!(seen.contains(&("online", "online", true)), "a switch");
}

#[test]
fn bx_7_ls_3_reports_of_a_network_change_are_gathered_and_never_lost() {
    for paths in [&[Path::Direct][..], &[Path::Direct, Path::Relay]] {
        let host = Host {
            network_pause: Duration::from_millis(250),
            ..host(paths)
        };
        let report = explore(&host, 6);
        assert!(report.nodes > 300, "{report:?}");
    }
}
