//! Every cell of the session's transition table, and the rules of reads, backpressure and closes.

use bowline_protocol::relay::limits::{LANE_STALL, SOCKET_STALL};

use super::*;

const CONFIG: SessionConfig = SessionConfig {
    most_lanes: 2,
    data_wait: Duration::from_secs(10),
};

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn session() -> SessionLanes {
    SessionLanes::new(CONFIG, at(0))
}

/// A session with a number of lanes and a data socket.
fn joined(lanes: usize) -> (SessionLanes, Vec<Lane>) {
    let mut session = session();
    let lanes = (0..lanes).map(|_| session.open().unwrap()).collect();
    session.handle(at(0), Input::DataOpened);
    effects(&mut session);
    (session, lanes)
}

fn effects(session: &mut SessionLanes) -> Vec<Effect> {
    std::iter::from_fn(|| session.poll_effect()).collect()
}

fn close(lane: Lane, ending: impl Into<Ending>, tell: Option<u16>) -> Effect {
    let ending = ending.into();
    Effect::CloseLane { lane, ending, tell }
}

#[test]
fn rl_3_the_daemon_hears_of_lanes_when_it_is_there() {
    let mut session = session();
    let one = session.open().unwrap();
    assert_eq!(effects(&mut session), []);
    session.handle(at(1), Input::DataOpened);
    let announced = [Effect::UseData, Effect::Announce { lane: one }];
    assert_eq!(effects(&mut session), announced);
    let two = session.open().unwrap();
    assert_ne!(one, two);
    assert_eq!(effects(&mut session), [Effect::Announce { lane: two }]);
}

#[test]
fn every_ending_is_told_to_the_other_side_and_only_to_it() {
    let code = Reason::BadRequest.close_code();
    for (ending, tell) in [
        (Ending::Lost, Some(1006)),
        (Ending::ByPeer(4001), Some(4001)),
        (Ending::ByDaemon(4002), None),
        (Reason::BadRequest.into(), code),
    ] {
        let (mut session, lanes) = joined(1);
        let lane = lanes[0];
        session.handle(at(1), Input::LaneEnded { lane, ending });
        let again = Ending::Lost;
        session.handle(
            at(1),
            Input::LaneEnded {
                lane,
                ending: again,
            },
        );
        assert_eq!(effects(&mut session), [close(lane, ending, tell)]);
        assert_eq!(session.vacancy(), Some(Vacancy { afresh: false }));
    }
}

#[test]
fn a_lane_that_ended_before_the_data_socket_came_is_not_mentioned() {
    let mut session = session();
    let (one, two) = (session.open().unwrap(), session.open().unwrap());
    let ending = Ending::Lost;
    session.handle(at(1), Input::LaneEnded { lane: one, ending });
    assert_eq!(effects(&mut session), [close(one, ending, None)]);
    session.handle(at(1), Input::DataOpened);
    let announced = [Effect::UseData, Effect::Announce { lane: two }];
    assert_eq!(effects(&mut session), announced);
}

#[test]
fn a_data_socket_takes_its_lanes_with_it_and_a_newer_one_replaces_it() {
    let (mut session, lanes) = joined(2);
    session.handle(at(5), Input::DataOpened);
    let ending = Reason::Replaced.into();
    let gone = |lane| close(lane, Reason::DaemonOffline, None);
    let expected = [
        Effect::CloseData { ending },
        gone(lanes[0]),
        gone(lanes[1]),
        Effect::UseData,
    ];
    assert_eq!(effects(&mut session), expected);
    let three = session.open().unwrap();
    assert_eq!(effects(&mut session), [Effect::Announce { lane: three }]);
    let ending = Ending::Lost;
    session.handle(at(6), Input::DataEnded { ending });
    assert_eq!(
        effects(&mut session),
        [Effect::CloseData { ending }, gone(three)]
    );
    assert_eq!(session.state(), &State::Awaiting { until: at(10_006) });
    session.handle(at(7), Input::DataEnded { ending });
    assert_eq!(effects(&mut session), [], "there is none");
}

#[test]
fn ls_2_at_the_limit_the_client_that_has_been_silent_longest_gives_way() {
    let (mut session, lanes) = joined(2);
    session.on_read(lanes[0], 0);
    let three = session.open().unwrap();
    let code = Reason::SessionCapacity.close_code();
    let expected = [
        close(lanes[1], Reason::SessionCapacity, code),
        Effect::Announce { lane: three },
    ];
    assert_eq!(effects(&mut session), expected);
    assert_eq!(session.lanes(), 2);
}

#[test]
fn a_lane_number_is_never_given_twice() {
    let mut session = session();
    session.opened = u32::MAX - 1;
    assert_eq!(session.open(), Ok(Lane::new(u32::MAX)));
    assert_eq!(session.open(), Err(Reason::SessionCapacity.into()));
    assert_eq!(
        session.lanes(),
        1,
        "nobody gives way for a client that gets no lane"
    );
}

#[test]
fn clients_without_a_data_socket_wait_for_so_long() {
    let mut session = session();
    let lane = session.open().unwrap();
    assert_eq!(session.poll_timeout(), Some(at(10_000)));
    session.handle_timeout(at(9_999));
    assert_eq!(effects(&mut session), []);
    session.handle_timeout(at(10_000));
    assert_eq!(
        effects(&mut session),
        [close(lane, Reason::HandshakeTimeout, None)]
    );
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.vacancy(), Some(Vacancy { afresh: true }));
    session.handle(at(10_001), Input::Kept);
    session.open().unwrap();
    assert_eq!(session.poll_timeout(), Some(at(20_001)), "its whole time");
}

#[test]
fn a_session_without_clients_ends_unless_one_is_on_its_way() {
    let (mut session, lanes) = joined(1);
    let ending = Ending::ByPeer(1000);
    session.handle(
        at(1),
        Input::LaneEnded {
            lane: lanes[0],
            ending,
        },
    );
    effects(&mut session);
    assert_eq!(session.vacancy(), Some(Vacancy { afresh: false }));
    session.handle(at(2), Input::Kept);
    assert!(session.is_joined(), "it keeps its data socket");
    session.handle(at(3), Input::Retired);
    let ending = Ending::Finished;
    assert_eq!(effects(&mut session), [Effect::CloseData { ending }]);
    assert!(session.is_over() && session.vacancy().is_none());
}

#[test]
fn inv_12_over_is_over() {
    let text = CloseText::from(Reason::ServerRestarting);
    let (mut session, lanes) = joined(1);
    session.handle(at(1), Input::End { text });
    let ending = Ending::ByRelay(text);
    let expected = [Effect::CloseData { ending }, close(lanes[0], ending, None)];
    assert_eq!(effects(&mut session), expected);
    session.handle(at(1), Input::Retired);
    let lane = lanes[0];
    for input in [
        Input::DataOpened,
        Input::DataEnded { ending },
        Input::LaneEnded { lane, ending },
        Input::Retired,
        Input::Kept,
        Input::End { text },
    ] {
        session.handle(at(2), input);
        session.handle_timeout(at(900_000));
        assert_eq!(effects(&mut session), []);
        assert!(session.open().is_err() && session.vacancy().is_none());
        assert_eq!((session.poll_timeout(), session.next_read(0)), (None, None));
        assert!(session.is_over() && !session.may_read_data(at(2)));
    }

    let mut waiting = self::session();
    let lane = waiting.open().unwrap();
    waiting.handle(at(1), Input::End { text });
    assert_eq!(effects(&mut waiting), [close(lane, ending, None)]);
    let mut vacant = self::session();
    vacant.handle(at(1), Input::Retired);
    assert!(vacant.is_over());
}

#[test]
fn sockets_that_arrive_at_a_session_that_ends_are_closed_with_its_text() {
    let text = CloseText::from(Reason::DaemonOffline);
    let (mut session, _) = joined(1);
    session.handle(at(1), Input::End { text });
    effects(&mut session);
    let other = Reason::ServerRestarting.into();
    session.handle(at(2), Input::End { text: other });
    session.handle(at(2), Input::Kept);
    assert_eq!(session.open(), Err(text), "the first text stands");
    session.handle(at(3), Input::DataOpened);
    assert_eq!(effects(&mut session), [Effect::RefuseData { text }]);
    assert_eq!(session.vacancy(), Some(Vacancy { afresh: false }));
    assert_eq!((session.poll_timeout(), session.next_read(0)), (None, None));
    session.handle(at(4), Input::Retired);
    assert!(session.is_over());
}

#[test]
fn rl_4_what_is_held_for_a_data_socket_is_bounded() {
    let mut session = session();
    let (one, two) = (session.open().unwrap(), session.open().unwrap());
    assert_eq!(session.next_read(0), Some((one, HELD_BYTES / 2)));
    session.on_read(one, HELD_BYTES / 2);
    assert_eq!(session.next_read(1), Some((two, HELD_BYTES / 4)));
    session.on_read(two, HELD_BYTES / 2);
    assert_eq!(session.next_read(0), None);
    session.handle(at(1), Input::DataOpened);
    assert_eq!(session.next_read(0), Some((one, usize::MAX)));
}

#[test]
fn a_full_data_socket_stops_all_clients_and_the_next_is_next() {
    let (mut session, lanes) = joined(2);
    assert_eq!(session.next_read(0), Some((lanes[0], usize::MAX)));
    session.on_data_write(at(1), 1, false);
    assert_eq!(session.next_read(1), None);
    session.on_data_write(at(2), 0, true);
    let order = [session.next_read(0), session.next_read(1)];
    assert_eq!(
        order.map(|read| read.map(|(lane, _)| lane)),
        [Some(lanes[1]), Some(lanes[0])]
    );
    assert_eq!(session.next_read(2), None);
}

#[test]
fn rl_4_a_full_lane_is_closed_before_its_neighbours_wait_for_a_second() {
    let (mut session, lanes) = joined(2);
    let now = at(100);
    assert!(session.may_read_data(now));
    session.on_lane_write(now, lanes[0], QUEUE_BYTES + 1, false);
    assert!(!session.may_read_data(now));
    assert_eq!(session.poll_timeout(), Some(now + LANE_STALL));
    session.handle_timeout(now + LANE_STALL);
    let code = Reason::SlowConsumer.close_code();
    assert_eq!(
        effects(&mut session),
        [close(lanes[0], Reason::SlowConsumer, code)]
    );
    assert!(session.may_read_data(now + LANE_STALL));
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn ls_19_a_socket_that_takes_nothing_is_closed_whoever_waits_for_it() {
    let code = Reason::SlowConsumer.close_code();
    let (mut session, lanes) = joined(1);
    session.on_lane_write(at(5), lanes[0], QUEUE_BYTES + 1, false);
    session.may_read_data(at(5));
    assert_eq!(
        session.poll_timeout(),
        Some(at(5) + SOCKET_STALL),
        "it has no neighbours"
    );
    session.handle_timeout(at(5) + SOCKET_STALL);
    assert_eq!(
        effects(&mut session),
        [close(lanes[0], Reason::SlowConsumer, code)]
    );

    let (mut session, lanes) = joined(1);
    session.on_data_write(at(5), 10, false);
    session.handle_timeout(at(4) + SOCKET_STALL);
    assert_eq!(effects(&mut session), []);
    session.handle_timeout(at(5) + SOCKET_STALL);
    let ending = Reason::SlowConsumer.into();
    let expected = [
        Effect::CloseData { ending },
        close(lanes[0], Reason::DaemonOffline, None),
    ];
    assert_eq!(effects(&mut session), expected);
}
