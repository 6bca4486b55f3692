//! Every history of a `HostRuntimeManager`: over one and two paths until no new situation appears, over
//! three to a bounded depth.

use std::{
    cell::RefCell,
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::Hasher,
    time::Duration,
};

use bowline_machines::{
    Generation, Moment, Path,
    host::{ClientStatus, ConnectionId, Effect, HostConfig, HostRuntimeManager, Input, State},
};
use bowline_protocol::Reason;

use crate::explorer::{Model, explore};

/// The host and what its driver would hold.
#[derive(Clone)]
struct Node {
    host: HostRuntimeManager,
    now: Moment,
    /// Clients that were created and not disposed of.
    clients: Vec<Generation>,
    /// The probes that run: their cycle and paths.
    probes: Option<(u64, Vec<ConnectionId>)>,
}

/// What a step is compared with.
struct Before {
    state: State,
    generation: Generation,
    stale_dropped: u64,
    switches_failed: u64,
    clients: Vec<Generation>,
    cycle: Option<u64>,
}

impl Before {
    fn of(node: &Node) -> Self {
        Self {
            state: *node.host.state(),
            generation: node.host.generation(),
            stale_dropped: node.host.stale_dropped(),
            switches_failed: node.host.switches_failed(),
            clients: node.clients.clone(),
            cycle: node.probes.as_ref().map(|(cycle, _)| *cycle),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    /// The wait is over on time, or far too late.
    Timer {
        late: Duration,
    },
}

struct Host {
    connections: Vec<(ConnectionId, Path)>,
    /// Changes of state that were reached: from, to, and whether a candidate was promoted.
    seen: RefCell<BTreeSet<(&'static str, &'static str, bool)>>,
}

type Broken = Result<(), &'static str>;

fn hold(holds: bool, name: &'static str) -> Broken {
    if holds { Ok(()) } else { Err(name) }
}

impl Host {
    /// Steps about clients: of the active one, the candidate, and one that is gone.
    fn client_steps(node: &Node, steps: &mut Vec<Step>) {
        let lost = |reason: Reason| ClientStatus::Disconnected {
            reason,
            will_retry: reason.is_recoverable(),
        };
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
                }));
            }
            steps.push(Step::Feed(Input::ProbeFinished {
                cycle: cycle - 1,
                connection: *connection,
                outcome: Ok(rtt),
            }));
        }
    }

    /// What the driver holds after the effects. INV-4, INV-11: no effect names a client or a cycle that it
    /// does not hold, and generations of clients only grow.
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
                | Effect::CheckLiveness { generation }
                | Effect::NetworkChanged { generation }
                | Effect::Reconnect { generation }
                | Effect::SetBackground { generation, .. } => {
                    hold(
                        node.clients.contains(generation),
                        "inv_4_effects_name_own_clients",
                    )?;
                }
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
                Effect::Publish => {}
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
        // No pauses: jitter would make every situation a new one. `machines::backoff` tests them.
        config.backoff.base = Duration::ZERO;
        config.backoff.cap = Duration::ZERO;
        config.second_look = Duration::from_secs(20);
        vec![Node {
            host: HostRuntimeManager::new(config),
            now: Moment::from_millis(1_000_000),
            clients: Vec::new(),
            probes: None,
        }]
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
            Step::Feed(Input::UserSelect(Some(ConnectionId(99)))),
            Step::Feed(Input::ReconnectNow),
            Step::Feed(Input::IntentQueued),
            Step::Feed(Input::Foreground),
            Step::Feed(Input::Background),
            Step::Feed(Input::NetworkChanged),
            Step::Feed(Input::Stop),
        ];
        let last = self.connections.last().map(|(connection, _)| *connection);
        steps.extend(last.map(|connection| {
            let pause = Duration::from_secs(20);
            Step::Feed(Input::StayAway { connection, pause })
        }));
        Self::client_steps(node, &mut steps);
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
            .map_err(|name| format!("{name}: {:?}\neffects: {effects:?}", node.host))
    }

    fn key(&self, node: &Node) -> u64 {
        let mut hasher = DefaultHasher::new();
        node.host.fingerprint(node.now, &mut hasher);
        hasher.finish()
    }
}

/// What must hold in every state, whatever led to it.
fn check_state(before: &Before, after: &Node, changes: usize, effects: &[Effect]) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    hold(after.host.refused() == 0, "inv_14_only_table_pairs")?;
    hold(was == is || changes > 0, "ob_every_change_is_recorded")?;
    let published = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Publish))
        .count();
    hold(published <= 1, "published_once")?;
    hold(
        was == is || published == 1,
        "inv_14_every_change_is_published",
    )?;
    hold(
        *was != State::Stopped || (*is == State::Stopped && effects.is_empty()),
        "inv_12_stopped_is_terminal",
    )?;
    hold(
        after.host.generation() >= before.generation,
        "inv_10_generation_never_decreases",
    )?;

    // INV-12: what is not stable has a deadline, and background is no excuse but for probes.
    let needs_deadline = match is {
        State::SelectingActiveConnection { .. }
        | State::ConnectingActive { .. }
        | State::Degraded { .. } => true,
        State::Online { candidate, .. } => candidate.is_some(),
        State::Booting | State::NoConnections | State::Error { .. } | State::Stopped => false,
    };
    let deadline = after.host.poll_timeout();
    hold(
        deadline.is_some() || !needs_deadline,
        "inv_12_every_waiting_state_has_a_deadline",
    )?;
    hold(
        deadline.is_none_or(|at| at.since(after.now) <= Duration::from_secs(31)),
        "inv_12_deadlines_are_near",
    )?;

    // INV-4: the driver holds the active client and the candidate, and no other.
    let mut known: Vec<Generation> = is.active().map(|(_, active)| active).into_iter().collect();
    known.extend(is.candidate().map(|candidate| candidate.generation));
    let mut held = after.clients.clone();
    held.sort();
    hold(
        held == known,
        "inv_4_the_active_client_and_the_candidate_and_no_other",
    )?;
    if let Some((_, active)) = is.active() {
        hold(
            active == after.host.generation(),
            "inv_11_generation_is_the_active_clients",
        )?;
    }
    if let Some(candidate) = is.candidate() {
        hold(
            candidate.generation > after.host.generation(),
            "inv_11_the_candidate_is_newer",
        )?;
    }
    hold(
        !matches!(
            is,
            State::Error { .. } | State::NoConnections | State::Stopped
        ) || after.probes.is_none(),
        "stable_states_probe_nothing",
    )
}

/// Lesson 3: a dial begun before a network change is never waited for, and giving it up is nobody's failure.
fn network_changed(before: &Before, after: &Node, effects: &[Effect]) -> Broken {
    let name = "lesson_3_a_dial_of_before_a_network_change_is_never_waited_for";
    let (was, is) = (&before.state, after.host.state());
    let is_waited_for = |generation| {
        is.active().map(|(_, active)| active) == Some(generation)
            || is.candidate().map(|candidate| candidate.generation) == Some(generation)
    };
    if let State::ConnectingActive { generation, .. } = was {
        hold(!is_waited_for(*generation), name)?;
    }
    if let Some(candidate) = was.candidate() {
        hold(!is_waited_for(candidate.generation), name)?;
        let path = is.candidate().map(|candidate| candidate.connection);
        hold(path == Some(candidate.connection), "hr_it_is_dialled_again")?;
    }
    if let State::Online { generation, .. } | State::Degraded { generation, .. } = *was {
        let told = Effect::NetworkChanged { generation };
        hold(effects.contains(&told), name)?;
    }
    if let State::SelectingActiveConnection { .. } | State::Degraded { .. } = was
        && let Some(cycle) = before.cycle
    {
        let same = after.probes.as_ref().is_some_and(|(now, _)| *now == cycle);
        hold(!same, name)?;
    }
    hold(
        after.host.switches_failed() == before.switches_failed,
        "lesson_3_a_network_change_is_no_failure",
    )
}

/// What must hold of the step itself.
fn check_step(before: &Before, after: &Node, step: &Step, effects: &[Effect]) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    let dropped = after.host.stale_dropped() - before.stale_dropped;
    match step {
        Step::Feed(Input::ProbeFinished { cycle, .. }) => {
            if before.cycle != Some(*cycle) {
                hold(
                    was == is && effects.is_empty() && dropped == 1,
                    "inv_10_stale_results_change_nothing",
                )?;
            }
            if let State::ConnectingActive { .. } | State::Online { .. } = was {
                hold(
                    was.active() == is.active(),
                    "inv_8_probes_never_touch_the_active_client",
                )?;
                let touches = |effect: &Effect| {
                    matches!(
                        effect,
                        Effect::DisposeClient { .. }
                            | Effect::Promote { .. }
                            | Effect::CheckLiveness { .. }
                            | Effect::NetworkChanged { .. }
                            | Effect::Reconnect { .. }
                    )
                };
                hold(
                    !effects.iter().any(touches),
                    "inv_8_probes_never_touch_the_active_client",
                )?;
            }
        }
        Step::Feed(Input::ClientState { generation, .. })
            if !before.clients.contains(generation) =>
        {
            hold(
                was == is && effects.is_empty() && dropped == 1,
                "inv_10_stale_results_change_nothing",
            )?;
        }
        Step::Feed(Input::ClientState {
            generation,
            state: ClientStatus::Disconnected { .. } | ClientStatus::Disposed,
        }) if was.candidate().map(|candidate| candidate.generation) == Some(*generation) => {
            hold(
                was.name() == is.name()
                    && was.active() == is.active()
                    && after.host.switches_failed() == before.switches_failed + 1,
                "inv_11_a_failed_switch_changes_a_counter_only",
            )?;
        }
        Step::Feed(Input::NetworkChanged) => network_changed(before, after, effects)?,
        Step::Feed(_) => {}
        Step::Timer { .. } => {
            let due = after.host.poll_timeout().is_some_and(|at| at <= after.now);
            let pausing = matches!(
                is,
                State::SelectingActiveConnection { .. } | State::Degraded { .. }
            );
            hold(!due || pausing, "inv_12_timers_make_progress")?;
        }
    }
    if let (Some(old), Some(new)) = (was.active(), is.active())
        && let (State::Online { .. }, State::Online { .. }) = (was, is)
        && old != new
    {
        let promoted = Effect::Promote { generation: new.1 };
        let promotions = effects.iter().filter(|effect| **effect == promoted).count();
        let was_candidate = was.candidate().map(|candidate| candidate.generation) == Some(new.1);
        hold(
            promotions == 1 && was_candidate && is.candidate().is_none(),
            "inv_11_promotion_is_one_step",
        )?;
    }
    hold(
        !matches!(
            (was, is),
            (
                State::Error { .. },
                State::Online { .. } | State::Degraded { .. }
            )
        ),
        "an_error_is_left_by_beginning_again",
    )
}

fn host(kinds: &[Path]) -> Host {
    Host {
        connections: (1..).map(ConnectionId).zip(kinds.iter().copied()).collect(),
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
    // All of it was reached: every state, switches, and both ways out of degraded.
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
