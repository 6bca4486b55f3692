//! Every state with every input, every client status and every timer, once.

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, LOCAL, NOBODY, RELAY, list, lost, ms};
use super::cells::TABLE;
use crate::client::paths::{ClientStatus, HostRuntimeManager, HostState, Input};

/// The states, some under two conditions that matter. Two paths, direct and relay, unless stated
/// otherwise.
const STATES: [&str; 11] = [
    "booting",
    "no_connections",
    "selecting",
    "selecting:pausing",
    "connecting:relay",
    "online:relay",
    "online:candidate",
    "degraded:relay",
    "degraded:candidate",
    "error",
    "stopped",
];

fn in_state(name: &str) -> Bench {
    let mut bench = match name {
        "booting" => Bench::new(),
        "no_connections" => Bench::started(&[]),
        "selecting" => Bench::started(&[RELAY, DIRECT]),
        "selecting:pausing" => {
            let mut bench = Bench::started(&[RELAY, DIRECT]);
            bench.disprove(RELAY, Reason::DaemonOffline);
            bench.disprove(DIRECT, Reason::Unreachable);
            assert!(bench.pause().is_some());
            bench
        }
        "connecting:relay" => {
            let mut bench = Bench::started(&[RELAY, DIRECT]);
            bench.disprove(DIRECT, Reason::Unreachable);
            bench.prove(RELAY, 10);
            bench
        }
        "online:relay" => Bench::online(&[RELAY, DIRECT]),
        "online:candidate" => Bench::switching(),
        "degraded:relay" => {
            let mut bench = Bench::online(&[RELAY, DIRECT]);
            bench.client(lost(Reason::ConnectionLost));
            bench
        }
        "degraded:candidate" => {
            let mut bench = Bench::switching();
            bench.client(lost(Reason::ConnectionLost));
            bench
        }
        "error" => {
            let mut bench = Bench::online(&[RELAY, DIRECT]);
            bench.client(lost(Reason::DeviceRevoked));
            bench
        }
        _ => {
            let mut bench = Bench::online(&[RELAY, DIRECT]);
            bench.feed(Input::Stop);
            bench
        }
    };
    let expected = name.split(':').next().unwrap();
    assert!(
        bench.state().starts_with(expected),
        "{name}: {}",
        bench.state()
    );
    // Old enough that a change of network counts as a new one.
    bench.now = bench.now + ms(2_500);
    bench.transitions();
    bench
}

fn active(bench: &mut Bench, status: ClientStatus) -> Vec<String> {
    let generation = match bench.host.state().active() {
        Some((_, generation)) => generation,
        None => bench.host.generation(),
    };
    bench.feed(Input::ClientState {
        generation,
        state: status,
    })
}

fn candidate(bench: &mut Bench, status: ClientStatus) -> Vec<String> {
    let candidate = bench.host.candidate();
    let generation = candidate.map_or(NOBODY, |candidate| candidate.generation);
    bench.feed(Input::ClientState {
        generation,
        state: status,
    })
}

fn suspected(bench: &mut Bench, is_suspected: bool) -> Vec<String> {
    let active = bench.host.state().active();
    let generation = active.map_or(bench.host.generation(), |(_, generation)| generation);
    bench.feed(Input::Suspected {
        generation,
        is_suspected,
    })
}

fn apply(bench: &mut Bench, cell: &str) -> Vec<String> {
    let connections = list(&[RELAY, DIRECT]);
    match cell {
        "start" => bench.feed(Input::Start { connections }),
        "connections_same" => {
            let connections = bench.host.connections().to_vec();
            bench.feed(Input::ConnectionsChanged(connections))
        }
        "connections_more" => {
            let connections = list(&[RELAY, DIRECT, LOCAL]);
            bench.feed(Input::ConnectionsChanged(connections))
        }
        "connections_only_direct" => bench.feed(Input::ConnectionsChanged(list(&[DIRECT]))),
        "connections_none" => bench.feed(Input::ConnectionsChanged(Vec::new())),
        "probe_ok_direct" => bench.prove(DIRECT, 5),
        "probe_ok_relay" => bench.prove(RELAY, 5),
        "probe_failed_direct" => bench.disprove(DIRECT, Reason::Unreachable),
        "probe_stale" => bench.feed(Input::ProbeFinished {
            cycle: 0,
            connection: DIRECT,
            outcome: Ok(ms(1)),
            retry_after: None,
        }),
        "client_connecting" => active(bench, ClientStatus::Connecting),
        "client_connected" => active(bench, ClientStatus::Connected),
        "client_lost" => active(bench, lost(Reason::ConnectionLost)),
        "client_revoked" => active(bench, lost(Reason::DeviceRevoked)),
        "client_disposed" => active(bench, ClientStatus::Disposed),
        "suspected" => suspected(bench, true),
        "heard_again" => suspected(bench, false),
        "candidate_connecting" => candidate(bench, ClientStatus::Connecting),
        "candidate_connected" => candidate(bench, ClientStatus::Connected),
        "candidate_revoked" => candidate(bench, lost(Reason::DeviceRevoked)),
        "candidate_disposed" => candidate(bench, ClientStatus::Disposed),
        "select_direct" => bench.feed(Input::UserSelect(Some(DIRECT))),
        "select_relay" => bench.feed(Input::UserSelect(Some(RELAY))),
        "select_unknown" => bench.feed(Input::UserSelect(Some(LOCAL))),
        "select_auto" => bench.feed(Input::UserSelect(None)),
        "reconnect_now" => bench.feed(Input::ReconnectNow),
        "intent_queued" => bench.feed(Input::IntentQueued),
        "foreground" => bench.feed(Input::Foreground),
        "background" => bench.feed(Input::Background),
        "network_changed" => bench.feed(Input::NetworkChanged),
        "timer" => match bench.host.poll_timeout() {
            Some(_) => bench.wait(),
            None => bench.advance(ms(3_600_000)),
        },
        other => {
            assert_eq!(other, "stop");
            bench.feed(Input::Stop)
        }
    }
}

fn run(cell: &str, state: &str) -> String {
    let mut bench = in_state(state);
    let before = *bench.host.state();
    let effects = apply(&mut bench, cell);
    let changed = before != *bench.host.state();
    let transitions = bench.transitions();
    assert_eq!(
        changed,
        !transitions.is_empty(),
        "OB-1: {state} × {cell}: {transitions:?}"
    );
    for transition in &transitions {
        assert_eq!(transition.machine, "host_runtime");
    }
    if let (Some(first), Some(last)) = (transitions.first(), transitions.last()) {
        assert_eq!((first.from, last.to), (before.name(), bench.state()));
    }
    assert_eq!(bench.host.refused(), 0, "{state} × {cell}");

    let mut seen = Vec::new();
    if changed {
        seen.push(describe(&bench.host));
    }
    seen.extend(effects);
    seen.join(" ")
}

/// A state's name and its candidate, if any.
fn describe(host: &HostRuntimeManager) -> String {
    match host.candidate() {
        Some(candidate) => format!("{}+{}", host.state().name(), candidate.generation),
        None => host.state().name().to_owned(),
    }
}

#[test]
fn hr_1_every_cell_of_the_tables() {
    for (cell, rows) in TABLE {
        for (listed, _) in *rows {
            assert!(STATES.contains(listed), "{cell}: no state {listed}");
        }
        for state in STATES {
            let row = rows.iter().find(|(listed, _)| *listed == state);
            let expected = row.map_or("", |(_, expected)| *expected);
            assert_eq!(run(cell, state), expected, "{state} × {cell}");
        }
    }
}

#[test]
fn inv_12_stopped_is_terminal_and_stable_states_wait_for_nothing() {
    for (cell, _) in TABLE {
        let mut bench = in_state("stopped");
        assert!(apply(&mut bench, cell).is_empty(), "{cell}");
        assert_eq!(bench.state(), "stopped");
    }
    for state in STATES {
        let is_stable = ["booting", "no_connections", "stopped"].contains(&state);
        let bench = in_state(state);
        assert_eq!(bench.host.poll_timeout().is_none(), is_stable, "{state}");
    }
}

#[test]
fn inv_10_stale_results_are_counted_and_change_nothing() {
    for state in STATES {
        for cell in ["probe_stale", "candidate_connected"] {
            let mut bench = in_state(state);
            if cell == "candidate_connected" && bench.host.candidate().is_some() {
                continue;
            }
            let before = bench.host.stale();
            assert!(apply(&mut bench, cell).is_empty(), "{state} × {cell}");
            assert_eq!(bench.host.stale(), before + 1, "{state} × {cell}");
        }
    }
}

#[test]
fn ob_1_states_have_one_name_in_logs_and_json() {
    for state in HostState::ALL {
        let json = serde_json::to_value(state).unwrap();
        assert_eq!(json, state.as_str());
    }
}
