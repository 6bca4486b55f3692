//! Admission, round robin, stalls and the end of a data socket.

use bowline_protocol::relay::limits::{HEARTBEAT, LANE_STALL, SOCKET_STALL};

use super::*;

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn data() -> DataLanes {
    DataLanes::new(at(0), HEARTBEAT)
}

fn serving(lanes: u32) -> DataLanes {
    let mut data = data();
    for lane in 1..=lanes {
        assert_eq!(data.open(Lane::new(lane), true), Admission::Served);
    }
    data
}

const fn over(lane: Lane) -> Input {
    Input::ConnectionOver { lane }
}

fn effects(data: &mut DataLanes) -> Vec<Effect> {
    std::iter::from_fn(|| data.poll_effect()).collect()
}

#[test]
fn rl_4_a_lane_too_many_is_refused_with_the_reason() {
    let refused = |data: &mut DataLanes, place, reason: Reason| {
        let lane = Lane::new(1_000);
        assert_eq!(data.open(lane, place), Admission::Refused);
        let code = reason.close_code().unwrap();
        assert_eq!(data.next_refusal(), Some((lane, code)));
        assert!(!data.is_served(lane) && !data.has_refusals());
    };
    refused(&mut data(), false, Reason::RateLimited);
    refused(
        &mut serving(MAX_LANES as u32),
        true,
        Reason::SessionCapacity,
    );
    let mut stopping = serving(1);
    stopping.handle(at(0), Input::Stop);
    refused(&mut stopping, true, Reason::ServerRestarting);
}

#[test]
fn a_relay_that_breaks_the_rules_ends_the_socket() {
    let violation = Some(Ended::Violation(Reason::BadRequest));
    let mut data = serving(1);
    assert_eq!(data.open(Lane::new(1), true), Admission::Refused);
    assert_eq!(data.ended(), violation);
    assert_eq!(data.open(Lane::new(2), true), Admission::Refused);
    data.handle(at(0), Input::Stop);
    assert_eq!((data.ended(), data.has_refusals()), (violation, false));
}

#[test]
fn rl_4_refusals_that_nobody_reads_are_bounded() {
    let mut data = data();
    for lane in 0..MAX_REFUSALS as u32 {
        assert!(data.may_read(at(0), false));
        data.open(Lane::new(lane), false);
    }
    data.on_write(at(0), 0, false);
    assert!(!data.may_read(at(0), false));
    while data.ended().is_none() {
        assert!(data.poll_timeout() < at(60_000), "for ever");
        data.handle_timeout(data.poll_timeout());
    }
}

#[test]
fn a_refusal_that_is_written_makes_room_for_the_next() {
    let mut data = data();
    for lane in 0..MAX_REFUSALS as u32 {
        data.open(Lane::new(lane), false);
    }
    assert!(!data.may_read(at(0), false));
    data.next_refusal();
    assert!(data.may_read(at(0), false));
}

#[test]
fn a_lane_is_forgotten_when_its_connection_is_over_and_its_frames_are_written() {
    let mut data = serving(2);
    let lane = Lane::new(1);
    assert!(!data.forget(lane, false), "its connection is not over");
    data.handle(at(0), over(lane));
    assert!(!data.forget(lane, true), "frames of it wait");
    assert!(data.forget(lane, false));
    assert!(!data.is_served(lane) && data.is_served(Lane::new(2)));
    assert_eq!(data.open(lane, true), Admission::Served);
}

#[test]
fn each_lane_writes_in_turn() {
    let mut data = serving(3);
    let turns: Vec<_> = (0..6).filter_map(|_| data.next_lane()).collect();
    let lane = |n| turns.iter().filter(|lane| **lane == Lane::new(n)).count();
    assert_eq!([lane(1), lane(2), lane(3)], [2, 2, 2]);
    assert_eq!(self::data().next_lane(), None);
}

#[test]
fn rl_4_full_lanes_are_given_up_before_their_neighbours_wait_for_a_second() {
    for (lanes, longest) in [(2, LANE_STALL), (1, SOCKET_STALL)] {
        let mut data = serving(lanes);
        assert!(!data.may_read(at(10), true));
        let mut pings = 0;
        while data.poll_timeout() < at(10) + longest {
            data.handle_timeout(data.poll_timeout());
            pings += effects(&mut data).len();
        }
        assert_eq!(pings, 0, "what is not read is not blamed for silence");
        data.handle_timeout(at(10) + longest);
        assert_eq!(effects(&mut data).first(), Some(&Effect::GiveUpFullLanes));
        assert!(data.may_read(at(10) + longest, false) && !data.is_held_up());
    }
}

#[test]
fn ls_3_a_silent_relay_is_asked_and_then_given_up() {
    let mut data = serving(1);
    data.handle_timeout(at(0) + HEARTBEAT);
    assert_eq!(effects(&mut data), [Effect::Ping]);
    data.on_received(at(5_000));
    data.handle_timeout(at(5_000) + HEARTBEAT);
    assert_eq!(effects(&mut data), [Effect::Ping]);
    data.handle_timeout(at(5_000) + HEARTBEAT * 2);
    let lost = |reason| Ended::Lost {
        reason,
        retry_after: None,
    };
    assert_eq!(data.ended(), Some(lost(Reason::HeartbeatTimeout)));
}

#[test]
fn tr_8_ls_19_a_socket_that_takes_nothing_ends_whatever_is_heard_on_it() {
    let mut data = serving(1);
    data.on_write(at(0), 7, false);
    loop {
        let now = data.poll_timeout();
        assert!(now <= at(0) + SOCKET_STALL, "for ever");
        data.handle_timeout(now);
        if let Some(ended) = data.ended() {
            let reason = Reason::SlowConsumer;
            let retry_after = None;
            assert_eq!(
                ended,
                Ended::Lost {
                    reason,
                    retry_after
                }
            );
            assert_eq!(now, at(0) + SOCKET_STALL);
            break;
        }
        // Silence is excused, and so is nothing else: still the same stall.
        assert_eq!(effects(&mut data), []);
        data.on_received(now);
        data.on_write(now, 7, false);
    }
}

#[test]
fn ls_19_a_socket_that_takes_a_little_now_and_then_is_slow_and_not_stuck() {
    let mut data = serving(1);
    for (n, seconds) in [0, 25, 50, 75].into_iter().enumerate() {
        let now = at(seconds * 1_000);
        data.on_write(now, n as u64, false);
        data.on_received(now);
        data.handle_timeout(now);
        assert_eq!(data.ended(), None);
    }
    assert_eq!(data.poll_timeout(), at(79_000), "it is asked as usual");
}

#[test]
fn somebody_who_doubts_has_it_asked() {
    let mut data = serving(1);
    data.handle(at(1), Input::ProbeNow);
    data.handle(at(2), Input::ProbeNow);
    assert_eq!(effects(&mut data), [Effect::Ping]);
}

#[test]
fn lanes_are_looked_through_only_after_the_end_of_a_connection() {
    let mut data = serving(2);
    assert!(!data.has_over());
    data.handle(at(0), over(Lane::new(2)));
    assert!(data.has_over());
    assert!(!data.forget(Lane::new(2), true), "frames are queued");
    assert!(data.forget(Lane::new(2), false) && !data.has_over());
}

#[test]
fn a_daemon_that_stops_ends_with_its_last_lane() {
    let mut data = serving(1);
    data.handle(at(0), Input::Stop);
    assert_eq!((data.ended(), data.is_stopping()), (None, true));
    data.open(Lane::new(2), true);
    data.handle(at(0), over(Lane::new(1)));
    data.forget(Lane::new(1), false);
    assert_eq!(data.ended(), None, "a refusal is to be written");
    data.next_refusal();
    assert_eq!(data.ended(), Some(Ended::Finished));
}

#[test]
fn every_end_has_its_meaning_and_the_first_one_stands() {
    let lost = |reason, retry_after| Ended::Lost {
        reason,
        retry_after,
    };
    let pause = Some(Duration::from_secs(3));
    let closed = |code| Input::Closed {
        code,
        retry_after: pause,
    };
    let restarting = Reason::ServerRestarting;
    let ends = [
        (closed(Some(1000)), Ended::Gone, None),
        (
            closed(restarting.close_code()),
            lost(restarting, pause),
            None,
        ),
        (closed(None), lost(Reason::ConnectionLost, pause), None),
        (Input::Broken, lost(Reason::ConnectionLost, None), None),
        (Input::Dropped, Ended::Dropped, None),
        (
            Input::Violated,
            Ended::Violation(Reason::BadRequest),
            Some(Reason::BadRequest),
        ),
    ];
    for (input, ended, goodbye) in ends {
        for stopping in [false, true] {
            let mut data = serving(1);
            if stopping {
                data.handle(at(0), Input::Stop);
            }
            data.handle(at(1), input);
            assert_eq!((data.ended(), ended.goodbye()), (Some(ended), goodbye));
            for (later, ..) in ends {
                data.handle(at(2), later);
            }
            data.handle(at(2), Input::Stop);
            data.handle(at(2), Input::ProbeNow);
            assert_eq!((data.ended(), effects(&mut data)), (Some(ended), vec![]));
            assert!(!data.may_read(at(2), false), "{input:?}");
        }
    }
    assert_eq!(Ended::Finished.goodbye(), Some(restarting));
}
