//! What listeners get: the newest value, and again what they failed on.

use std::{sync::Arc, time::Duration};

use bowline_ffi::{EndReason, Rehearsal};

use crate::common::{Heard, ended, listener, until};

#[test]
fn a_slow_listener_gets_fewer_values_and_the_last_one() {
    let rehearsal = Rehearsal::new(2, 0);
    let heard = Arc::new(Heard {
        pause: Duration::from_millis(10),
        ..Heard::default()
    });
    let _subscription = rehearsal.subscribe_hosts(listener(&heard)).unwrap();
    for n in 0..20_000 {
        rehearsal.rename_host(n.to_string());
    }
    until("the last revision", || heard.last_rev() == 20_001);
    assert!(heard.calls() < 20_000 / 2);
}

#[test]
fn a_failing_listener_is_detached_after_sixteen_failures_in_a_row() {
    let rehearsal = Rehearsal::new(1, 0);
    let heard = Arc::new(Heard {
        failures: u32::MAX,
        ..Heard::default()
    });
    let subscription = rehearsal.subscribe_hosts(listener(&heard)).unwrap();
    // Nothing changes meanwhile: it fails on the same value.
    assert_eq!(ended(&subscription), EndReason::ListenerFailed);
    assert_eq!(heard.calls(), 16);
    assert_eq!(Arc::strong_count(&heard), 1, "the listener was let go");
    assert!(subscription.is_ending());
}

#[test]
fn a_listener_that_failed_is_handed_the_value_again_though_nothing_changes() {
    let rehearsal = Rehearsal::new(1, 0);
    let heard = Arc::new(Heard {
        failures: 2,
        ..Heard::default()
    });
    let subscription = rehearsal.subscribe_hosts(listener(&heard)).unwrap();
    until("it took the value", || heard.calls() == 3);
    assert_eq!(heard.last_rev(), 1);
    // That was all: what it took is not handed over once more.
    subscription.cancel();
    assert_eq!(ended(&subscription), EndReason::Cancelled);
    assert_eq!(heard.calls(), 3);
}
