//! Leaving a path that has fallen silent while a request waits (SP-1).

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, DIRECT_B, RELAY, list, lost, ms};
use crate::client::paths::{ClientStatus, Effect, Input};

/// Online on the direct path; the relay works as well.
fn beside_a_relay() -> Bench {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    let effects = bench.cycle(&[(DIRECT, Some(20)), (RELAY, Some(30))]);
    assert_eq!(effects, ["alternative1(true)"]);
    bench
}

fn suspect(bench: &mut Bench, is_suspected: bool) -> Vec<String> {
    let (_, generation) = bench.host.state().active().unwrap();
    bench.feed(Input::Suspected {
        generation,
        is_suspected,
    })
}

#[test]
fn sp_1_a_silent_path_is_left_as_soon_as_another_client_is_connected() {
    let mut bench = beside_a_relay();
    let effects = suspect(&mut bench, true);
    assert_eq!(
        effects,
        ["candidate2(relay)", "probe(direct)", "probe(relay)"]
    );
    assert_eq!(bench.active_path(), Some(DIRECT), "made before the break");
    let effects = bench.candidate(ClientStatus::Connected);
    assert_eq!(effects[..2], ["promote2", "dispose1(now)"]);
    assert_eq!(bench.active_path(), Some(RELAY));
    assert_eq!(bench.state(), "online");
}

/// Their callers learn that the connection was lost, not that somebody closed it.
#[test]
fn inv_13_requests_on_a_client_that_is_left_end_as_lost_and_only_a_stop_ends_them_as_closed() {
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    let (_, generation) = bench.host.state().active().unwrap();
    let connected = Input::ClientState {
        generation: bench.host.candidate().unwrap().generation,
        state: ClientStatus::Connected,
    };
    let reason_of = |bench: &mut Bench, input, of| {
        bench.host.handle(bench.now, input);
        let mut effects = std::iter::from_fn(|| bench.host.poll_effect());
        effects.find_map(|effect| match effect {
            Effect::DisposeClient {
                generation, reason, ..
            } if generation == of => Some(reason),
            _ => None,
        })
    };
    let left = reason_of(&mut bench, connected, generation);
    assert_eq!(left, Some(Reason::ConnectionLost));
    let (_, generation) = bench.host.state().active().unwrap();
    let stopped = reason_of(&mut bench, Input::Stop, generation);
    assert_eq!(stopped, Some(Reason::ClosedLocally));
}

#[test]
fn sp_1_a_path_that_is_heard_again_is_kept_and_the_candidate_leaves_no_trace() {
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    assert_eq!(
        suspect(&mut bench, false),
        ["dispose2(now)"],
        "it was not needed"
    );
    assert_eq!(bench.active_path(), Some(DIRECT));
    assert_eq!(bench.host.switches_failed(), 0);
}

#[test]
fn sp_1_a_candidate_that_was_made_for_other_reasons_outlives_a_suspicion() {
    let mut bench = beside_a_relay();
    bench.feed(Input::UserSelect(Some(RELAY)));
    suspect(&mut bench, true);
    suspect(&mut bench, false);
    assert_eq!(bench.candidate_path(), Some(RELAY));
}

#[test]
fn sp_1_a_candidate_dialled_again_on_another_network_leaves_no_trace_either() {
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    bench.now = bench.now + ms(5_000);
    bench.feed(Input::NetworkChanged);
    assert_eq!(bench.candidate_path(), Some(RELAY), "dialled again");
    suspect(&mut bench, false);
    assert_eq!(bench.candidate_path(), None);
    assert_eq!(bench.active_path(), Some(DIRECT));
}

#[test]
fn sp_1_a_choice_made_during_a_suspicion_outlives_it() {
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    bench.feed(Input::UserSelect(Some(RELAY)));
    suspect(&mut bench, false);
    assert_eq!(bench.candidate_path(), Some(RELAY));
}

/// A request that leaves this device slowly looks like a silence on every path.
#[test]
fn sp_1_three_rescues_in_a_row_are_not_followed_by_a_fourth_at_once() {
    let mut bench = beside_a_relay();
    for path in [RELAY, DIRECT, RELAY] {
        suspect(&mut bench, true);
        assert_eq!(bench.candidate_path(), Some(path));
        bench.candidate(ClientStatus::Connected);
        assert_eq!(bench.active_path(), Some(path));
    }
    suspect(&mut bench, true);
    assert_eq!(bench.candidate_path(), None, "the heartbeat decides");
    suspect(&mut bench, false);
    bench.now = bench.now + ms(5_000);
    bench.cycle(&[(DIRECT, Some(20)), (RELAY, Some(30))]);
    suspect(&mut bench, true);
    assert_eq!(bench.candidate_path(), Some(DIRECT));
}

#[test]
fn sp_1_the_first_path_that_proves_itself_takes_the_place_of_a_rescue_that_failed() {
    let mut bench = Bench::online(&[DIRECT, DIRECT_B, RELAY]);
    bench.cycle(&[(DIRECT, Some(20)), (DIRECT_B, Some(20)), (RELAY, Some(30))]);
    suspect(&mut bench, true);
    assert_eq!(bench.candidate_path(), Some(DIRECT_B));
    bench.candidate(lost(Reason::Unreachable));
    assert_eq!(bench.candidate_path(), None);
    bench.prove(DIRECT, 20);
    assert_eq!(
        bench.candidate_path(),
        None,
        "the silent path itself is none"
    );
    bench.prove(RELAY, 30);
    assert_eq!(bench.candidate_path(), Some(RELAY));
}

#[test]
fn sp_1_without_another_path_a_suspicion_only_probes() {
    let mut bench = Bench::online(&[DIRECT]);
    assert_eq!(suspect(&mut bench, true), ["probe(direct)"]);
    bench.prove(DIRECT, 20);
    assert_eq!(bench.candidate_path(), None);
    let mut bench = beside_a_relay();
    bench.feed(Input::UserSelect(Some(DIRECT)));
    assert_eq!(
        suspect(&mut bench, true),
        ["probe(direct)", "probe(relay)"],
        "the user's choice is kept"
    );
    bench.prove(RELAY, 30);
    assert_eq!(bench.candidate_path(), None);
}

#[test]
fn sp_1_nobody_is_watched_closely_in_the_background_or_without_a_path_to_go_to() {
    let mut bench = beside_a_relay();
    let effects = bench.feed(Input::Background);
    assert_eq!(effects, ["background1(true)", "alternative1(false)"]);
    let effects = bench.feed(Input::Foreground);
    assert!(
        effects.contains(&"alternative1(true)".to_owned()),
        "{effects:?}"
    );
    let effects = bench.cycle(&[(DIRECT, Some(20)), (RELAY, None)]);
    assert!(
        effects.contains(&"alternative1(false)".to_owned()),
        "{effects:?}"
    );
    let effects = bench.cycle(&[(DIRECT, Some(20)), (RELAY, Some(30))]);
    assert!(
        effects.contains(&"alternative1(true)".to_owned()),
        "{effects:?}"
    );
    let effects = bench.feed(Input::ConnectionsChanged(list(&[DIRECT])));
    assert!(
        effects.contains(&"alternative1(false)".to_owned()),
        "{effects:?}"
    );
}

/// Otherwise a path with occasional stalls would be left and returned to at each stall.
#[test]
fn sp_1_a_path_that_was_left_in_silence_must_prove_itself_for_longer() {
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    bench.candidate(ClientStatus::Connected);
    let both = [(RELAY, Some(30)), (DIRECT, Some(20))];
    let mut cycles = 0;
    while bench.candidate_path().is_none() {
        bench.cycle(&both);
        cycles += 1;
    }
    assert_eq!((cycles, bench.candidate_path()), (6, Some(DIRECT)));
    // After a change of network, distrust of the path is cleared.
    let mut bench = beside_a_relay();
    suspect(&mut bench, true);
    bench.candidate(ClientStatus::Connected);
    bench.now = bench.now + ms(5_000);
    bench.feed(Input::NetworkChanged);
    bench.cycle(&both);
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), Some(DIRECT));
}

#[test]
fn hr_2_jitter_is_not_mistaken_for_speed() {
    let mut bench = Bench::online(&[DIRECT, DIRECT_B]);
    // Equal means, differences of up to 400 ms.
    let mut state = 12_345_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Some(100 + (state >> 33) % 400)
    };
    for cycle in 0..3_600 {
        bench.cycle(&[(DIRECT, draw()), (DIRECT_B, draw())]);
        assert_eq!(bench.candidate_path(), None, "cycle {cycle}");
    }
    // A difference in speed does not count as jitter.
    for _ in 0..20 {
        if bench.candidate_path().is_none() {
            bench.cycle(&[(DIRECT, draw()), (DIRECT_B, Some(20))]);
        }
    }
    assert_eq!(bench.candidate_path(), Some(DIRECT_B));
}
