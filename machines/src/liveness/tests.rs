//! The engine with both of its configurations; a client connection's additions are tested with that
//! machine.

use std::time::Duration;

use super::{Liveness, LivenessAction, LivenessConfig, SWEPT_CLOCK_JUMP, SleepMeter, time_lost};
use crate::MonotonicTime;

const SOCKET: LivenessConfig = LivenessConfig::SOCKET;

fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime::from_millis(seconds * 1_000)
}

fn socket() -> Liveness {
    Liveness::new(at(0), Duration::from_secs(4), &SOCKET)
}

#[test]
fn ls_3_silence_is_asked_after_one_heartbeat_and_the_end_after_two() {
    let mut socket = socket();
    assert_eq!(socket.on_timer(at(3), false, &SOCKET), LivenessAction::Wait);
    assert_eq!(socket.on_timer(at(4), false, &SOCKET), LivenessAction::Ping);
    assert_eq!(socket.deadline(), at(8));
    assert_eq!(socket.on_timer(at(7), false, &SOCKET), LivenessAction::Wait);
    assert_eq!(socket.on_timer(at(8), false, &SOCKET), LivenessAction::Dead);
}

#[test]
fn ls_16_any_byte_is_life() {
    let mut socket = socket();
    socket.on_timer(at(4), false, &SOCKET);
    socket.heard(at(7));
    assert_eq!(socket.deadline(), at(11));
    assert_eq!(
        socket.on_timer(at(11), false, &SOCKET),
        LivenessAction::Ping
    );
}

#[test]
fn ls_5_a_machine_that_slept_asks_again() {
    let mut socket = socket();
    socket.on_timer(at(4), false, &SOCKET);
    assert_eq!(
        socket.on_timer(at(900), false, &SOCKET),
        LivenessAction::Ping,
        "slept, not dead"
    );
    assert_eq!(
        socket.on_timer(at(904), false, &SOCKET),
        LivenessAction::Dead
    );
}

#[test]
fn probes_do_not_keep_a_dead_socket() {
    let mut socket = socket();
    assert_eq!(socket.probe_now(at(1), &SOCKET), LivenessAction::Ping);
    assert_eq!(socket.probe_now(at(4), &SOCKET), LivenessAction::Wait);
    assert_eq!(socket.on_timer(at(5), false, &SOCKET), LivenessAction::Dead);
}

#[test]
fn a_probe_during_a_ping_does_not_move_its_deadline() {
    let mut socket = socket();
    socket.on_timer(at(4), false, &SOCKET);
    assert_eq!(socket.probe_now(at(7), &SOCKET), LivenessAction::Ping);
    assert_eq!(socket.on_timer(at(8), true, &SOCKET), LivenessAction::Dead);
}

#[test]
fn queued_bytes_excuse_silence_except_after_a_probe() {
    let mut socket = socket();
    socket.on_timer(at(4), false, &SOCKET);
    assert_eq!(socket.on_timer(at(8), true, &SOCKET), LivenessAction::Wait);
    assert_eq!(socket.deadline(), at(12));
    socket.probe_now(at(9), &SOCKET);
    assert_eq!(socket.on_timer(at(13), true, &SOCKET), LivenessAction::Dead);
}

#[test]
fn ls_5_a_clock_jump_is_no_probe() {
    let mut socket = socket();
    assert_eq!(
        socket.on_timer(at(900), false, &SOCKET),
        LivenessAction::Ping
    );
    assert_eq!(
        socket.on_timer(at(904), true, &SOCKET),
        LivenessAction::Wait,
        "what is held up still excuses silence"
    );
}

#[test]
fn a_heartbeat_that_a_peer_asks_for_is_bounded() {
    let due = |heartbeat| Liveness::new(at(0), heartbeat, &SOCKET).deadline();
    assert_eq!(due(Duration::from_nanos(1)), MonotonicTime::from_millis(10));
    assert_eq!(due(Duration::MAX), at(60));
    assert_eq!(due(Duration::ZERO), at(4));
}

#[test]
fn ls_5_only_what_is_over_the_tolerance_is_lost() {
    let lost = |now| time_lost(at(now), at(100), SWEPT_CLOCK_JUMP);
    assert_eq!(lost(90), None);
    assert_eq!(lost(110), None);
    assert_eq!(lost(111), Some(Duration::from_secs(11)));
}

/// A daemon holds one per client session of each relay.
#[test]
fn liveness_is_small() {
    assert!(size_of::<Liveness>() <= 56, "{}", size_of::<Liveness>());
}

#[test]
fn ls_5_sleep_is_what_the_wall_clock_gains_on_a_clock_that_stands_still() {
    let wall = |seconds: i64| 1_700_000_000_000 + seconds * 1_000;
    let mut sleep = SleepMeter::new(at(10), wall(10));
    assert_eq!(sleep.check(at(500), wall(500)), None, "both run");
    assert_eq!(sleep.check(at(501), wall(561)), None, "a correction");
    let slept = Duration::from_secs(61);
    assert_eq!(sleep.check(at(502), wall(563)), Some(slept), "and more");
    assert_eq!(sleep.check(at(503), wall(564)), None, "counted once");
    assert_eq!(sleep.check(at(504), wall(-9_000)), None, "set back");
    let slept = Duration::from_secs(3_600);
    assert_eq!(sleep.check(at(505), wall(-5_399)), Some(slept));
}
