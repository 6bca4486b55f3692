//! The first connect: dials, the first proof, and the choice of a path (HR-2).

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, LOCAL, RELAY, list, lost, ms};
use crate::{Generation, Path, client::paths::Input};

#[test]
fn hr_2_a_single_path_is_connected_without_a_probe() {
    let mut bench = Bench::new();
    let effects = bench.feed(Input::Start {
        connections: list(&[RELAY]),
    });
    assert_eq!(effects, ["client1(relay)"]);
    assert_eq!(bench.state(), "connecting_active");
    assert_eq!(
        bench.host.active(),
        Some((RELAY, Path::Relay, Generation::new(1)))
    );
}

#[test]
fn hr_2_dials_are_staggered_and_the_first_proof_is_taken() {
    let mut bench = Bench::new();
    let effects = bench.feed(Input::Start {
        connections: list(&[RELAY, DIRECT, LOCAL]),
    });
    let probes = ["probe(local)", "probe(direct)", "probe(relay+150)"];
    assert_eq!(effects, probes);
    let effects = bench.prove(DIRECT, 900);
    assert_eq!(effects, ["client1(direct)"], "and no probe is cancelled");
    bench.prove(LOCAL, 1);
    assert_eq!(
        bench.active_path(),
        Some(DIRECT),
        "later proofs are only shown"
    );
    assert_eq!(bench.host.probes().get(&LOCAL).unwrap().rtt, Some(ms(1)));
}

#[test]
fn hr_2_a_relay_waits_150_ms_for_a_better_path() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.prove(RELAY, 20);
    assert_eq!(bench.state(), "selecting_active_connection");
    bench.advance(ms(149));
    bench.prove(DIRECT, 140);
    assert_eq!(bench.active_path(), Some(DIRECT));

    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.prove(RELAY, 20);
    bench.wait();
    assert_eq!(bench.active_path(), Some(RELAY), "and no longer");

    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.prove(RELAY, 20);
    bench.disprove(DIRECT, Reason::Unreachable);
    assert_eq!(
        bench.active_path(),
        Some(RELAY),
        "nor when there is nothing to wait for"
    );
}

#[test]
fn ls_9_a_slow_relay_is_reached() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    for _ in 0..40 {
        bench.advance(ms(200));
    }
    bench.prove(RELAY, 7_800);
    bench.wait();
    assert_eq!(bench.active_path(), Some(RELAY));
}

#[test]
fn inv_12_a_cycle_without_outcomes_ends_and_is_run_again() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    for _ in 0..20 {
        bench.wait();
        assert_eq!(bench.host.last_error(), Some(Reason::ConnectTimeout));
        assert!(bench.pause().unwrap() <= ms(30_000));
        bench.wait();
        assert_eq!(bench.pause(), None, "the next round runs");
    }
    assert!(bench.host.stale() == 0);
}

#[test]
fn ls_5_a_cycle_interrupted_by_sleep_counts_against_no_path() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.advance(ms(3_600_000));
    assert_eq!(bench.pause(), None);
    assert!(bench.host.probes().is_empty() && bench.host.last_error().is_none());

    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.wait();
    let before = bench.host.probes().clone();
    let effects = bench.advance(ms(3_600_000));
    assert_eq!(effects[..1], ["cancel"], "{effects:?}");
    assert_eq!(*bench.host.probes(), before);
}

#[test]
fn hr_2_a_path_that_proves_itself_but_does_not_connect_is_the_last_resort() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.prove(DIRECT, 1);
    bench.client(lost(Reason::CryptoFailed));
    assert_eq!(
        bench.state(),
        "selecting_active_connection",
        "the same cycle goes on"
    );
    assert_eq!(bench.host.last_error(), Some(Reason::CryptoFailed));
    bench.prove(RELAY, 300);
    assert_eq!(bench.active_path(), Some(RELAY));

    bench.client(lost(Reason::SlowConsumer));
    assert!(bench.pause().is_some());
    bench.wait();
    bench.prove(RELAY, 300);
    bench.disprove(DIRECT, Reason::Unreachable);
    assert_eq!(
        bench.active_path(),
        Some(RELAY),
        "when nothing else works it is tried again"
    );
}

#[test]
fn inv_12_a_chosen_path_that_never_answers_is_left_at_its_deadline() {
    let mut bench = Bench::started(&[DIRECT]);
    for round in 1..5 {
        assert_eq!(bench.state(), "connecting_active");
        assert_eq!(bench.host.generation(), Generation::new(round));
        let effects = bench.wait();
        assert_eq!(effects, [format!("dispose{round}(now)")]);
        assert_eq!(bench.host.last_error(), Some(Reason::ConnectTimeout));
        bench.wait();
    }
}
