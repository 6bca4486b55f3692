//! A silent peer is noticed, and a clock that jumped declares nobody dead (LS-3, LS-5, LS-16).

use super::*;

#[test]
fn ls_3_silence_is_noticed_with_pings_and_two_misses() {
    let mut bench = Bench::connected();
    assert!(
        bench
            .advance(HEARTBEAT - Duration::from_millis(1))
            .is_empty()
    );
    assert_eq!(
        bench.advance(Duration::from_millis(1)).len(),
        1,
        "a ping after the heartbeat"
    );
    assert_eq!(
        bench.advance(Duration::from_secs(2)).len(),
        1,
        "another after the first miss"
    );
    let effects: Vec<_> = bench
        .advance(Duration::from_secs(2))
        .iter()
        .map(short)
        .collect();
    assert_eq!(
        effects,
        ["end(heartbeat_timeout)", "close1(heartbeat_timeout)"]
    );
    assert!(bench.retry_in().is_some());
}

#[test]
fn ls_16_any_received_byte_is_liveness() {
    let mut bench = Bench::connected();
    for _ in 0..50 {
        bench.advance(HEARTBEAT);
        bench.advance(Duration::from_millis(1_900));
        apply(&mut bench, "received_current");
    }
    assert_eq!(bench.client.state().name(), "connected");
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + HEARTBEAT));
}

#[test]
fn ls_5_after_a_clock_jump_the_peer_is_pinged_instead_of_declared_dead() {
    // Quiet, one ping missed, and an urgent check: none may end the connection on wake-up.
    for before in 0..3 {
        let mut bench = Bench::connected();
        match before {
            0 => {}
            1 => {
                bench.advance(HEARTBEAT);
                bench.advance(Duration::from_secs(2));
            }
            _ => {
                bench.feed(Input::CheckLiveness);
            }
        }
        assert_eq!(
            bench.advance(Duration::from_secs(8 * 3_600)).len(),
            1,
            "{before}"
        );
        assert_eq!(bench.client.state().name(), "connected", "{before}");
        bench.advance(Duration::from_secs(3));
        assert_eq!(
            bench.client.state().reason(),
            Some(Reason::HeartbeatTimeout),
            "no answer within the urgent deadline is the end"
        );
    }
}

#[test]
fn a_welcome_cannot_ask_for_a_ping_storm_or_for_no_pings() {
    for (asked, used) in [
        (Duration::from_nanos(1), Duration::from_millis(10)),
        (Duration::MAX, Duration::from_secs(60)),
        (Duration::ZERO, limits::HEARTBEAT),
    ] {
        let mut bench = Bench::in_state("connecting");
        let generation = bench.client.generation();
        bench.feed(Input::TransportOpen {
            generation,
            heartbeat: asked,
            round_trip: ROUND_TRIP,
        });
        assert_eq!(bench.client.poll_timeout(), Some(bench.now + used));
    }
}
