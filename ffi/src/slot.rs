//! The newest value of one subscription: the runtime's side overwrites it, and the dispatcher
//! delivers it to the app's listener.
//!
//! ```text
//!  open ──cancel(), finish()──► ending ──the dispatcher's next task──► ended
//!    └──16 failures in a row, a panic: in a task ───────────────────────►│
//! ```
//!
//! Only a task ends a slot, and its result is final: `ended()` wakes the app's language, which
//! happens on the dispatcher's thread only. The listener belongs to that thread too: it is called
//! there, and dropped there when the slot ends, because dropping it calls the app's language.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    engine, error::BowlineError, listeners::CallbackError, logging, subscription::EndReason,
};

/// Failures in a row after which a listener is detached.
pub(crate) const MAX_FAILURES: u32 = 16;
/// Time after which a failed value is delivered again, unless a newer one arrives before.
const AGAIN: Duration = Duration::from_millis(100);
/// Duration of a callback that is logged as slow, because all subscriptions wait for it.
const SLOW: Duration = Duration::from_secs(1);

/// Converts a subscription's values and calls the app's listener.
pub(crate) trait Sink<T>: Send {
    /// Delivers a value. Runs on the dispatcher's thread with no lock held.
    fn deliver(&mut self, newest: &T) -> Result<(), CallbackError>;

    /// The next value to deliver after a failure, from the failed value and the one that arrived
    /// since.
    fn again(&self, failed: T, newer: Option<T>) -> T {
        newer.unwrap_or(failed)
    }

    /// Whether the values are log lines: the delivery then logs nothing to callbacks.
    fn is_log(&self) -> bool {
        false
    }
}

/// The newest value of one subscription.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    /// The sink. Only the dispatcher's thread locks it; empty while the listener runs, and after
    /// the end.
    sink: Mutex<Option<Box<dyn Sink<T>>>>,
    /// Wakes the task that feeds the slot when the slot takes no more values.
    stopped: Notify,
    /// Reason of the end. A task sets it once, after the listener was dropped.
    ended: watch::Sender<Option<EndReason>>,
}

struct State<T> {
    newest: Option<T>,
    /// A task is queued.
    queued: bool,
    /// The slot takes no more values.
    ending: Option<EndReason>,
    failures: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Slot<T> {
    /// Creates a slot that delivers to `sink`.
    ///
    /// # Errors
    /// If the library's threads cannot be started.
    pub(crate) fn new(sink: impl Sink<T> + 'static) -> Result<Arc<Self>, BowlineError> {
        engine::engine()?;
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                newest: None,
                queued: false,
                ending: None,
                failures: 0,
            }),
            sink: Mutex::new(Some(Box::new(sink))),
            stopped: Notify::new(),
            ended: watch::Sender::new(None),
        }))
    }

    /// Overwrites the pending value.
    pub(crate) fn put(self: &Arc<Self>, value: T) {
        // The old value is dropped after the lock is released.
        let _older = self.change(|newest| newest.replace(value));
    }

    /// Changes the pending value; has no effect once the slot is ending.
    pub(crate) fn change<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Option<T>) -> R,
    ) -> Option<R> {
        let mut state = lock(&self.state);
        if state.ending.is_some() {
            return None;
        }
        let result = change(&mut state.newest);
        self.queue(state);
        Some(result)
    }

    /// Ends the source: the pending value is still delivered, and none after it.
    pub(crate) fn finish(self: &Arc<Self>, reason: EndReason) {
        self.end(reason, |_| None);
    }

    fn end(self: &Arc<Self>, reason: EndReason, discard: impl FnOnce(&mut Option<T>) -> Option<T>) {
        let mut state = lock(&self.state);
        if state.ending.is_some() {
            return;
        }
        state.ending = Some(reason);
        let _discarded = discard(&mut state.newest);
        self.queue(state);
        self.stopped.notify_one();
    }

    /// Queues a task, unless one is queued.
    fn queue(self: &Arc<Self>, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::replace(&mut state.queued, true) {
            return;
        }
        drop(state);
        if let Some(engine) = engine::running() {
            let slot = Arc::clone(self);
            engine.dispatcher.queue(move || slot.run());
        }
    }

    /// The dispatcher's task for this slot.
    fn run(self: Arc<Self>) {
        let (value, ending) = {
            let mut state = lock(&self.state);
            state.queued = false;
            (state.newest.take(), state.ending)
        };
        // Dropped last, so that also a panicking task ends the slot or queues the next task.
        let _unfinished = Unfinished(&self);
        let Some(mut sink) = lock(&self.sink).take() else {
            return;
        };
        let _quiet = sink.is_log().then(logging::quiet);
        let failed = value.and_then(|value| self.call(sink.as_mut(), value));
        match ending.or(failed) {
            None => *lock(&self.sink) = Some(sink),
            Some(reason) => {
                drop(sink);
                self.conclude(reason);
            }
        }
    }

    /// Delivers a value. Returns whether the failure limit is reached.
    fn call(self: &Arc<Self>, sink: &mut dyn Sink<T>, value: T) -> Option<EndReason> {
        let began = Instant::now();
        let outcome = sink.deliver(&value);
        let took = began.elapsed();
        if took > SLOW {
            tracing::warn!(took_ms = took.as_millis(), "a callback was slow");
        }
        let mut state = lock(&self.state);
        let Err(error) = outcome else {
            state.failures = 0;
            return None;
        };
        state.failures += 1;
        let failures = state.failures;
        let is_last = failures >= MAX_FAILURES;
        if !is_last && state.ending.is_none() {
            let newer = state.newest.take();
            state.newest = Some(sink.again(value, newer));
            self.try_later();
        }
        drop(state);
        tracing::warn!(%error, failures, "a callback failed");
        is_last.then_some(EndReason::ListenerFailed)
    }

    /// Queues a task for the failed value, unless a newer value queues one before.
    fn try_later(self: &Arc<Self>) {
        let Some(engine) = engine::running() else {
            return;
        };
        let slot = Arc::clone(self);
        engine.tokio.spawn(async move {
            sleep(AGAIN).await;
            let state = lock(&slot.state);
            if state.newest.is_some() && state.ending.is_none() {
                slot.queue(state);
            }
        });
    }

    /// Ends the slot, after the listener was dropped.
    fn conclude(&self, reason: EndReason) {
        let (reason, _left) = {
            let mut state = lock(&self.state);
            let reason = *state.ending.get_or_insert(reason);
            (reason, state.newest.take())
        };
        self.stopped.notify_one();
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(reason);
            is_first
        });
    }
}

/// Ends a slot whose task panicked: the listener is dropped, and `ended()` must not wait forever.
struct Unfinished<'a, T: Send + 'static>(&'a Slot<T>);

impl<T: Send + 'static> Drop for Unfinished<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.conclude(EndReason::Broken);
        }
    }
}

/// A slot of any type, as its subscription holds it.
pub(crate) trait Cancel: Send + Sync {
    /// Stops delivery; one callback may still be running. Calls no foreign code.
    fn cancel(self: Arc<Self>);
    /// Whether the slot takes no more values.
    fn is_ending(&self) -> bool;
    /// Why it ended, after its listener was dropped. Changes on the dispatcher's thread.
    fn ended(&self) -> watch::Receiver<Option<EndReason>>;
}

impl<T: Send + 'static> Cancel for Slot<T> {
    fn cancel(self: Arc<Self>) {
        self.end(EndReason::Cancelled, Option::take);
    }

    fn is_ending(&self) -> bool {
        lock(&self.state).ending.is_some()
    }

    fn ended(&self) -> watch::Receiver<Option<EndReason>> {
        self.ended.subscribe()
    }
}

/// Feeds a slot from a source until either ends, or a defect breaks the library.
pub(crate) fn follow<T: Send + 'static>(
    slot: &Arc<Slot<T>>,
    source: impl Future<Output = EndReason> + Send + 'static,
) -> Result<(), BowlineError> {
    let slot = Arc::clone(slot);
    engine::engine()?.tokio.spawn(async move {
        tokio::select! {
            () = slot.stopped.notified() => {}
            () = engine::broken() => slot.finish(EndReason::Broken),
            reason = source => slot.finish(reason),
        }
    });
    Ok(())
}
