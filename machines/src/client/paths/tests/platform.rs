//! Reports of the platform: network changes, foreground, background (LS-3, LS-4).

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, RELAY, lost, ms};
use crate::client::paths::{ClientStatus, Input};

#[test]
fn ls_4_in_the_background_a_host_stops_measuring_and_still_looks_for_a_path() {
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
fn a_network_change_reported_three_times_restarts_the_probes_of_an_online_host_once() {
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
fn ls_3_reports_that_follow_a_network_change_closely_count_as_one_when_the_pause_is_over() {
    let mut bench = Bench::started(&[DIRECT]);
    let again = ["dispose1(now)", "client2(direct)"];
    assert_eq!(bench.feed(Input::NetworkChanged), again);
    for _ in 0..3 {
        bench.advance(ms(50));
        assert!(bench.feed(Input::NetworkChanged).is_empty());
    }
    assert!(bench.advance(ms(99)).is_empty());
    assert_eq!(bench.advance(ms(1)), ["dispose2(now)", "client3(direct)"]);
    assert!(bench.advance(ms(1_000)).is_empty(), "it was one");
    let again = ["dispose3(now)", "client4(direct)"];
    assert_eq!(bench.feed(Input::NetworkChanged), again);
}

#[test]
fn ls_3_a_network_change_right_after_a_dial_or_a_probe_began_restarts_it() {
    let mut bench = Bench::started(&[RELAY, DIRECT]);
    bench.advance(ms(50));
    assert_eq!(
        bench.feed(Input::NetworkChanged),
        ["cancel", "probe(direct)", "probe(relay+150)"]
    );
    let mut bench = Bench::started(&[DIRECT]);
    bench.advance(ms(50));
    let again = ["dispose1(now)", "client2(direct)"];
    assert_eq!(bench.feed(Input::NetworkChanged), again);
}

/// The direct path is lost; the relay, which worked before, is dialled at once over a network that
/// is about to change.
#[test]
fn ls_3_a_candidate_dialled_over_a_dying_network_is_dialled_again_on_the_next() {
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
    // The result of the old dial is stale.
    bench.feed(Input::ClientState {
        generation: old.generation,
        state: lost(Reason::Unreachable),
    });
    assert_eq!(bench.host.candidate(), Some(new));
    bench.candidate(ClientStatus::Connected);
    assert_eq!(bench.state(), "online");
    assert_eq!(bench.host.active().unwrap().0, RELAY);
}

/// The app was in the background while a candidate was connecting, whose socket may be closed.
#[test]
fn ls_3_the_foreground_dials_again_what_was_dialled_in_the_background() {
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
