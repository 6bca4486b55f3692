//! Tests of the registry.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime::from_millis(seconds * 1_000)
}

#[test]
fn sv_5_a_connection_is_listed_while_it_lives() {
    let registry = Arc::new(ConnectionRegistry::default());
    let first = registry.open(Path::Direct, None, at(1));
    let second = registry.open(Path::Local, None, at(2));
    first.entry().heard(at(3), 10);
    let rows = registry.list(at(5));
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[0].age_ms, rows[0].silent_ms, rows[0].bytes_in),
        (4_000, 2_000, 10)
    );
    drop(first);
    assert_eq!(registry.list(at(5)).len(), 1);
    drop(second);
    assert_eq!(registry.counts(), (0, 2));
}

#[test]
fn sv_4_a_connection_that_has_rested_for_too_long_is_woken_by_the_sweep() {
    use std::{
        sync::atomic::AtomicBool,
        task::{Context, Wake},
    };

    #[derive(Default)]
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let woken = Arc::new(Woken::default());
    let registry = Arc::new(ConnectionRegistry::default());
    let listed = registry.open(Path::Local, None, at(1));
    let waker = Arc::clone(&woken).into();
    let waits = || {
        let closed = listed
            .entry()
            .outbound()
            .poll_closed(&Context::from_waker(&waker));
        assert!(closed.is_pending());
    };
    let sweep = |second| {
        waits();
        registry.sweep(at(second), None, 100 * SECOND);
        woken.0.swap(false, Relaxed)
    };
    assert!(!sweep(1_000), "it has its own timer, or none");
    listed.entry().rest_until(Some(at(1_300)));
    assert!(!sweep(1_299));
    assert!(sweep(1_300));
    listed.entry().rest_until(None);
    assert!(!sweep(1_400), "something is pending on it again");
}

#[test]
fn sv_5_what_a_connection_has_moved_and_why_it_ended_outlives_it() {
    let registry = Arc::new(ConnectionRegistry::default());
    let ended = registry.open(Path::Direct, None, at(1));
    let open = registry.open(Path::Direct, None, at(2));
    for listed in [&ended, &open] {
        listed.entry().heard(at(3), 10);
        listed.entry().sent(1);
    }
    ended.entry().ended(Reason::IdleTimeout);
    ended.entry().ended(Reason::ConnectionLost);
    drop(ended);
    let total = Totals {
        opened: 2,
        bytes_in: 20,
        bytes_out: 2,
    };
    assert_eq!(registry.totals(), BTreeMap::from([(Path::Direct, total)]));
    assert_eq!(
        registry.closed(),
        BTreeMap::from([(Reason::IdleTimeout, 1)]),
        "the first reason stands"
    );
}

#[test]
fn ls_2_ls_6_a_silent_remote_peer_is_closed_and_a_local_one_is_not() {
    let registry = Arc::new(ConnectionRegistry::default());
    let remote = registry.open(Path::Direct, None, at(0));
    let local = registry.open(Path::Local, None, at(0));
    registry.sweep(at(60), Some(60 * SECOND), 10 * SECOND);
    assert_eq!(remote.entry().outbound().close_reason(), None);
    registry.sweep(at(61), None, 10 * SECOND);
    assert_eq!(
        remote.entry().outbound().close_reason(),
        None,
        "0s is never"
    );
    registry.sweep(at(61), Some(60 * SECOND), 10 * SECOND);
    assert_eq!(
        remote.entry().outbound().close_reason(),
        Some(Reason::HeartbeatTimeout)
    );
    assert_eq!(local.entry().outbound().close_reason(), None);
}

#[test]
fn ls_19_a_peer_that_takes_no_bytes_is_closed() {
    let registry = Arc::new(ConnectionRegistry::default());
    let slow = registry.open(Path::Local, None, at(0));
    slow.entry().blocked(at(5), 100);
    slow.entry().blocked(at(9), 100);
    registry.sweep(at(15), None, 10 * SECOND);
    assert_eq!(slow.entry().outbound().close_reason(), None);
    slow.entry().unblocked();
    registry.sweep(at(16), None, 10 * SECOND);
    assert_eq!(slow.entry().outbound().close_reason(), None, "it caught up");
    slow.entry().blocked(at(16), 100);
    registry.sweep(at(27), None, 10 * SECOND);
    assert_eq!(
        slow.entry().outbound().close_reason(),
        Some(Reason::SlowConsumer)
    );
}

#[test]
fn ls_19_a_peer_that_takes_a_few_bytes_now_and_then_is_slow_and_not_stuck() {
    let registry = Arc::new(ConnectionRegistry::default());
    let slow = registry.open(Path::Local, None, at(0));
    for (second, taken) in [(5, 0), (14, 10), (23, 20), (32, 30)] {
        slow.entry().blocked(at(second), taken);
        registry.sweep(at(second + 9), None, 10 * SECOND);
        assert_eq!(slow.entry().outbound().close_reason(), None);
    }
    slow.entry().blocked(at(41), 30);
    registry.sweep(at(43), None, 10 * SECOND);
    assert_eq!(
        slow.entry().outbound().close_reason(),
        Some(Reason::SlowConsumer),
        "it has taken nothing since the second 32"
    );
}

#[test]
fn ls_5_nobody_expires_for_the_time_this_machine_slept() {
    let registry = Arc::new(ConnectionRegistry::default());
    let remote = registry.open(Path::Direct, None, at(0));
    registry.extend_deadlines(at(10_000), 9_995 * SECOND);
    registry.sweep(at(10_001), Some(60 * SECOND), 10 * SECOND);
    assert_eq!(remote.entry().outbound().close_reason(), None);
}

#[test]
fn ls_5_ls_19_a_peer_that_takes_no_bytes_is_forgiven_a_sleep_and_nothing_more() {
    let registry = Arc::new(ConnectionRegistry::default());
    let slow = registry.open(Path::Local, None, at(0));
    slow.entry().blocked(at(5), 100);
    registry.extend_deadlines(at(10_000), 9_990 * SECOND);
    registry.extend_deadlines(at(10_004), 3 * SECOND);
    registry.sweep(at(10_008), None, 10 * SECOND);
    assert_eq!(slow.entry().outbound().close_reason(), None);
    registry.sweep(at(10_009), None, 10 * SECOND);
    assert_eq!(
        slow.entry().outbound().close_reason(),
        Some(Reason::SlowConsumer)
    );
}
