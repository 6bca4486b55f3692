//! The data socket of each session, and its replacement after it ends.

use std::sync::Arc;

use bowline_protocol::relay::limits;

use super::*;

#[test]
fn rl_3_a_session_has_one_data_socket_however_often_it_is_announced() {
    let mut bench = Bench::registered();
    let effects = bench.sync(&[1]);
    let socket = dialled(&effects, 1);
    assert_eq!(bench.opened(1), [], "while it is dialled");
    bench.feed(Input::DataOpened { socket });
    assert_eq!(bench.opened(1), [], "and while it is there");
    assert_eq!(bench.sync(&[1]), [Effect::CheckData { socket }]);
    assert_eq!(bench.registration.data_sockets(), 1);
}

#[test]
fn a_session_announced_again_before_its_end_was_heard_gets_a_new_data_socket() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    bench.opened(1);
    let effects = bench.gone(socket);
    let next = dialled(&effects, 1);
    assert_ne!(next, socket);
    // Only once: the announcement is used up.
    assert_eq!(bench.gone(next), []);
    assert_eq!(bench.registration.sessions(), 0);
}

#[test]
fn sync_is_the_whole_truth_and_data_sockets_outlive_a_registration() {
    let mut bench = Bench::registered();
    let (kept, over) = (bench.socket(1), bench.socket(2));
    bench.end(Reason::ConnectionLost);
    assert_eq!(bench.registration.data_sockets(), 2);
    bench.come_back();
    let effects = bench.sync(&[1, 3]);
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(effects.contains(&Effect::CheckData { socket: kept }));
    assert!(
        effects.iter().any(
            |effect| matches!(effect, Effect::OpenData { session, .. } if *session == route(3))
        )
    );
    assert_eq!(bench.registration.sessions(), 2);
    // The one whose session is over may finish within the deadline.
    assert_eq!(bench.timer(), [Effect::Ping]);
    let generation = bench.generation();
    bench.feed(Input::Received { generation });
    assert_eq!(bench.timer(), [Effect::CloseData { socket: over }]);
}

#[test]
fn a_closed_session_finishes_and_its_successor_does_not_wait_for_that() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    assert_eq!(bench.closed(1), []);
    assert_eq!(
        (
            bench.registration.sessions(),
            bench.registration.data_sockets()
        ),
        (0, 1)
    );
    let effects = bench.opened(1);
    let next = dialled(&effects, 1);
    assert_ne!(next, socket);
    assert_eq!(
        bench.gone(socket),
        [],
        "the end of the earlier one is its own"
    );
    assert_eq!(
        (
            bench.registration.sessions(),
            bench.registration.data_sockets()
        ),
        (1, 1)
    );
}

#[test]
fn rl_3_a_dial_for_a_session_that_is_over_is_given_up_lest_it_replace_its_successor() {
    let mut bench = Bench::registered();
    let effects = bench.opened(1);
    let socket = dialled(&effects, 1);
    assert_eq!(bench.closed(1), [Effect::CloseData { socket }]);
    let effects = bench.opened(1);
    assert_ne!(dialled(&effects, 1), socket);
    assert_eq!(
        bench.feed(Input::DataOpened { socket }),
        [],
        "it is no more"
    );
    assert_eq!(
        (
            bench.registration.sessions(),
            bench.registration.data_sockets()
        ),
        (1, 1)
    );
}

#[test]
fn rl_3_a_data_socket_that_another_of_ours_replaced_is_back_soon() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    let lost = bench.now;
    let end = DataSocketEnd::Lost {
        reason: Reason::Replaced,
        retry_after: None,
    };
    bench.feed(Input::DataEnded { socket, end });
    let effects = bench.timer();
    dialled(&effects, 1);
    assert!(bench.now.since(lost) < RelayConfig::new(0).backoff.cap / 4);
}

#[test]
fn a_lost_data_socket_is_dialled_again_and_a_gone_one_is_not() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    assert_eq!(bench.lost(socket), []);
    let effects = bench.timer();
    let next = dialled(&effects, 1);
    bench.gone(next);
    assert_eq!(bench.registration.sessions(), 0);
}

#[test]
fn a_data_socket_lost_without_a_registration_waits_for_sync() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    bench.end(Reason::ConnectionLost);
    bench.lost(socket);
    assert_eq!(bench.registration.data_sockets(), 0);
    bench.come_back();
    let effects = bench.sync(&[1]);
    dialled(&effects, 1);
}

#[test]
fn ls_6_a_data_socket_that_does_not_open_is_given_up() {
    let mut bench = Bench::registered();
    let effects = bench.opened(1);
    let socket = dialled(&effects, 1);
    let open_deadline = RelayConfig::new(0).open_deadline;
    let since = bench.now;
    let mut effects = Vec::new();
    while bench.now.since(since) < open_deadline {
        effects = bench.timer();
        let generation = bench.generation();
        bench.feed(Input::Received { generation });
    }
    assert_eq!(effects, [Effect::CloseData { socket }]);
    assert_eq!(bench.feed(Input::DataOpened { socket }), [], "too late");
    assert_eq!(
        bench.registration.sessions(),
        1,
        "the relay still counts it"
    );
}

#[test]
fn rl_4_a_relay_cannot_make_sessions_pile_up() {
    let mut bench = Bench::with(RelayConfig {
        most_sessions: 3,
        ..RelayConfig::new(1)
    });
    bench.feed(Input::Start);
    bench.register();
    assert_eq!(bench.sync(&[1, 2, 3, 4, 5]).len(), 3);
    for n in 0..200 {
        for effect in bench.opened(n) {
            if let Effect::OpenData { socket, .. } = effect {
                bench.feed(Input::DataOpened { socket });
            }
        }
        bench.closed(n);
        assert!(bench.registration.data_sockets() <= 3 && bench.registration.sessions() <= 3);
    }
    assert!(bench.registration.over_limit() > 100);
}

#[test]
fn tr_10_sessions_of_unknown_devices_take_no_places_of_known_ones() {
    let mut bench = Bench::with(RelayConfig {
        most_strangers: 2,
        ..RelayConfig::new(1)
    });
    let known = (1..=3).map(route).collect();
    let routes = Arc::new(known);
    assert_eq!(bench.feed(Input::Known { routes }), []);
    bench.feed(Input::Start);
    bench.register();
    let strangers = bench.sync(&[4, 5, 6, 7]);
    let is_stranger = |effect: &Effect| {
        matches!(
            effect,
            Effect::OpenData {
                is_stranger: true,
                ..
            }
        )
    };
    assert_eq!(strangers.len(), 2);
    assert!(strangers.iter().all(is_stranger));
    for friend in 1..=3 {
        let effects = bench.opened(friend);
        dialled(&effects, friend);
        let known = |effect: &Effect| {
            matches!(
                effect,
                Effect::OpenData {
                    is_stranger: false,
                    ..
                }
            )
        };
        assert!(effects.iter().all(known));
    }
    // Those that are finishing count too.
    for n in 10..200 {
        for effect in bench.opened(n) {
            if let Effect::OpenData { socket, .. } = effect {
                bench.feed(Input::DataOpened { socket });
            }
        }
        bench.closed(n);
        assert!(bench.registration.data_sockets() <= 5);
    }
    // A stranger that pairs is none any more.
    bench.closed(4);
    let routes = Arc::new((1..=8).map(route).collect());
    bench.feed(Input::Known { routes });
    dialled(&bench.opened(8), 8);
}

#[test]
fn tr_8_a_relay_that_takes_nothing_is_left_whatever_it_says() {
    let mut bench = Bench::registered();
    let generation = bench.generation();
    let since = bench.now;
    let wrote = |sent| Input::Wrote {
        generation,
        sent,
        clear: false,
    };
    bench.feed(wrote(7));
    loop {
        let effects = bench.timer();
        let reason = Reason::SlowConsumer;
        if effects == [Effect::Disconnect { reason }] {
            break;
        }
        assert!(effects.is_empty() || effects == [Effect::Ping]);
        assert!(bench.now.since(since) < 2 * limits::SOCKET_STALL);
        bench.feed(Input::Received { generation });
        bench.feed(wrote(7));
    }
    assert_eq!(bench.now.since(since), limits::SOCKET_STALL);
}

#[test]
fn a_dial_is_refused_for_a_session_or_a_registration_that_is_gone() {
    let end = |status| DataSocketEnd::of_dial(status, Reason::Unreachable, None);
    let lost = |reason| DataSocketEnd::Lost {
        reason,
        retry_after: None,
    };
    assert_eq!(end(Some(404)), DataSocketEnd::Gone);
    assert_eq!(end(Some(401)), lost(Reason::DaemonOffline));
    assert_eq!(end(Some(503)), lost(Reason::Unreachable));
    assert_eq!(end(None), lost(Reason::Unreachable));
}
