//! The app's own key store: called by one creation at a time, and dropped on the creating thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use bowline_ffi::{BowlineError, BowlineRuntime, KeyStore, KeyStoreError};

use crate::common::{config, server_id, store_host};

/// Data that several stores of one app share.
#[derive(Default)]
struct Kept {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    writes: AtomicU32,
    /// The threads that called stores, and those that dropped them.
    called: Mutex<Vec<ThreadId>>,
    dropped: Mutex<Vec<ThreadId>>,
    is_locked: bool,
    /// Duration of a call.
    delay: Duration,
}

struct Store(Arc<Kept>);

impl KeyStore for Store {
    fn read(&self, name: String) -> Result<Option<Vec<u8>>, KeyStoreError> {
        self.0.called.lock().unwrap().push(thread::current().id());
        if self.0.is_locked {
            let detail = "it is locked".to_owned();
            return Err(KeyStoreError::Failed { detail });
        }
        let value = self.0.values.lock().unwrap().get(&name).cloned();
        // As slow as a system's store: the result omits later writes.
        thread::sleep(self.0.delay);
        Ok(value)
    }

    fn write(&self, name: String, value: Vec<u8>) -> Result<(), KeyStoreError> {
        self.0.called.lock().unwrap().push(thread::current().id());
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        self.0.values.lock().unwrap().insert(name, value);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.0.dropped.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn a_key_store_is_called_and_let_go_on_the_thread_that_creates() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Arc::new(Kept::default());
    let open = || {
        let store = Box::new(Store(Arc::clone(&kept)));
        BowlineRuntime::with_key_store(config(folder.path()), store)
    };
    drop(open().unwrap());
    store_host(folder.path());
    // The host's driver holds the storage on the library's threads now.
    let runtime = open().unwrap();
    let here = thread::current().id();
    assert_eq!(*kept.dropped.lock().unwrap(), [here, here]);
    assert!(
        kept.called
            .lock()
            .unwrap()
            .iter()
            .all(|thread| *thread == here)
    );
    // Later work of the runtime does not use the key store.
    let forgotten = crate::common::awaited("forget_host", runtime.forget_host(server_id())).0;
    assert!(forgotten.unwrap());
    let file = folder.path().join("profile.json");
    assert!(!file.exists(), "the identity is in the key store alone");
}

#[test]
fn inv_9_a_key_store_that_cannot_be_read_is_an_error_and_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Arc::new(Kept {
        is_locked: true,
        ..Kept::default()
    });
    let store = Box::new(Store(Arc::clone(&kept)));
    let error = BowlineRuntime::with_key_store(config(folder.path()), store)
        .err()
        .unwrap();
    assert!(matches!(error, BowlineError::Storage { .. }), "{error}");
    assert_eq!(*kept.dropped.lock().unwrap(), [thread::current().id()]);
    assert_eq!(kept.writes.load(Ordering::SeqCst), 0);
}

#[test]
fn inv_9_runtimes_that_are_created_at_once_have_one_identity() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Arc::new(Kept {
        delay: Duration::from_millis(20),
        ..Kept::default()
    });
    let begin = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Box::new(Store(Arc::clone(&kept)));
                begin.wait();
                BowlineRuntime::with_key_store(config(folder.path()), store).unwrap();
            });
        }
    });
    let writes = kept.writes.load(Ordering::SeqCst);
    assert_eq!(writes, 1, "an identity was made more than once");
}
