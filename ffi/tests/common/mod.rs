//! Shared parts of the boundary's tests: scripted listeners, and runtimes with unreachable hosts.
#![allow(dead_code, reason = "each binary of tests uses some of it")]

use std::{
    future::Future,
    path::Path,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, sleep},
    time::Duration,
};

use bowline_ffi::{
    BowlineError, BowlineRuntime, CallbackError, EndReason, HostsListener, HostsSnapshot,
    RuntimeConfig, Subscription,
};
use bowline_runtime::{
    HostRecord, machines,
    protocol::{PublicKey, ServerId},
    transport::Address,
};

/// Longest wait for an expected event.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A listener that counts calls, records values and fails as scripted.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) calls: AtomicU32,
    pub(crate) last: Mutex<Option<HostsSnapshot>>,
    pub(crate) pause: Duration,
    /// Number of calls that fail first.
    pub(crate) failures: u32,
    /// Number of calls before one panics.
    pub(crate) panics_after: Option<u32>,
}

impl Received {
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn last_rev(&self) -> u32 {
        let last = self.last.lock().unwrap();
        last.as_ref().map_or(0, |snapshot| snapshot.rev)
    }
}

pub(crate) struct Listener(pub(crate) Arc<Received>);

impl HostsListener for Listener {
    fn on_hosts(&self, snapshot: HostsSnapshot) -> Result<(), CallbackError> {
        let before = self.0.calls.fetch_add(1, Ordering::SeqCst);
        *self.0.last.lock().unwrap() = Some(snapshot);
        sleep(self.0.pause);
        assert_ne!(Some(before), self.0.panics_after, "on purpose");
        if before < self.0.failures {
            let detail = "on purpose".to_owned();
            return Err(CallbackError::Failed { detail });
        }
        Ok(())
    }
}

pub(crate) fn listener(heard: &Arc<Received>) -> Box<Listener> {
    Box::new(Listener(Arc::clone(heard)))
}

/// A waker that records the threads it is woken on.
#[derive(Default)]
pub(crate) struct Woken {
    threads: Mutex<Vec<String>>,
    signal: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(name);
        self.signal.notify_all();
    }
}

/// Awaits as a binding does: polls on this thread, and again after each wake. Returns the threads
/// that woke it.
pub(crate) fn awaited<T>(what: &str, future: impl Future<Output = T>) -> (T, Vec<String>) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    let mut seen = 0;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (value, woken.threads.lock().unwrap().clone());
        }
        let threads = woken.threads.lock().unwrap();
        let (threads, waited) = woken
            .signal
            .wait_timeout_while(threads, LONG, |threads| threads.len() == seen)
            .unwrap();
        assert!(!waited.timed_out(), "waited in vain: {what}");
        seen = threads.len();
    }
}

pub(crate) fn ended(subscription: &Subscription) -> EndReason {
    awaited("the end of a subscription", subscription.ended()).0
}

pub(crate) fn config(folder: &Path) -> RuntimeConfig {
    RuntimeConfig {
        storage_folder: folder.to_string_lossy().into_owned(),
        app_name: "tests".to_owned(),
        app_version: "1".to_owned(),
        device_name: None,
        only: None,
        extra_roots: Vec::new(),
        proxy: None,
        cache_bytes: None,
    }
}

/// The id of the host that [`with_host`] stores.
pub(crate) fn server_id() -> String {
    ServerId::of_public_key(&[7; 32]).to_string()
}

/// A runtime with one host that is unreachable.
pub(crate) fn with_host(folder: &Path) -> Result<Arc<BowlineRuntime>, BowlineError> {
    drop(BowlineRuntime::new(config(folder))?);
    store_host(folder);
    BowlineRuntime::new(config(folder))
}

/// Stores one unreachable host.
pub(crate) fn store_host(folder: &Path) {
    let record = HostRecord {
        server_id: ServerId::of_public_key(&[7; 32]),
        name: "nobody".to_owned(),
        transport_key: PublicKey::from_bytes([7; 32]),
        psk: None,
        addresses: vec![Address {
            path: machines::Path::Direct,
            address: "127.0.0.1:9".to_owned(),
        }],
    };
    let hosts = serde_json::json!({ "version": 1, "hosts": [record] });
    std::fs::write(folder.join("hosts.json"), hosts.to_string()).unwrap();
}
