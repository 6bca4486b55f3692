//! After a network change the peer must answer soon, whatever was under way (LS-3, LS-16).

use super::*;

#[test]
fn ls_3_a_network_change_pings_now_with_3_s_to_answer() {
    let mut bench = Bench::connected();
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.feed(Input::CheckLiveness).len(), 1);
    bench.advance(Duration::from_millis(1_500));
    assert!(
        bench.feed(Input::CheckLiveness).is_empty(),
        "doubts do not add time"
    );
    bench.advance(Duration::from_millis(1_500));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}

#[test]
fn ls_3_a_dial_that_began_before_a_network_change_is_replaced() {
    for event in [Input::NetworkChanged, Input::Foreground] {
        let mut bench = Bench::disconnected(Reason::ConnectionLost);
        bench.wait();
        let old = bench.client.generation();
        bench.advance(Duration::from_secs(14));
        let effects = bench.feed(event);
        let new = old.next();
        assert_eq!(
            effects.iter().map(short).collect::<Vec<_>>(),
            [format!("close{old}(closed_locally)"), format!("open{new}")]
        );
        let deadline = bench.now + limits::CONNECT_DEADLINE;
        let whole = State::Connecting {
            attempt: 1,
            deadline,
        };
        assert_eq!(*bench.client.state(), whole, "no failure, all of the time");
        // The result of the old dial is ignored and causes no pause.
        bench.feed(Input::TransportClosed {
            generation: old,
            reason: Reason::Unreachable,
            retry_after: None,
        });
        assert_eq!(*bench.client.state(), whole);
        bench.open();
        assert_eq!(bench.client.state().name(), "connected");
    }
}

/// While a command streams, some of it is in the system's buffers when the network changes. Those
/// bytes arrived over a path that is gone.
#[test]
fn ls_3_bytes_sent_before_a_network_change_do_not_count_as_an_answer() {
    let mut bench = Bench::connected();
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.feed(Input::CheckLiveness).len(), 1);
    for _ in 0..5 {
        bench.advance(Duration::from_millis(5));
        apply(&mut bench, "received_current");
    }
    assert_eq!(
        bench.advance(Duration::from_millis(75)).len(),
        1,
        "asked again, once"
    );
    bench.advance(Duration::from_millis(1_900));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}

#[test]
fn ls_16_a_peer_that_goes_on_talking_outlives_a_network_change() {
    let mut bench = Bench::connected();
    bench.feed(Input::CheckLiveness);
    apply(&mut bench, "received_current");
    bench.advance(Duration::from_millis(100));
    apply(&mut bench, "received_current");
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + HEARTBEAT));
}

#[test]
fn ls_3_a_check_never_gives_a_silent_peer_more_time_than_it_had() {
    let mut bench = Bench::connected();
    bench.advance(HEARTBEAT);
    bench.advance(Duration::from_secs(2));
    bench.advance(Duration::from_millis(500));
    assert_eq!(
        bench.feed(Input::CheckLiveness).len(),
        1,
        "asked again: it may be another network"
    );
    bench.advance(Duration::from_millis(1_500));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}
