//! Which failures end in the error state, and how it is left (HR-1, LS-11, LS-12).

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, DIRECT_B, LOCAL, RELAY, list, lost, lost_until, ms};
use crate::client::paths::{ClientStatus, Input, PathId};

#[test]
fn ls_12_only_what_the_daemon_says_of_this_device_is_an_error() {
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
fn ls_11_another_daemon_behind_one_address_does_not_stop_the_host() {
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
fn hr_1_intents_choices_new_paths_and_new_networks_end_the_error_state() {
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
        Input::UserSelect(Some(PathId(77))),
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

/// C48: after `protocol_unsupported` a host was never retried, even after the daemon's update.
#[test]
fn case_c48_an_error_is_tried_again_at_long_intervals_and_when_the_app_comes_back() {
    for reason in Reason::ALL.iter().filter(|reason| !reason.is_recoverable()) {
        if *reason == Reason::ClosedLocally {
            continue;
        }
        let mut bench = Bench::online(&[DIRECT]);
        bench.client(lost(*reason));
        for _ in 0..3 {
            let since = bench.now;
            assert_eq!(bench.wait(), ["client2(direct)"], "{reason}");
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

/// C41: a relay's retry-after was 45,000 ms, and it was dialled nine times in 40 s.
#[test]
fn case_c41_a_path_is_not_dialled_for_as_long_as_its_peer_asked() {
    // One path: nothing is dialled, whatever the platform reports.
    let mut bench = Bench::started(&[RELAY]);
    let asked = bench.now;
    bench.client(lost_until(Reason::RateLimited, 45_000));
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

    // The user overrides the retry-after.
    let mut bench = Bench::started(&[RELAY]);
    bench.client(lost_until(Reason::RateLimited, 45_000));
    let effects = bench.feed(Input::ReconnectNow);
    assert!(
        effects.contains(&"client2(relay)".to_owned()),
        "{effects:?}"
    );

    // Two paths: only the other one is used and measured, even if the answer came late.
    let mut bench = Bench::online(&[DIRECT, RELAY]);
    bench.feed(Input::ProbeFinished {
        cycle: 0,
        connection: RELAY,
        outcome: Err(Reason::RateLimited),
        retry_after: Some(ms(45_000)),
    });
    let effects = bench.client(lost(Reason::ConnectionLost));
    assert_eq!(effects, ["probe(direct)", "lost(connection_lost)"]);

    // A retry-after is cut to its maximum.
    let mut bench = Bench::started(&[RELAY]);
    let asked = bench.now;
    bench.client(lost_until(Reason::RateLimited, u64::from(u32::MAX)));
    bench.wait();
    assert!(bench.now.since(asked) <= ms(675_000));
}
