//! Values of listeners: the newest one, and failed ones again.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bowline_ffi::{
    CallbackError, EndReason, HostsListener, HostsSnapshot, PreviewData, Subscription,
};
use bowline_testkit::blocking::eventually;

use crate::common::{LONG, Received, ended, listener};

#[test]
fn a_slow_listener_gets_fewer_values_and_the_last_one() {
    let preview = PreviewData::new(2, 0);
    let heard = Arc::new(Received {
        pause: Duration::from_millis(10),
        ..Received::default()
    });
    let _subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
    for n in 0..20_000 {
        preview.rename_host(n.to_string());
    }
    eventually("the last revision", || heard.last_rev() == 20_001);
    assert!(heard.calls() < 20_000 / 2);
}

#[test]
fn a_failing_listener_is_detached_after_sixteen_failures_in_a_row() {
    let preview = PreviewData::new(1, 0);
    let heard = Arc::new(Received {
        failures: u32::MAX,
        ..Received::default()
    });
    let subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
    // The source does not change: the listener fails on the same value.
    assert_eq!(ended(&subscription), EndReason::ListenerFailed);
    assert_eq!(heard.calls(), 16);
    assert_eq!(Arc::strong_count(&heard), 1, "the listener was let go");
    assert!(subscription.is_ending());
}

#[test]
fn a_listener_that_failed_is_handed_the_value_again_though_nothing_changes() {
    let preview = PreviewData::new(1, 0);
    let heard = Arc::new(Received {
        failures: 2,
        ..Received::default()
    });
    let subscription = preview.subscribe_hosts(listener(&heard)).unwrap();
    eventually("it took the value", || heard.calls() == 3);
    assert_eq!(heard.last_rev(), 1);
    // The accepted value is not delivered again.
    subscription.cancel();
    assert_eq!(ended(&subscription), EndReason::Cancelled);
    assert_eq!(heard.calls(), 3);
}

/// Calls the library in its own callback: changes the source, subscribes again, and ends its own
/// subscription.
struct Reentrant {
    preview: Arc<PreviewData>,
    second: Arc<Received>,
    kept: Arc<Mutex<Option<Arc<Subscription>>>>,
    own: Mutex<mpsc::Receiver<Arc<Subscription>>>,
}

impl HostsListener for Reentrant {
    fn on_hosts(&self, _: HostsSnapshot) -> Result<(), CallbackError> {
        let own = self.own.lock().unwrap().recv_timeout(LONG).unwrap();
        self.preview.rename_host("from inside".to_owned());
        let second = self.preview.subscribe_hosts(listener(&self.second));
        *self.kept.lock().unwrap() = Some(second.unwrap());
        own.cancel();
        Ok(())
    }
}

#[test]
fn ls_15_a_listener_may_call_the_library_and_end_its_own_subscription() {
    let preview = PreviewData::new(1, 0);
    let second = Arc::new(Received::default());
    let kept = Arc::default();
    let (send, own) = mpsc::channel();
    let reentrant = Reentrant {
        preview: Arc::clone(&preview),
        second: Arc::clone(&second),
        kept: Arc::clone(&kept),
        own: Mutex::new(own),
    };
    let subscription = preview.subscribe_hosts(Box::new(reentrant)).unwrap();
    send.send(Arc::clone(&subscription)).unwrap();
    assert_eq!(ended(&subscription), EndReason::Cancelled);
    assert!(
        send.send(subscription).is_err(),
        "the listener was let go, and what it held with it"
    );
    eventually("the second listener hears of it", || {
        let last = second.last.lock().unwrap();
        let host = last.as_ref().and_then(|snapshot| snapshot.hosts.first());
        host.is_some_and(|host| host.name == "from inside")
    });
}
