//! A subscription ends exactly once, and its reason is final.

use std::{hint::spin_loop, sync::Arc, thread};

use bowline_ffi::{EndReason, PreviewData};

use crate::common::{Received, ended, listener};

/// Subscriptions that each thread opens and ends.
const ROUNDS: u32 = 20_000;

#[test]
fn the_end_comes_wherever_a_cancel_falls_between_values() {
    let preview = PreviewData::new(1, 0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let heard = Arc::new(Received::default());
                    let subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
                    preview.rename_host(round.to_string());
                    // Before, in and after the turn that delivers the value.
                    for _ in 0..(round * 7) % 1_000 {
                        spin_loop();
                    }
                    subscription.cancel();
                    assert_eq!(ended(&subscription), EndReason::Cancelled);
                    assert!(subscription.is_ending());
                    assert_eq!(Arc::strong_count(&heard), 1, "the listener was let go");
                }
            });
        }
    });
}

#[test]
fn a_source_that_is_gone_ends_what_was_subscribed_to_it_after_the_last_value() {
    let preview = PreviewData::new(1, 0);
    let heard = Arc::new(Received::default());
    let subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
    preview.rename_host("last".to_owned());
    drop(preview);
    assert_eq!(ended(&subscription), EndReason::RuntimeClosed);
    assert_eq!(heard.last_rev(), 2);
    subscription.cancel();
    assert_eq!(
        ended(&subscription),
        EndReason::RuntimeClosed,
        "an end is final"
    );
}
