//! When a connection is dialled again (DC-2), and how long a dial may take.

use super::*;

#[test]
fn inv_12_a_connect_without_an_answer_ends_after_15_s() {
    let mut bench = Bench::in_state("connecting");
    let limit = limits::CONNECT_DEADLINE;
    assert!(bench.advance(limit - Duration::from_millis(1)).is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.client.state().reason(), Some(Reason::ConnectTimeout));
    assert!(bench.retry_in().is_some(), "and is tried again");
}

#[test]
fn dc_2_reasons_that_retrying_cannot_help_arm_no_retry_yet_a_request_connects() {
    for reason in Reason::ALL {
        let mut bench = Bench::disconnected(*reason);
        assert_eq!(
            bench.retry_in().is_some(),
            reason.is_recoverable(),
            "{reason}"
        );
        if !reason.is_recoverable() {
            assert!(bench.feed(Input::CheckLiveness).is_empty(), "{reason}");
            assert!(bench.feed(Input::Foreground).is_empty(), "{reason}");
        }
        bench.feed(Input::ConnectRequest);
        assert_eq!(bench.client.state().name(), "connecting");
    }
}

#[test]
fn dc_2_pauses_grow_and_are_forgotten_after_10_s_connected() {
    let most_pause = |failures: u32| {
        (0..200)
            .map(|seed| {
                let mut bench = Bench::with(ClientConfig::new(Path::Relay, seed));
                bench.feed(Input::ConnectRequest);
                for _ in 0..failures {
                    bench.close(Reason::Unreachable, None);
                    bench.wait();
                }
                bench.close(Reason::Unreachable, None);
                bench.retry_in().unwrap()
            })
            .max()
            .unwrap()
    };
    assert!(most_pause(0) <= Duration::from_millis(250));
    assert!(most_pause(3) > Duration::from_secs(1));
    assert!(most_pause(12) <= Duration::from_secs(30));

    for (connected_for, least, most) in [(9_999, 250, 30_000), (10_000, 0, 250)] {
        let longest = (0..200)
            .map(|seed| {
                let mut bench = Bench::with(ClientConfig::new(Path::Relay, seed));
                bench.feed(Input::ConnectRequest);
                for _ in 0..9 {
                    bench.close(Reason::Unreachable, None);
                    bench.wait();
                }
                bench.open();
                bench.now = bench.now + Duration::from_millis(connected_for);
                bench.close(Reason::ConnectionLost, None);
                bench.retry_in().unwrap()
            })
            .max()
            .unwrap();
        let range = Duration::from_millis(least)..=Duration::from_millis(most);
        assert!(range.contains(&longest), "{connected_for}: {longest:?}");
    }
}

/// A daemon that ends each time it is attached to must not be dialled twice a second for ever.
#[test]
fn dc_2_connections_that_do_not_last_leave_ten_short_pauses_for_an_absent_daemon() {
    let pauses = |lasts: u64| {
        let mut bench = Bench::with(ClientConfig::new(Path::Relay, 1));
        bench.feed(Input::ConnectRequest);
        let mut pauses = Vec::new();
        for _ in 0..30 {
            bench.open();
            bench.now = bench.now + Duration::from_millis(lasts);
            bench.close(Reason::DaemonOffline, None);
            pauses.push(bench.retry_in().unwrap());
            bench.wait();
        }
        pauses
    };
    let second = Duration::from_secs(1);
    let brief = pauses(100);
    assert!(brief[..10].iter().all(|pause| *pause <= second));
    assert!(
        brief[10..].iter().any(|pause| *pause > 5 * second),
        "{brief:?}"
    );
    assert!(pauses(10_000).iter().all(|pause| *pause <= second));
}

#[test]
fn dc_2_attempts_are_counted_from_the_last_connection() {
    let attempt = |bench: &Bench| match *bench.client.state() {
        State::Connecting { attempt, .. } => attempt,
        _ => 0,
    };
    let mut bench = Bench::in_state("connecting");
    for number in 1..4 {
        assert_eq!(attempt(&bench), number);
        bench.close(Reason::Unreachable, None);
        bench.wait();
    }
    bench.open();
    bench.close(Reason::ConnectionLost, None);
    bench.wait();
    assert_eq!(attempt(&bench), 1);
}

#[test]
fn dc_2_the_servers_retry_after_delays_the_next_attempt_within_bounds() {
    let mut bench = Bench::in_state("connecting");
    let asked = Duration::from_secs(40);
    bench.close(Reason::RateLimited, Some(asked));
    assert!(bench.retry_in().unwrap() >= asked);
    assert!(
        bench.feed(Input::Foreground).is_empty(),
        "the platform does not override it"
    );
    assert_eq!(bench.feed(Input::ConnectRequest).len(), 1, "the user does");

    bench.close(Reason::RateLimited, Some(Duration::MAX));
    let most = bench.client.config().most_retry_after;
    assert!(bench.retry_in().unwrap() <= most + most / 8);
}

#[test]
fn ls_4_the_background_slows_retries_and_never_ends_them() {
    let mut bench = Bench::connected();
    bench.feed(Input::Background);
    assert_eq!(
        bench.client.state().name(),
        "connected",
        "the socket is kept"
    );
    bench.close(Reason::ServerRestarting, None);
    for _ in 0..20 {
        assert!(bench.retry_in().unwrap() >= Duration::from_secs(15));
        bench.wait();
        bench.close(Reason::Unreachable, None);
    }
    assert_eq!(
        bench.feed(Input::Foreground).len(),
        1,
        "the foreground retries now"
    );
}

#[test]
fn dc_2_a_candidate_is_tried_once_until_it_is_promoted() {
    let mut config = ClientConfig::new(Path::Direct, 1);
    config.auto_retry = false;
    let mut bench = Bench::with(config);
    bench.feed(Input::ConnectRequest);
    bench.open();
    bench.close(Reason::ConnectionLost, None);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.transitions();
    bench.feed(Input::Promoted);
    assert!(
        bench.retry_in().is_some(),
        "promoted too late to see its end, it retries"
    );
    assert_eq!(bench.transitions().len(), 1);
    bench.wait();
    bench.close(Reason::Unreachable, None);
    assert!(bench.retry_in().is_some(), "and goes on");
    bench.wait();
    bench.close(Reason::DeviceRevoked, None);
    bench.feed(Input::Promoted);
    assert_eq!(bench.retry_in(), None, "but not where that cannot help");
}
