//! Every history of a `DaemonClient`, until no new state appears.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_machines::{
    Generation, MonotonicTime, Path,
    client::connection::{ClientConfig, DaemonClient, Effect, Input, State},
};
use bowline_protocol::Reason;

use crate::explorer::{Model, explore};

/// The client and the driver's resources.
#[derive(Clone)]
struct Node {
    client: DaemonClient,
    now: MonotonicTime,
    /// Transports opened, and neither closed nor reported closed.
    open: Vec<Generation>,
    /// The client's last report about its peer's silence (SP-1).
    is_suspected: bool,
    /// Whether a request has waited on the connection while another path was known.
    is_watched: bool,
    is_alternative_known: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Feed(Input),
    /// The timer fires on time, or far too late.
    Timer {
        late: Duration,
    },
    /// Time passes without an event.
    Pass(Duration),
}

struct Client {
    auto_retry: bool,
    /// Whether requests and streams wait, and other paths are known (SP-1).
    is_waited_for: bool,
}

impl Client {
    fn broken(name: &str, node: &Node) -> String {
        format!("{name}: {:?}", node.client)
    }

    fn drain(node: &mut Node) -> (Vec<Effect>, usize) {
        let mut effects = Vec::new();
        while let Some(effect) = node.client.poll_effect() {
            effects.push(effect);
        }
        let mut changes = 0;
        while node.client.poll_transition().is_some() {
            changes += 1;
        }
        (effects, changes)
    }

    /// INV-4: the driver's transports after the effects, which name only existing ones.
    fn follow(node: &mut Node, step: &Step, effects: &[Effect]) {
        if let Step::Feed(Input::TransportClosed { generation, .. }) = step {
            node.open.retain(|open| open != generation);
        }
        match step {
            Step::Feed(Input::AlternativeKnown(is_known)) => node.is_alternative_known = *is_known,
            Step::Feed(
                Input::TransportOpen { .. }
                | Input::Streamed { .. }
                | Input::Waiting {
                    is_waiting: true, ..
                },
            ) => {
                node.is_watched = true;
            }
            Step::Feed(_) | Step::Timer { .. } | Step::Pass(_) => {}
        }
        for effect in effects {
            match effect {
                Effect::OpenTransport { generation } => {
                    node.open.push(*generation);
                    (node.is_suspected, node.is_watched) = (false, false);
                }
                Effect::CloseTransport { generation, .. } => {
                    node.open.retain(|open| open != generation);
                }
                Effect::Suspect { is_suspected } => node.is_suspected = *is_suspected,
                Effect::SendPing { .. } | Effect::EndWaiters { .. } => {}
            }
        }
    }
}

impl Model for Client {
    type Node = Node;
    type Step = Step;
    type Key = u64;

    fn start(&self) -> Vec<Node> {
        let mut config = ClientConfig::new(Path::Direct, 3);
        config.auto_retry = self.auto_retry;
        vec![Node {
            client: DaemonClient::new(config),
            now: MonotonicTime::from_millis(1_000_000),
            open: Vec::new(),
            is_suspected: false,
            is_watched: false,
            is_alternative_known: false,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let current = node.client.generation();
        let older = Generation::new(current.get().saturating_sub(1));
        let mut steps = vec![
            Step::Feed(Input::ConnectRequest),
            Step::Feed(Input::CheckLiveness),
            Step::Feed(Input::NetworkChanged),
            Step::Feed(Input::Background),
            Step::Feed(Input::Foreground),
            Step::Feed(Input::Promoted),
            Step::Feed(Input::Dispose(Reason::ClosedLocally)),
            Step::Pass(Duration::from_millis(700)),
        ];
        if self.is_waited_for {
            for is_on in [true, false] {
                steps.push(Step::Feed(Input::AlternativeKnown(is_on)));
                steps.push(Step::Feed(Input::Waiting {
                    generation: current,
                    is_waiting: is_on,
                }));
            }
            for generation in [current, older] {
                steps.push(Step::Feed(Input::Streamed { generation }));
            }
        }
        for generation in [current, older, current.next()] {
            steps.push(Step::Feed(Input::Received { generation }));
            steps.push(Step::Feed(Input::TransportOpen {
                generation,
                heartbeat: Duration::from_secs(4),
                round_trip: Duration::from_millis(20),
            }));
            for (reason, retry_after) in [
                (Reason::ConnectionLost, None),
                (Reason::DeviceRevoked, None),
                (Reason::RateLimited, Some(Duration::from_secs(40))),
            ] {
                steps.push(Step::Feed(Input::TransportClosed {
                    generation,
                    reason,
                    retry_after,
                }));
            }
        }
        if node.client.poll_timeout().is_some() {
            for late in [Duration::ZERO, Duration::from_secs(3_600)] {
                steps.push(Step::Timer { late });
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        match *step {
            Step::Feed(input) => node.client.handle(node.now, input),
            Step::Timer { late } => {
                let at = node.client.poll_timeout().unwrap_or(node.now);
                node.now = at.max(node.now) + late;
                node.client.handle_timeout(node.now);
            }
            Step::Pass(time) => {
                node.now = node.now + time;
                node.client.handle_timeout(node.now);
            }
        }
        let (effects, changes) = Self::drain(node);
        Self::follow(node, step, &effects);
        check(&before, node, step, &effects, changes).map_err(|name| Self::broken(name, node))
    }

    fn key(&self, node: &Node) -> u64 {
        let mut hasher = DefaultHasher::new();
        node.client.fingerprint(node.now, &mut hasher);
        node.open
            .iter()
            .map(|open| node.client.generation().get() - open.get())
            .collect::<Vec<_>>()
            .hash(&mut hasher);
        (
            node.is_suspected,
            node.is_watched,
            node.is_alternative_known,
        )
            .hash(&mut hasher);
        hasher.finish()
    }
}

fn check(
    before: &Node,
    after: &Node,
    step: &Step,
    effects: &[Effect],
    changes: usize,
) -> Result<(), &'static str> {
    let hold = |holds: bool, name| if holds { Ok(()) } else { Err(name) };
    let (was, is) = (before.client.state(), after.client.state());
    let has_transport = matches!(is, State::Connecting { .. } | State::Connected { .. });

    let redialled = after.client.generation() != before.client.generation();
    hold(after.client.refused() == 0, "inv_14_only_table_pairs")?;
    hold(
        (was == is && !redialled) == (changes == 0) && changes <= 1,
        "ob_one_record_for_each_change",
    )?;
    hold(
        *was != State::Disposed || *is == State::Disposed,
        "inv_12_disposed_is_terminal",
    )?;
    hold(
        after.client.generation() >= before.client.generation(),
        "inv_10_generation_never_decreases",
    )?;

    // INV-12: a waiting state has a deadline, and acts on it.
    let waits = match is {
        State::Connecting { .. } | State::Connected { .. } => true,
        State::Disconnected {
            reason, retry_at, ..
        } => {
            hold(
                reason.is_recoverable() || retry_at.is_none(),
                "dc_no_retry_where_it_cannot_help",
            )?;
            retry_at.is_some()
        }
        State::Idle | State::Disposed => false,
    };
    hold(
        after.client.poll_timeout().is_some() == waits,
        "inv_12_every_waiting_state_has_a_deadline",
    )?;
    if let Step::Timer { .. } | Step::Pass(_) = step {
        hold(
            after.client.poll_timeout().is_none_or(|at| at > after.now)
                || matches!(is, State::Disconnected { .. }),
            "inv_12_timers_make_progress",
        )?;
    }
    if let Step::Timer { late } = step {
        hold(
            late.is_zero() || !matches!(was, State::Connected { .. }) || was == is,
            "ls_5_a_late_timer_never_expires_the_peer",
        )?;
    }

    // INV-4: at most one transport, exactly in the states that have one.
    hold(
        after.open.len() == usize::from(has_transport),
        "inv_4_one_transport_while_connecting_or_connected",
    )?;

    // INV-13: waiters end exactly when a connection ends.
    let ended = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::EndWaiters { .. }))
        .count();
    let connection_ended =
        matches!(was, State::Connected { .. }) && !matches!(is, State::Connected { .. });
    hold(
        ended == usize::from(connection_ended),
        "inv_13_waiters_end_with_their_connection",
    )?;

    // INV-10: a result that is not of the current transport changes nothing.
    if let Step::Feed(input) = step
        && let Some(generation) = input.generation()
        && before.open.last() != Some(&generation)
    {
        let closed_it = |effect: &Effect| matches!(effect, Effect::CloseTransport { .. });
        hold(
            was == is
                && after.client.stale() == before.client.stale() + 1
                && effects.iter().all(closed_it),
            "inv_10_stale_results_change_nothing",
        )?;
    }
    // LS-3: a dial begun before a network change is restarted at once, which is no failure.
    if let Step::Feed(Input::NetworkChanged | Input::Foreground) = step
        && let State::Connecting { attempt, .. } = was
    {
        let old = before.client.generation();
        let again = matches!(is, State::Connecting { attempt: now, .. } if now == attempt);
        hold(
            again && after.client.generation() > old && !after.open.contains(&old),
            "ls_3_a_dial_of_before_a_network_change_is_never_waited_for",
        )?;
    }
    if let Step::Feed(Input::Received { .. }) = step {
        let ended = Effect::Suspect {
            is_suspected: false,
        };
        hold(
            effects.iter().all(|effect| *effect == ended) && was == is,
            "received_is_cheap",
        )?;
    }
    suspicion(before, after, step, effects)
}

/// SP-1: a suspicion starts by the timer while a request waits and another path is known, ends with
/// received bytes only, and closes nothing.
fn suspicion(
    before: &Node,
    after: &Node,
    step: &Step,
    effects: &[Effect],
) -> Result<(), &'static str> {
    let hold = |holds: bool, name| if holds { Ok(()) } else { Err(name) };
    for effect in effects {
        let Effect::Suspect { is_suspected } = effect else {
            continue;
        };
        hold(
            *is_suspected != before.is_suspected,
            "sp_1_each_suspicion_is_told_once",
        )?;
        if *is_suspected {
            hold(
                matches!(step, Step::Timer { .. } | Step::Pass(_))
                    && before.is_watched
                    && before.is_alternative_known,
                "sp_1_only_who_waits_and_could_go_elsewhere_suspects",
            )?;
        } else {
            let heard = matches!(step, Step::Feed(Input::Received { .. }));
            hold(heard, "sp_1_only_bytes_end_a_suspicion")?;
        }
        let (was, is) = (before.client.state(), after.client.state());
        let closing = |effect: &Effect| matches!(effect, Effect::CloseTransport { .. });
        hold(
            was == is && !effects.iter().any(closing),
            "sp_1_a_suspicion_closes_nothing",
        )?;
    }
    Ok(())
}

#[test]
fn bx_7_the_client_keeps_its_invariants_in_every_history() {
    for auto_retry in [true, false] {
        let is_waited_for = false;
        let client = Client {
            auto_retry,
            is_waited_for,
        };
        let report = explore(&client, 1_000);
        assert!(report.complete && report.nodes > 100, "{report:?}");
    }
}

/// The times of requests and bytes are too many for all histories, so the depth is bounded.
#[test]
fn bx_7_sp_1_the_client_keeps_its_invariants_while_somebody_waits() {
    let client = Client {
        auto_retry: true,
        is_waited_for: true,
    };
    let report = explore(&client, 13);
    assert!(report.nodes > 5_000, "{report:?}");
}
