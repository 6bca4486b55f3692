//! The log as a listener receives it, in a process of its own, which has one subscriber for all.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use bowline_ffi::{CallbackError, EndReason, LogBatch, LogLevel, LogListener, subscribe_logs};
use bowline_testkit::blocking::eventually;

use common::ended;

#[derive(Default)]
struct Received {
    calls: AtomicU32,
    messages: Mutex<Vec<String>>,
    failures: u32,
}

struct Listener(Arc<Received>);

impl LogListener for Listener {
    fn on_log(&self, batch: LogBatch) -> Result<(), CallbackError> {
        let before = self.0.calls.fetch_add(1, Ordering::SeqCst);
        if before < self.0.failures {
            let detail = "on purpose".to_owned();
            return Err(CallbackError::Failed { detail });
        }
        let texts = batch.records.into_iter().map(|record| record.message);
        self.0.messages.lock().unwrap().extend(texts);
        Ok(())
    }
}

fn subscribe(heard: &Arc<Received>) -> Arc<bowline_ffi::Subscription> {
    subscribe_logs(LogLevel::Warn, Box::new(Listener(Arc::clone(heard)))).unwrap()
}

#[test]
fn a_failing_log_listener_does_not_feed_itself_and_loses_no_line() {
    let failing = Arc::new(Received {
        failures: 3,
        ..Received::default()
    });
    let other = Arc::new(Received::default());
    let subscriptions = [subscribe(&failing), subscribe(&other)];
    tracing::warn!(target: "bowline::tests", "one");
    eventually("the listener was called", || {
        failing.calls.load(Ordering::SeqCst) > 0
    });
    tracing::warn!(target: "bowline::tests", "two");
    eventually("both lines", || {
        failing.messages.lock().unwrap().len() == 2 && other.messages.lock().unwrap().len() == 2
    });
    for subscription in subscriptions {
        subscription.cancel();
        assert_eq!(ended(&subscription), EndReason::Cancelled);
    }
    for heard in [&failing, &other] {
        assert_eq!(*heard.messages.lock().unwrap(), ["one", "two"]);
    }
}
