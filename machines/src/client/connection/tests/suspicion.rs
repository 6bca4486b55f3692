//! A peer is suspected while a caller waits and another path is known (SP-1).

use super::*;

/// A connected client whose host knows another working path.
fn watched() -> Bench {
    let mut bench = Bench::connected();
    bench.feed(Input::AlternativeKnown(true));
    bench
}

#[test]
fn sp_1_a_silent_peer_is_suspected_within_half_a_second_and_declared_dead_by_the_heartbeat() {
    for cell in ["streamed_current", "waiting_current"] {
        let mut bench = watched();
        apply(&mut bench, cell);
        let began = bench.now;
        assert_eq!(
            bench.wait().iter().map(short).collect::<Vec<_>>(),
            ["ping1"]
        );
        assert_eq!(
            bench.wait().iter().map(short).collect::<Vec<_>>(),
            ["suspect(true)"]
        );
        assert!(
            bench.now.since(began) <= Duration::from_millis(500),
            "{cell}"
        );
        assert_eq!(
            bench.client.state().name(),
            "connected",
            "it closes nothing"
        );
        while bench.client.state().name() == "connected" {
            bench.wait();
        }
        assert_eq!(bench.now.since(began), Duration::from_secs(8), "{cell}");
    }
}

#[test]
fn sp_1_any_byte_ends_a_suspicion() {
    let mut bench = watched();
    apply(&mut bench, "streamed_current");
    bench.wait();
    bench.wait();
    let effects = apply(&mut bench, "received_current");
    assert_eq!(
        effects.iter().map(short).collect::<Vec<_>>(),
        ["suspect(false)"]
    );
    assert!(apply(&mut bench, "received_current").is_empty());
}

/// Battery: a quiet session costs per hour only the heartbeat, whether or not other paths are
/// known.
#[test]
fn sp_1_a_quiet_session_wakes_as_rarely_as_with_the_heartbeat_alone() {
    for is_known in [false, true] {
        let mut bench = Bench::connected();
        bench.feed(Input::AlternativeKnown(is_known));
        // The first seconds, in which replayed events may arrive.
        bench.now = bench.now + Duration::from_secs(2);
        apply(&mut bench, "received_current");
        let hour = bench.now + Duration::from_secs(3_600);
        let (mut wakeups, mut pings) = (0, 0);
        while bench.client.poll_timeout().unwrap() <= hour {
            wakeups += 1;
            pings += bench.wait().len();
            bench.now = bench.now + ROUND_TRIP;
            apply(&mut bench, "received_current");
            apply(&mut bench, "answered_current");
        }
        let every = HEARTBEAT + ROUND_TRIP;
        let least = usize::try_from(Duration::from_secs(3_600).as_millis() / every.as_millis());
        assert_eq!(
            (wakeups, pings),
            (least.unwrap(), least.unwrap()),
            "{is_known}"
        );
    }
}
