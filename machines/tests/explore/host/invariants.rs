//! What must hold after every step of a host.

use super::*;

pub(super) fn hold(holds: bool, name: &'static str) -> Broken {
    if holds { Ok(()) } else { Err(name) }
}

/// Invariants of every state.
pub(super) fn check_state(
    before: &Before,
    after: &Node,
    changes: usize,
    effects: &[Effect],
) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    hold(after.host.refused() == 0, "inv_14_only_table_pairs")?;
    hold(was == is || changes > 0, "ob_every_change_is_recorded")?;
    hold(
        *was != State::Stopped || (*is == State::Stopped && effects.is_empty()),
        "inv_12_stopped_is_terminal",
    )?;
    hold(
        after.host.generation() >= before.generation,
        "inv_10_generation_never_decreases",
    )?;

    // INV-12: an unstable state has a deadline, also in the background, except for probes.
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

/// LS-3: a dial begun before a network change is restarted at once, which is no failure.
fn network_changed(before: &Before, after: &Node, effects: &[Effect]) -> Broken {
    let name = "ls_3_a_dial_of_before_a_network_change_is_never_waited_for";
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
        "ls_3_a_network_change_is_no_failure",
    )
}

/// LS-3: a report of a network change takes effect at once or after the pause, and none is lost.
pub(super) fn check_network(
    before: &Before,
    after: &Node,
    report: Option<Report>,
    effects: &[Effect],
) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    if *is == State::Stopped {
        return Ok(());
    }
    match report {
        Some(Report::Counts { is_alone: true }) => network_changed(before, after, effects)?,
        Some(Report::Counts { is_alone: false }) | None => {}
        Some(Report::Waits) => hold(
            was == is && effects.is_empty(),
            "ls_3_a_report_that_follows_closely_changes_nothing_yet",
        )?,
    }
    let deadline = after.host.poll_timeout();
    hold(
        !after.network.is_waiting || deadline.is_some_and(|at| at <= after.network.quiet_until),
        "ls_3_no_report_of_a_network_change_is_lost",
    )
}

/// INV-6: the host's reports to its data machines follow the active client: each of its attaches
/// and losses, once, and those of no other client.
pub(super) fn check_data(before: &Before, after: &Node, step: &Step, effects: &[Effect]) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    let mut attached = effects.iter().filter_map(|effect| match effect {
        Effect::Attached { generation } => Some(*generation),
        _ => None,
    });
    let (first, second) = (attached.next(), attached.next());
    let active = is.active().map(|(_, generation)| generation);
    let is_online = matches!(is, State::Online { .. });
    let is_new = !matches!(was, State::Online { .. }) || was.active() != is.active();
    hold(
        second.is_none() && (first.is_none() || (is_online && first == active)),
        "inv_6_only_the_active_client_attaches",
    )?;
    hold(
        first.is_some() || !(is_online && is_new),
        "inv_6_every_attach_is_told",
    )?;
    let expected = match step {
        Step::Feed(Input::ClientState {
            generation,
            state: ClientStatus::Disconnected { reason, .. },
        }) if was.active().map(|(_, active)| active) == Some(*generation) => Some(*reason),
        Step::Feed(_) | Step::Timer { .. } => None,
    };
    let lost = effects.iter().filter_map(|effect| match effect {
        Effect::Lost { reason } => Some(*reason),
        _ => None,
    });
    hold(
        lost.eq(expected),
        "inv_6_only_the_active_clients_loss_is_told",
    )
}

/// C41: a path is neither probed nor connected before its peer's retry-after, unless the user asks.
pub(super) fn check_away(
    before: &Before,
    after: &mut Node,
    step: &Step,
    effects: &[Effect],
) -> Broken {
    let of = |generation| {
        let clients = [before.state.active(), candidate(&before.state)];
        let client = clients
            .into_iter()
            .flatten()
            .find(|(_, of)| *of == generation);
        client.map(|(path, _)| path)
    };
    let asked = match *step {
        Step::Feed(Input::ReconnectNow | Input::UserSelect(_)) => {
            after.away.clear();
            None
        }
        // It answered a probe that was under way.
        Step::Feed(Input::ProbeFinished {
            connection,
            outcome: Ok(_),
            ..
        }) => {
            after.away.remove(&connection);
            None
        }
        Step::Feed(Input::ProbeFinished {
            connection,
            retry_after,
            ..
        }) => retry_after.map(|pause| (Some(connection), pause)),
        Step::Feed(Input::ClientState {
            generation,
            state: ClientStatus::Connected,
        }) => {
            after.away.retain(|path, _| of(generation) != Some(*path));
            None
        }
        Step::Feed(Input::ClientState {
            generation,
            state: ClientStatus::Disconnected { retry_after, .. },
        }) => retry_after.map(|pause| (of(generation), pause)),
        Step::Feed(_) | Step::Timer { .. } => None,
    };
    if let Some((Some(path), pause)) = asked {
        after.away.insert(path, after.now + pause);
    }
    let known = after.host.connections().to_vec();
    after
        .away
        .retain(|path, _| known.iter().any(|(known, _)| known == path));
    let tried = effects.iter().filter_map(|effect| match effect {
        Effect::StartProbe { connection, .. } | Effect::CreateClient { connection, .. } => {
            Some(*connection)
        }
        _ => None,
    });
    // A dial under way may begin again on another network.
    let redialled = candidate(&before.state).map(|(path, _)| path);
    let mut tried = tried.filter(|path| redialled != Some(*path));
    hold(
        !tried.any(|path| {
            after
                .away
                .get(&path)
                .is_some_and(|until| *until > after.now)
        }),
        "c41_a_path_is_left_alone_for_as_long_as_its_peer_asked",
    )
}

/// The path and generation of the candidate.
pub(super) fn candidate(state: &State) -> Option<(PathId, Generation)> {
    let candidate = state.candidate()?;
    Some((candidate.connection, candidate.generation))
}

/// Invariants of the step.
pub(super) fn check_step(before: &Before, after: &Node, step: &Step, effects: &[Effect]) -> Broken {
    let (was, is) = (&before.state, after.host.state());
    let dropped = after.host.stale() - before.stale;
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
        Step::Feed(Input::Suspected { .. }) => hold(
            was.name() == is.name()
                && was.active() == is.active()
                && after.host.switches_failed() == before.switches_failed,
            "sp_1_a_suspicion_alone_switches_nothing",
        )?,
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
