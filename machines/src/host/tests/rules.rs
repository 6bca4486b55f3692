//! Finding a path and losing it: selection, recovery, errors, the platform.

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, DIRECT_B, LOCAL, RELAY, list, lost, ms};
use crate::{
    Generation, Path,
    host::{ClientStatus, ConnectionId, Input},
};

#[test]
fn hr_a_single_path_is_connected_without_a_probe() {
    let mut bench = Bench::new();
    let effects = bench.feed(Input::Start {
        connections: list(&[RELAY]),
    });
    assert_eq!(effects, ["client1(relay)", "publish"]);
    assert_eq!(bench.state(), "connecting_active");
    assert_eq!(
        bench.host.active(),
        Some((RELAY, Path::Relay, Generation::new(1)))
    );
}

#[test]
fn hr_dials_are_staggered_and_the_first_proof_is_taken() {
    let mut bench = Bench::new();
    let effects = bench.feed(Input::Start {
        connections: list(&[RELAY, DIRECT, LOCAL]),
    });
    let probes = [
        "probe(local)",
        "probe(direct)",
        "probe(relay+150)",
        "publish",
    ];
    assert_eq!(effects, probes);
    let effects = bench.prove(DIRECT, 900);
    assert_eq!(
        effects,
        ["client1(direct)", "publish"],
        "and no probe is cancelled"
    );
    bench.prove(LOCAL, 1);
    assert_eq!(
        bench.active_path(),
        Some(DIRECT),
        "later proofs are only shown"
    );
    assert_eq!(bench.host.probes().get(&LOCAL).unwrap().rtt, Some(ms(1)));
}

#[test]
fn hr_a_relay_waits_150_ms_for_a_better_path() {
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
fn lesson_9_a_slow_relay_is_reached() {
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
    assert!(bench.host.stale_dropped() == 0);
}

#[test]
fn lesson_5_a_cycle_that_slept_blames_no_path() {
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
fn hr_a_path_that_proves_itself_but_does_not_connect_is_the_last_resort() {
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
fn inv_12_a_chosen_path_that_says_nothing_is_given_up() {
    let mut bench = Bench::started(&[DIRECT]);
    for round in 1..5 {
        assert_eq!(bench.state(), "connecting_active");
        assert_eq!(bench.host.generation(), Generation::new(round));
        let effects = bench.wait();
        assert_eq!(
            effects,
            [format!("dispose{round}(now)"), "publish".to_owned()]
        );
        assert_eq!(bench.host.last_error(), Some(Reason::ConnectTimeout));
        bench.wait();
    }
}

#[test]
fn lesson_12_only_what_the_daemon_says_of_this_device_is_an_error() {
    for reason in Reason::ALL {
        let is_terminal = !reason.is_recoverable() && *reason != Reason::ClosedLocally;
        let mut bench = Bench::online(&[DIRECT]);
        bench.client(lost(*reason));
        let expected = if is_terminal { "error" } else { "degraded" };
        assert_eq!(bench.state(), expected, "{reason}");
        assert_eq!(bench.host.last_error(), Some(*reason));

        let mut bench = Bench::started(&[DIRECT, RELAY]);
        bench.disprove(DIRECT, Reason::Unreachable);
        bench.disprove(RELAY, *reason);
        let is_error = is_terminal && *reason != Reason::ServerIdentityMismatch;
        assert_eq!(
            bench.state() == "error",
            is_error,
            "a cycle that says {reason}"
        );
    }
}

#[test]
fn lesson_11_another_daemon_behind_one_address_does_not_stop_the_host() {
    let mut bench = Bench::started(&[DIRECT, RELAY]);
    bench.disprove(DIRECT, Reason::ServerIdentityMismatch);
    bench.prove(RELAY, 50);
    bench.client(ClientStatus::Connected);
    assert_eq!(bench.active_path(), Some(RELAY));

    let mut bench = Bench::started(&[DIRECT, DIRECT_B]);
    bench.disprove(DIRECT, Reason::ServerIdentityMismatch);
    bench.disprove(DIRECT_B, Reason::ServerIdentityMismatch);
    assert_eq!(
        bench.state(),
        "error",
        "unless every address has another daemon"
    );
}

#[test]
fn hr_an_error_is_left_by_intents_choices_other_paths_and_networks() {
    let leave = [
        Input::IntentQueued,
        Input::ReconnectNow,
        Input::UserSelect(None),
        Input::UserSelect(Some(DIRECT)),
        Input::ConnectionsChanged(list(&[DIRECT, LOCAL])),
        Input::NetworkChanged,
    ];
    let stay = [
        Input::Foreground,
        Input::Background,
        Input::StayAway {
            connection: DIRECT,
            pause: ms(1_000),
        },
        Input::UserSelect(Some(ConnectionId(77))),
        Input::ConnectionsChanged(list(&[DIRECT])),
    ];
    let leave = leave.into_iter().map(|input| (input, true));
    for (input, leaves) in leave.chain(stay.into_iter().map(|input| (input, false))) {
        {
            let mut bench = Bench::online(&[DIRECT]);
            bench.client(lost(Reason::DeviceUnknown));
            bench.advance(ms(60_000));
            assert_eq!(bench.state(), "error");
            let name = format!("{input:?}");
            bench.feed(input);
            assert_eq!(bench.state() != "error", leaves, "{name}");
        }
    }
}

#[test]
fn hr_losing_the_active_client_probes_at_once_and_its_reconnect_can_win() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert_eq!(effects, ["probe(direct)", "probe(relay+150)", "publish"]);
    assert_eq!(bench.state(), "degraded");
    bench.prove(RELAY, 50);
    assert_eq!(bench.candidate_path(), Some(RELAY));
    assert_eq!(
        bench.client(ClientStatus::Connected),
        ["dispose2(now)", "publish"]
    );
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(DIRECT))
    );
    assert_eq!(bench.host.generation(), Generation::new(1));
    assert_eq!(bench.host.last_error(), None);
}

#[test]
fn hr_losing_the_active_client_another_path_can_win() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.client(lost(Reason::HeartbeatTimeout));
    bench.prove(RELAY, 50);
    let effects = bench.candidate(ClientStatus::Connected);
    assert_eq!(effects, ["promote2", "dispose1(now)", "publish"]);
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
}

#[test]
fn hr_the_lost_path_is_reconnected_as_soon_as_a_probe_proves_it() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.client(lost(Reason::ConnectionLost));
    assert!(bench.prove(DIRECT, 5).contains(&"reconnect1".to_owned()));
    assert_eq!(bench.candidate_path(), None, "one client for one path");
}

#[test]
fn bx_2_hr_a_path_that_was_already_probed_is_gone_over_to_at_once() {
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, Some(20))]);
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert!(
        effects.contains(&"candidate2(relay)".to_owned()),
        "{effects:?}"
    );
    assert!(effects.contains(&"probe(direct)".to_owned()), "{effects:?}");
    // Its own proof comes too late to matter, and does no harm.
    bench.prove(RELAY, 20);
    assert_eq!(bench.candidate_path(), Some(RELAY));
    bench.candidate(ClientStatus::Connected);
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
}

#[test]
fn hr_a_path_that_failed_or_was_probed_long_ago_is_not_presumed_to_work() {
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
fn hr_a_presumed_path_makes_way_for_one_that_is_proven() {
    let mut bench = Bench::online(&[DIRECT, RELAY, DIRECT_B]);
    bench.cycle(&[(DIRECT, Some(10)), (RELAY, Some(20)), (DIRECT_B, None)]);
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.candidate_path(), Some(RELAY));
    bench.prove(DIRECT_B, 10);
    assert_eq!(bench.candidate_path(), Some(DIRECT_B));
}

#[test]
fn hr_while_degraded_a_candidate_that_fails_makes_way_for_the_next() {
    let mut bench = Bench::online(&[DIRECT, RELAY, DIRECT_B]);
    bench.client(lost(Reason::ConnectionLost));
    bench.prove(DIRECT_B, 10);
    bench.prove(RELAY, 20);
    let effects = bench.candidate(lost(Reason::CryptoFailed));
    assert_eq!(effects[..2], ["dispose2(now)", "candidate3(relay)"]);
    assert_eq!(bench.host.switches_failed(), 1);
}

#[test]
fn inv_12_degraded_goes_on_probing_on_one_path_as_on_many() {
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

#[test]
fn lesson_4_the_background_stops_measuring_but_never_looking() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.wait();
    assert_eq!(
        bench.feed(Input::Background),
        ["background1(true)", "cancel"]
    );
    assert_eq!(bench.host.poll_timeout(), None, "no probes while online");

    bench.client(lost(Reason::ConnectionLost));
    let pause = bench.host.poll_timeout().unwrap().since(bench.now);
    assert!(
        pause >= ms(15_000) && pause <= ms(30_000),
        "the slowest step: {pause:?}"
    );
    bench.wait();
    let created = bench.prove(DIRECT, 5);
    assert_eq!(created[..2], ["candidate2(direct)", "background2(true)"]);
    let effects = bench.feed(Input::Foreground);
    assert!(
        effects.contains(&"background1(false)".to_owned()),
        "{effects:?}"
    );

    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.feed(Input::Background);
    bench.disprove(DIRECT, Reason::Unreachable);
    bench.disprove(RELAY, Reason::DaemonOffline);
    assert!(bench.pause().unwrap() >= ms(15_000));
    bench.feed(Input::Foreground);
    assert_eq!(bench.pause(), None, "the foreground retries now");
}

#[test]
fn one_network_change_reported_thrice_restarts_the_measuring_of_an_online_host_once() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    assert_eq!(
        bench.feed(Input::NetworkChanged),
        ["network1", "probe(direct)", "probe(relay)"]
    );
    bench.advance(ms(500));
    assert_eq!(bench.feed(Input::NetworkChanged), ["network1"]);
    bench.advance(ms(500));
    assert_eq!(bench.feed(Input::NetworkChanged), ["network1"]);
}

#[test]
fn lesson_3_a_network_change_right_after_a_dial_or_a_probe_began_restarts_it() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.advance(ms(50));
    assert_eq!(
        bench.feed(Input::NetworkChanged),
        ["cancel", "probe(direct)", "probe(relay+150)", "publish"]
    );
    let mut bench = Bench::started(&[DIRECT]);
    bench.advance(ms(50));
    let again = ["dispose1(now)", "client2(direct)", "publish"];
    assert_eq!(bench.feed(Input::NetworkChanged), again);
}

/// The direct path is lost, the relay had worked and is dialled at once, over a network that is about to go.
#[test]
fn lesson_3_a_candidate_dialled_over_a_dying_network_is_dialled_again_on_the_next() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.prove(DIRECT, 5);
    bench.prove(RELAY, 20);
    bench.client(ClientStatus::Connected);
    bench.client(lost(Reason::ConnectionLost));
    let old = bench.host.candidate().unwrap();
    assert_eq!(old.connection, RELAY);
    bench.advance(ms(600));
    bench.feed(Input::NetworkChanged);
    let new = bench.host.candidate().unwrap();
    assert_eq!(new.connection, RELAY);
    assert!(new.generation > old.generation && new.deadline > old.deadline);
    assert_eq!(bench.host.switches_failed(), 0, "it failed at nothing");
    // What the old dial comes to is stale.
    bench.feed(Input::ClientState {
        generation: old.generation,
        state: lost(Reason::Unreachable),
    });
    assert_eq!(bench.host.candidate(), Some(new));
    bench.candidate(ClientStatus::Connected);
    assert_eq!(bench.state(), "online");
    assert_eq!(bench.host.active().unwrap().0, RELAY);
}

/// The app was in the background while a candidate was on its way: its socket may be gone.
#[test]
fn lesson_3_the_foreground_dials_again_what_was_dialled_in_the_background() {
    for online in [true, false] {
        let mut bench = Bench::switching();
        if !online {
            bench.client(lost(Reason::ConnectionLost));
        }
        bench.feed(Input::Background);
        bench.advance(ms(3_000));
        let old = bench.host.candidate().unwrap();
        bench.feed(Input::Foreground);
        let new = bench.host.candidate().unwrap();
        assert!(new.generation > old.generation && new.deadline > old.deadline);
        bench.feed(Input::Foreground);
        assert_eq!(bench.host.candidate(), Some(new), "it was here already");
    }
}

/// A candidate that was only to be an improvement hangs, and the active client is lost.
#[test]
fn hr_a_candidate_from_before_the_loss_does_not_keep_a_proven_path_waiting() {
    let mut bench = Bench::online(&[RELAY, DIRECT, LOCAL]);
    bench.feed(Input::UserSelect(Some(DIRECT)));
    bench.feed(Input::UserSelect(None));
    bench.client(lost(Reason::ConnectionLost));
    assert_eq!(bench.host.candidate().unwrap().connection, DIRECT);
    bench.prove(LOCAL, 1);
    assert_eq!(bench.host.candidate().unwrap().connection, LOCAL);
}

#[test]
fn hr_probes_come_every_10_s_and_every_30_s_after_ten_quiet_minutes() {
    let gap = |bench: &Bench| bench.host.poll_timeout().unwrap().since(bench.now);
    let both = [(RELAY, Some(10)), (DIRECT, None)];
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    assert_eq!(gap(&bench), ms(10_000));
    for _ in 0..60 {
        bench.cycle(&both);
    }
    assert_eq!(gap(&bench), ms(30_000));
    bench.feed(Input::IntentQueued);
    bench.cycle(&both);
    assert_eq!(gap(&bench), ms(10_000), "activity brings them back");

    let single = Bench::online(&[RELAY]);
    assert_eq!(
        gap(&single),
        ms(30_000),
        "a single path is measured for show only"
    );
}

#[test]
fn connection_lists_are_bounded_and_free_of_duplicates() {
    let mut bench = Bench::new();
    let many = (0..40).map(|label| (ConnectionId(label % 20), Path::Direct));
    bench.feed(Input::Start {
        connections: many.collect(),
    });
    assert_eq!(bench.host.connections().len(), 16);
    for label in 0..16 {
        bench.disprove(ConnectionId(label), Reason::Unreachable);
    }
    assert!(bench.pause().is_some());
}

#[test]
fn hr_the_active_client_stays_while_its_path_stays() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.feed(Input::ConnectionsChanged(list(&[RELAY])));
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
    let effects = bench.feed(Input::ConnectionsChanged(list(&[LOCAL, DIRECT])));
    assert_eq!(effects[0], "dispose1(5s)", "{effects:?}");
    assert_eq!(bench.state(), "selecting_active_connection");
}

/// C48: after `protocol_unsupported` a host was never tried again, also not after the daemon's update.
#[test]
fn case_c48_an_error_is_looked_at_again_rarely_and_when_the_app_comes_back() {
    for reason in Reason::ALL.iter().filter(|reason| !reason.is_recoverable()) {
        if *reason == Reason::ClosedLocally {
            continue;
        }
        let mut bench = Bench::online(&[DIRECT]);
        bench.client(lost(*reason));
        for _ in 0..3 {
            let since = bench.now;
            assert_eq!(bench.wait(), ["client2(direct)", "publish"], "{reason}");
            let pause = bench.now.since(since);
            assert!((ms(300_000)..=ms(600_000)).contains(&pause), "{pause:?}");
            assert_eq!(bench.host.last_error(), Some(*reason), "still shown");
            bench.client(ClientStatus::Connected);
            assert_eq!((bench.state(), bench.host.last_error()), ("online", None));
            bench = Bench::online(&[DIRECT]);
            bench.client(lost(*reason));
        }
        bench.feed(Input::Background);
        bench.feed(Input::Foreground);
        assert_eq!(bench.state(), "connecting_active", "{reason}");
    }
}

/// C41: a relay said 45,000 ms and was dialled nine times in 40 s.
#[test]
fn case_c41_a_path_is_left_alone_for_as_long_as_its_peer_asked() {
    let away = |connection, millis| Input::StayAway {
        connection,
        pause: ms(millis),
    };
    // One path: nothing at all is dialled, whatever the platform says.
    let mut bench = Bench::started(&[RELAY]);
    let asked = bench.now;
    bench.feed(away(RELAY, 45_000));
    bench.client(lost(Reason::RateLimited));
    bench.feed(Input::NetworkChanged);
    bench.feed(Input::Background);
    assert_eq!(bench.feed(Input::Foreground), Vec::<String>::new());
    let effects = bench.wait();
    assert!(
        effects.contains(&"client2(relay)".to_owned()),
        "{effects:?}"
    );
    let waited = bench.now.since(asked);
    assert!((ms(45_000)..=ms(55_000)).contains(&waited), "{waited:?}");

    // The user knows better.
    let mut bench = Bench::started(&[RELAY]);
    bench.feed(away(RELAY, 45_000));
    bench.client(lost(Reason::RateLimited));
    let effects = bench.feed(Input::ReconnectNow);
    assert!(
        effects.contains(&"client2(relay)".to_owned()),
        "{effects:?}"
    );

    // Two paths: the other one is used and measured alone.
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.feed(away(RELAY, 45_000));
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert_eq!(effects, ["probe(direct)", "publish"]);

    // Nobody is to be sent away for ever.
    let mut bench = Bench::started(&[RELAY]);
    let asked = bench.now;
    bench.feed(away(RELAY, u64::from(u32::MAX)));
    bench.client(lost(Reason::RateLimited));
    bench.wait();
    assert!(bench.now.since(asked) <= ms(675_000));
}
