//! The active client is lost: its reconnect or another path wins (HR-2).

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, DIRECT_B, LOCAL, RELAY, lost, ms};
use crate::{
    Generation,
    client::paths::{ClientStatus, Input},
};

#[test]
fn hr_2_losing_the_active_client_probes_at_once_and_its_reconnect_can_win() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert_eq!(
        effects,
        ["probe(direct)", "probe(relay+150)", "lost(connection_lost)"]
    );
    assert_eq!(bench.state(), "degraded");
    bench.prove(RELAY, 50);
    assert_eq!(bench.candidate_path(), Some(RELAY));
    assert_eq!(
        bench.client(ClientStatus::Connected),
        ["dispose2(now)", "attached1", "alternative1(true)"]
    );
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(DIRECT))
    );
    assert_eq!(bench.host.generation(), Generation::new(1));
    assert_eq!(bench.host.last_error(), None);
}

#[test]
fn hr_2_losing_the_active_client_another_path_can_win() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.client(lost(Reason::HeartbeatTimeout));
    bench.prove(RELAY, 50);
    let effects = bench.candidate(ClientStatus::Connected);
    assert_eq!(
        effects,
        [
            "promote2",
            "dispose1(now)",
            "attached2",
            "alternative2(true)"
        ]
    );
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
}

#[test]
fn hr_2_the_lost_path_is_reconnected_as_soon_as_a_probe_proves_it() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.client(lost(Reason::ConnectionLost));
    assert!(bench.prove(DIRECT, 5).contains(&"reconnect1".to_owned()));
    assert_eq!(bench.candidate_path(), None, "one client for one path");
}

#[test]
fn bx_2_hr_2_a_path_that_was_already_probed_is_used_at_once() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, Some(20))]);
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert!(
        effects.contains(&"candidate2(relay)".to_owned()),
        "{effects:?}"
    );
    assert!(effects.contains(&"probe(direct)".to_owned()), "{effects:?}");
    // Its own proof is late and has no effect.
    bench.prove(RELAY, 20);
    assert_eq!(bench.candidate_path(), Some(RELAY));
    bench.candidate(ClientStatus::Connected);
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
}

#[test]
fn hr_2_a_path_that_failed_or_was_probed_long_ago_is_not_presumed_to_work() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, None)]);
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.candidate_path(), None, "it failed");

    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, Some(20))]);
    bench.feed(Input::Background);
    bench.now = bench.now + ms(600_000);
    bench.feed(Input::Foreground);
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.candidate_path(), None, "long ago");
}

#[test]
fn hr_2_a_proven_path_replaces_one_that_is_only_presumed_to_work() {
    let mut bench = Bench::online(&[DIRECT, RELAY, DIRECT_B]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, Some(20)), (DIRECT_B, None)]);
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.candidate_path(), Some(RELAY));
    bench.prove(DIRECT_B, 10);
    assert_eq!(bench.candidate_path(), Some(DIRECT_B));
}

#[test]
fn hr_2_while_degraded_the_next_candidate_follows_one_that_fails() {
    let mut bench = Bench::online(&[DIRECT, RELAY, DIRECT_B]);
    bench.client(lost(Reason::ConnectionLost));
    bench.prove(DIRECT_B, 10);
    bench.prove(RELAY, 20);
    let effects = bench.candidate(lost(Reason::CryptoFailed));
    assert_eq!(effects[..2], ["dispose2(now)", "candidate3(relay)"]);
    assert_eq!(bench.host.switches_failed(), 1);
}

#[test]
fn inv_12_a_degraded_host_keeps_probing_with_one_path_as_with_many() {
    for paths in [&[DIRECT][..], &[DIRECT, RELAY][..]] {
        for background in [false, true] {
            let mut bench = Bench::online(paths);
            if background {
                bench.feed(Input::Background);
            }
            bench.client(lost(Reason::ConnectionLost));
            let mut cycles = 0;
            for _ in 0..100 {
                let effects = bench.wait();
                cycles += usize::from(effects.contains(&"probe(direct)".to_owned()));
            }
            assert!(cycles >= 40, "{cycles}");
            assert_eq!(bench.state(), "degraded");
        }
    }
}

/// A candidate for improvement only hangs, and the active client is lost.
#[test]
fn hr_2_a_candidate_from_before_the_loss_does_not_keep_a_proven_path_waiting() {
    let mut bench = Bench::online(&[RELAY, DIRECT, LOCAL]);
    bench.feed(Input::UserSelect(Some(DIRECT)));
    bench.feed(Input::UserSelect(None));
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.host.candidate().unwrap().connection, DIRECT);
    bench.prove(LOCAL, 1);
    assert_eq!(bench.host.candidate().unwrap().connection, LOCAL);
}
