//! Changing the path while online: hysteresis, candidates, promotion, the user's choice.

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, DIRECT_B, LOCAL, NOBODY, RELAY, list, lost, ms};
use crate::{
    Generation,
    client::paths::{ClientStatus, Input, State},
};

#[test]
fn inv_11_a_switch_makes_before_it_breaks_and_promotes_in_one_step() {
    let mut bench = Bench::switching();
    let candidate = bench.host.candidate().unwrap();
    assert_eq!(candidate.generation, bench.host.generation().next());
    assert_eq!(bench.active_path(), Some(RELAY), "the old client serves on");
    bench.candidate(ClientStatus::Connecting);
    bench.transitions();

    let effects = bench.candidate(ClientStatus::Connected);
    assert_eq!(
        effects,
        [
            "promote2",
            "dispose1(5s)",
            "attached2",
            "alternative2(true)"
        ]
    );
    assert_eq!(bench.active_path(), Some(DIRECT));
    assert_eq!(bench.host.generation(), Generation::new(2));
    assert_eq!(bench.host.candidate(), None);
    let [one] = bench.transitions().try_into().unwrap();
    assert_eq!(
        (one.from, one.to, one.event),
        ("online", "online", "client_connected")
    );
    assert_eq!(one.generation, Some(Generation::new(2)));

    let generation = Generation::new(1);
    let state = lost(Reason::ClosedLocally);
    bench.feed(Input::ClientState { generation, state });
    assert_eq!((bench.state(), bench.host.stale()), ("online", 1), "INV-10");
}

#[test]
fn inv_11_a_switch_that_fails_changes_nothing_but_a_counter() {
    let ways: [fn(&mut Bench) -> Vec<String>; 3] = [
        |bench| bench.candidate(lost(Reason::DeviceRevoked)),
        |bench| bench.candidate(ClientStatus::Disposed),
        |bench| {
            let deadline = bench.host.candidate().unwrap().deadline;
            while bench.host.candidate().is_some() && bench.now < deadline {
                bench.wait();
            }
            vec!["dispose2(now)".to_owned()]
        },
    ];
    for fail in ways {
        let mut bench = Bench::switching();
        let effects = fail(&mut bench);
        assert_eq!(effects[0], "dispose2(now)");
        assert_eq!(
            (bench.state(), bench.active_path()),
            ("online", Some(RELAY))
        );
        assert_eq!(bench.host.candidate(), None);
        assert_eq!(bench.host.generation(), Generation::new(1));
        assert_eq!(bench.host.switches_failed(), 1);
        assert_eq!(bench.host.last_error(), None);
    }
}

#[test]
fn ob_1_records_name_the_client_that_they_are_about() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.transitions();
    bench.feed(Input::UserSelect(Some(DIRECT)));
    bench.candidate(lost(Reason::Unreachable));
    bench.feed(Input::UserSelect(Some(DIRECT)));
    bench.client(lost(Reason::HeartbeatTimeout));
    bench.client(ClientStatus::Connected);
    let records: Vec<_> = bench
        .transitions()
        .iter()
        .map(|record| {
            let (path, generation) = (record.path.unwrap(), record.generation.unwrap());
            let reason = record.reason.map_or("-", Reason::as_str);
            format!(
                "{} {path} {generation} {} {reason}",
                record.event, record.to
            )
        })
        .collect();
    let expected = [
        "user_select direct 2 online -",
        "client_disconnected direct 2 online unreachable",
        "user_select direct 3 online -",
        "client_disconnected relay 1 degraded heartbeat_timeout",
        "client_connected relay 1 online -",
    ];
    assert_eq!(records, expected);
}

#[test]
fn hr_2_a_direct_path_takes_over_from_a_relay_after_two_cycles() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    let both = [(RELAY, Some(30)), (DIRECT, Some(30))];
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), None);
    bench.cycle(&[(RELAY, Some(30)), (DIRECT, None)]);
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), None, "two running, not two in all");
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), Some(DIRECT));
}

#[test]
fn hr_2_kinds_are_preferred_local_then_direct_then_relay() {
    let mut bench = Bench::online(&[RELAY, DIRECT, LOCAL]);
    let all = [(RELAY, Some(9)), (DIRECT, Some(8)), (LOCAL, Some(9))];
    bench.cycle(&all);
    bench.cycle(&all);
    assert_eq!(bench.candidate_path(), Some(LOCAL));
}

#[test]
fn hr_2_a_path_of_the_same_kind_must_be_40_ms_faster_in_three_successive_cycles() {
    let much = [(DIRECT, Some(60)), (DIRECT_B, Some(20))];
    let little = [(DIRECT, Some(60)), (DIRECT_B, Some(21))];
    let mut bench = Bench::online(&[DIRECT, DIRECT_B]);
    for _ in 0..50 {
        bench.cycle(&little);
        bench.cycle(&much);
        bench.cycle(&much);
    }
    assert_eq!(bench.candidate_path(), None);
    bench.cycle(&much);
    assert_eq!(bench.candidate_path(), Some(DIRECT_B));
}

#[test]
fn ls_16_one_lost_probe_never_switches() {
    let mut bench = Bench::online(&[DIRECT, DIRECT_B, RELAY]);
    for lost_in_a_row in [1, 10] {
        for _ in 0..lost_in_a_row {
            bench.cycle(&[(DIRECT, None), (DIRECT_B, Some(5)), (RELAY, Some(5))]);
        }
        assert_eq!(bench.candidate_path(), None);
        bench.cycle(&[(DIRECT, Some(10)), (DIRECT_B, Some(5)), (RELAY, Some(5))]);
        assert_eq!(bench.candidate_path(), None);
    }
    assert_eq!(
        bench.state(),
        "online",
        "INV-8: and no probe says anything of the client"
    );
}

#[test]
fn ls_16_the_two_rules_do_not_pass_a_host_back_and_forth() {
    for direct_rtt in 0..200 {
        let mut bench = Bench::online(&[RELAY, DIRECT]);
        let mut switches = 0;
        for _ in 0..30 {
            let mut cycle = vec![(RELAY, Some(60)), (DIRECT, Some(direct_rtt))];
            cycle.sort_by_key(|(path, _)| Some(*path) != bench.active_path());
            bench.cycle(&cycle);
            if bench.host.candidate().is_some() {
                bench.candidate(ClientStatus::Connected);
                switches += 1;
            }
        }
        assert!(switches <= 1, "direct {direct_rtt} ms: {switches}");
        assert_eq!(switches == 1, direct_rtt <= 80, "direct {direct_rtt} ms");
    }
}

#[test]
fn hr_2_a_candidate_that_failed_must_earn_the_next_attempt() {
    let both = [(RELAY, Some(30)), (DIRECT, Some(5))];
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.cycle(&both);
    bench.cycle(&both);
    bench.candidate(lost(Reason::CryptoFailed));
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), None);
    bench.cycle(&both);
    assert_eq!(bench.candidate_path(), Some(DIRECT));
}

#[test]
fn inv_8_probes_never_touch_the_active_client() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    let before = *bench.host.state();
    for reason in Reason::ALL {
        bench.wait();
        for connection in [DIRECT, RELAY] {
            let effects = bench.disprove(connection, *reason);
            assert!(effects.is_empty(), "{reason}: {effects:?}");
        }
        assert_eq!(*bench.host.state(), before, "{reason}");
    }
}

#[test]
fn hr_2_the_users_choice_is_followed_at_once_and_kept() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    let effects = bench.feed(Input::UserSelect(Some(RELAY)));
    assert_eq!(effects, ["candidate2(relay)"]);
    bench.candidate(ClientStatus::Connected);
    let both = [(RELAY, Some(300)), (DIRECT, Some(1))];
    for _ in 0..10 {
        bench.cycle(&both);
    }
    assert_eq!(
        (bench.candidate_path(), bench.active_path()),
        (None, Some(RELAY))
    );

    bench.client(lost(Reason::ConnectionLost));
    bench.prove(DIRECT, 1);
    assert_eq!(
        bench.candidate_path(),
        None,
        "nothing else is taken while it is lost"
    );
    bench.feed(Input::UserSelect(None));
    assert_eq!(
        bench.candidate_path(),
        Some(DIRECT),
        "until the choice is given back"
    );
}

#[test]
fn hr_2_a_choice_that_could_not_be_followed_is_followed_when_its_path_works() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.feed(Input::UserSelect(Some(RELAY)));
    bench.candidate(lost(Reason::DaemonOffline));
    bench.cycle(&[(DIRECT, Some(1)), (RELAY, None)]);
    assert_eq!(bench.candidate_path(), None);
    bench.cycle(&[(DIRECT, Some(1)), (RELAY, Some(80))]);
    assert_eq!(bench.candidate_path(), Some(RELAY));
}

#[test]
fn hr_2_a_candidate_that_the_user_chose_outlives_the_recovery_of_the_old_path() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.feed(Input::UserSelect(Some(RELAY)));
    bench.client(lost(Reason::ConnectionLost));
    bench.client(ClientStatus::Connected);
    assert_eq!(
        (bench.state(), bench.candidate_path()),
        ("online", Some(RELAY))
    );
}

#[test]
fn a_choice_of_a_path_that_was_removed_is_forgotten() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.feed(Input::UserSelect(Some(RELAY)));
    bench.feed(Input::ConnectionsChanged(list(&[DIRECT])));
    assert_eq!((bench.host.choice(), bench.candidate_path()), (None, None));
    assert_eq!(bench.active_path(), Some(DIRECT));
}

#[test]
fn inv_10_results_of_an_earlier_cycle_count_for_nothing() {
    let mut bench = Bench::online(&[DIRECT_B, DIRECT]);
    let much = [(DIRECT_B, Some(90)), (DIRECT, Some(1))];
    bench.cycle(&much);
    bench.wait();
    let results = bench.host.probes().clone();
    for _ in 0..10 {
        bench.feed(Input::ProbeFinished {
            cycle: 1,
            connection: DIRECT,
            outcome: Ok(ms(1)),
            retry_after: None,
        });
    }
    assert_eq!(*bench.host.probes(), results);
    assert_eq!(bench.host.stale(), 10);
    let generation = NOBODY;
    let state = ClientStatus::Connected;
    bench.feed(Input::ClientState { generation, state });
    assert_eq!(bench.host.stale(), 11);
}

#[test]
fn a_forbidden_pair_is_refused_and_counted() {
    let mut bench = Bench::started(&[]);
    bench.feed(Input::Stop);
    bench.host.set_state(State::Booting, "test", None);
    assert_eq!((bench.state(), bench.host.refused()), ("stopped", 1));
}
