//! The boundary as a listener sees it, without another language: newest values, failures, ends.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use bowline_ffi::{
    BowlineError, BowlineRuntime, CallbackError, EndReason, HostsListener, HostsSnapshot, Intent,
    Rehearsal, RuntimeConfig,
};

/// Counts, remembers, and does as it is told.
#[derive(Default)]
struct Heard {
    calls: AtomicU32,
    last: Mutex<Option<HostsSnapshot>>,
    pause: Duration,
    fails: bool,
}

struct Listener(Arc<Heard>);

impl HostsListener for Listener {
    fn on_hosts(&self, snapshot: HostsSnapshot) -> Result<(), CallbackError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        *self.0.last.lock().unwrap() = Some(snapshot);
        sleep(self.0.pause);
        if self.0.fails {
            let detail = "on purpose".to_owned();
            return Err(CallbackError::Failed { detail });
        }
        Ok(())
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(2));
    }
}

fn last_rev(heard: &Heard) -> u32 {
    let last = heard.last.lock().unwrap();
    last.as_ref().map_or(0, |snapshot| snapshot.rev)
}

#[test]
fn a_slow_listener_gets_fewer_values_and_the_last_one() {
    let rehearsal = Rehearsal::new(2, 0);
    let heard = Arc::new(Heard {
        pause: Duration::from_millis(10),
        ..Heard::default()
    });
    let listener = Box::new(Listener(Arc::clone(&heard)));
    let _subscription = rehearsal.subscribe_hosts(listener).unwrap();
    for n in 0..20_000 {
        rehearsal.rename_host(n.to_string());
    }
    until("the last revision", || last_rev(&heard) == 20_001);
    assert!(heard.calls.load(Ordering::SeqCst) < 20_000 / 2);
}

#[test]
fn a_failing_listener_is_detached_after_sixteen_failures_in_a_row() {
    let rehearsal = Rehearsal::new(1, 0);
    let heard = Arc::new(Heard {
        fails: true,
        ..Heard::default()
    });
    let listener = Box::new(Listener(Arc::clone(&heard)));
    let subscription = rehearsal.subscribe_hosts(listener).unwrap();
    until("it is detached", || {
        rehearsal.rename_host("again".to_owned());
        subscription.is_ending() || heard.calls.load(Ordering::SeqCst) >= 16
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(
        runtime.block_on(subscription.ended()),
        EndReason::ListenerFailed
    );
    assert_eq!(heard.calls.load(Ordering::SeqCst), 16);
    assert_eq!(Arc::strong_count(&heard), 1, "the listener was let go");
}

#[test]
fn inv_9_identities_that_are_missing_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig {
        storage_folder: folder.path().to_string_lossy().into_owned(),
        app_name: "tests".to_owned(),
        app_version: "1".to_owned(),
        only: None,
        extra_roots: Vec::new(),
    };
    let runtime = BowlineRuntime::new(config.clone()).unwrap();
    let cancel = |agent_id: &str| Intent::Cancel {
        agent_id: agent_id.to_owned(),
    };
    let error = runtime.send(String::new(), cancel("a")).unwrap_err();
    assert!(
        matches!(error, BowlineError::InvalidIdentity { .. }),
        "{error}"
    );
    let known = format!("srv_{}", "a".repeat(26));
    let error = runtime.send(known.clone(), cancel("")).unwrap_err();
    assert!(
        matches!(error, BowlineError::InvalidIdentity { .. }),
        "{error}"
    );
    let error = runtime.send(known, cancel("agt_1")).unwrap_err();
    assert!(matches!(error, BowlineError::UnknownHost { .. }), "{error}");
    drop(runtime);
    std::fs::write(folder.path().join("profile.json"), "{}").unwrap();
    let error = BowlineRuntime::new(config).err().unwrap();
    assert!(
        matches!(error, BowlineError::CorruptStorage { .. }),
        "{error}"
    );
}
