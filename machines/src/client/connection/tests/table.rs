//! The transition table, cell by cell, and what holds in every state.

use super::*;

const STATES: [&str; 5] = [
    "idle",
    "connecting",
    "connected",
    "disconnected",
    "disposed",
];

#[test]
fn dc_1_every_cell_of_the_table() {
    for (cell, columns) in TABLE {
        for (name, expected) in STATES.iter().zip(columns) {
            let mut bench = Bench::in_state(name);
            bench.transitions();
            let (before, old) = (*bench.client.state(), bench.client.generation());
            let effects = apply(&mut bench, cell);
            let to = bench.client.state().name();
            let mut seen = vec![to.to_owned()];
            seen.extend(effects.iter().map(short));
            let expected = if *expected == "-" { name } else { expected };
            assert_eq!(seen.join(" "), *expected, "{name} × {cell}");

            let transitions = bench.transitions();
            // A new dial is a transition, although both states are called connecting.
            if to == *name && bench.client.generation() == old {
                assert_eq!(*bench.client.state(), before, "{name} × {cell}");
                assert!(transitions.is_empty(), "{name} × {cell}: {transitions:?}");
            } else {
                let [one] = transitions.as_slice() else {
                    panic!("OB-1: one record for each change: {transitions:?}");
                };
                assert_eq!(
                    (one.machine, one.from, one.to),
                    ("daemon_client", *name, to)
                );
                assert_eq!(one.path, Some(Path::Direct));
            }
            assert_eq!(bench.client.refused(), 0);
        }
    }
}

#[test]
fn inv_10_stale_results_are_counted_and_change_nothing() {
    let mut bench = Bench::connected();
    let before = *bench.client.state();
    for cell in ["open_stale", "close_stale", "received_stale"] {
        apply(&mut bench, cell);
    }
    assert_eq!(*bench.client.state(), before);
    assert_eq!(bench.client.stale(), 3);
}

#[test]
fn inv_13_waiters_end_with_the_reason_and_only_where_there_was_a_connection() {
    for (state, ended) in [("connecting", 0), ("connected", 1)] {
        let mut bench = Bench::in_state(state);
        let effects = bench.close(Reason::CryptoFailed, None);
        let reason = Reason::CryptoFailed;
        assert_eq!(effects, vec![Effect::EndWaiters { reason }; ended]);
    }
}

#[test]
fn inv_13_waiters_of_a_client_that_is_disposed_learn_the_reason_of_its_host() {
    let mut bench = Bench::in_state("connected");
    let reason = Reason::ConnectionLost;
    let effects = bench.feed(Input::Dispose(reason));
    assert_eq!(effects.first(), Some(&Effect::EndWaiters { reason }));
}

#[test]
fn inv_12_disposed_is_terminal() {
    let mut bench = Bench::in_state("disposed");
    for (cell, _) in TABLE {
        apply(&mut bench, cell);
        assert_eq!(*bench.client.state(), State::Disposed);
        assert_eq!(bench.client.poll_timeout(), None);
    }
}

#[test]
fn a_forbidden_pair_is_refused_and_counted() {
    let mut bench = Bench::in_state("disposed");
    let connected = State::Connected { since: bench.now };
    bench.client.set_state(connected, "test", None);
    assert_eq!(*bench.client.state(), State::Disposed);
    assert_eq!(bench.client.refused(), 1);
}
