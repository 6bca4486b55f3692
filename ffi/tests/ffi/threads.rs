//! Threads that call the app's language: a waker calls it, so the dispatcher's thread must wake
//! every exported future.

use std::{sync::Arc, thread, time::Duration};

use bowline_ffi::{BowlineRuntime, PreviewData};

use crate::common::{Received, awaited, config, listener};

const DISPATCHER: &str = "bowline-dispatch";

fn only_the_dispatcher(what: &str, woken: &[String]) {
    assert!(
        woken.iter().all(|thread| thread == DISPATCHER),
        "{what} was woken on {woken:?}"
    );
}

#[test]
fn calls_complete_on_the_dispatchers_thread() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = BowlineRuntime::new(config(folder.path())).unwrap();
    let unknown = format!("srv_{}", "a".repeat(26));
    for _ in 0..50 {
        only_the_dispatcher("pause", &awaited("pause", runtime.pause()).1);
        let (resumed, woken) = awaited("resume", runtime.resume());
        resumed.unwrap();
        only_the_dispatcher("resume", &woken);
        let (forgotten, woken) = awaited("forget_host", runtime.forget_host(unknown.clone()));
        assert!(!forgotten.unwrap());
        only_the_dispatcher("forget_host", &woken);
    }
    let (took, woken) = awaited("burst", PreviewData::new(1, 0).burst(1_000, 0));
    took.unwrap();
    assert!(!woken.is_empty(), "a burst takes its time");
    only_the_dispatcher("burst", &woken);
    let (closed, woken) = awaited("shutdown", runtime.shutdown());
    closed.unwrap();
    only_the_dispatcher("shutdown", &woken);
}

#[test]
fn a_cancel_wakes_nobody_on_the_thread_that_cancels() {
    let preview = PreviewData::new(1, 0);
    let heard = Arc::new(Received {
        pause: Duration::from_millis(50),
        ..Received::default()
    });
    let subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| awaited("the end", subscription.ended()).1);
        // The listener is busy, so that the end is delayed.
        bowline_testkit::blocking::eventually("the listener runs", || heard.calls() == 1);
        subscription.cancel();
        let woken = waiting.join().unwrap();
        only_the_dispatcher("the end", &woken);
        assert!(woken.len() <= 1, "woken for nothing: {woken:?}");
    });
}
