//! A place for the newest value of one subscription: the runtime's side overwrites it, the dispatcher empties it into the
//! app's listener.
//!
//! ```text
//!  open ──cancel(), finish()──► ending ──the dispatcher's next turn──► ended
//!    └──16 failures in a row, a panic: in a turn ───────────────────────►│
//! ```
//!
//! Only a turn ends a slot, and what it then says is final: `ended()` wakes the app's language, and that is done on
//! the dispatcher's thread alone. The listener belongs to that thread too: it is called there, and dropped there when the
//! slot ends, since dropping it calls the app's language as well.

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

/// A listener that fails so often in a row is detached.
pub(crate) const MAX_FAILURES: u32 = 16;
/// A value that a listener failed on is handed to it again after this time, unless a newer one comes before.
const AGAIN: Duration = Duration::from_millis(100);
/// A callback that takes longer is worth a line in the log: all subscriptions wait for it.
const SLOW: Duration = Duration::from_secs(1);

/// What becomes of a subscription's values: conversion and the app's listener.
pub(crate) trait Sink<T>: Send {
    /// Hands over the newest value. Runs on the dispatcher's thread with no lock held.
    fn deliver(&mut self, newest: &T) -> Result<(), CallbackError>;

    /// What is to be handed over in place of a value that the listener failed on, given the one that came since.
    fn again(&self, failed: T, newer: Option<T>) -> T {
        newer.unwrap_or(failed)
    }

    /// Its values are log lines: what its delivery causes is not logged to it or its like.
    fn is_log(&self) -> bool {
        false
    }
}

/// The newest value of one subscription.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    /// Only the dispatcher's thread looks in here; empty while the listener runs, and for good at the end.
    sink: Mutex<Option<Box<dyn Sink<T>>>>,
    /// Wakes the one task that feeds the slot: no more values are taken.
    stopped: Notify,
    /// Set once, by a turn: the listener is gone, it is not called again.
    ended: watch::Sender<Option<EndReason>>,
}

struct State<T> {
    newest: Option<T>,
    /// A turn is queued.
    queued: bool,
    /// No more values are taken.
    ending: Option<EndReason>,
    failures: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Slot<T> {
    /// A slot that empties itself into that sink.
    ///
    /// # Errors
    /// When the library's threads cannot be had.
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

    /// Puts the newest value in place of the one that is there.
    pub(crate) fn put(self: &Arc<Self>, value: T) {
        // What was there is dropped after the lock is let go.
        let _older = self.change(|newest| newest.replace(value));
    }

    /// Changes what is there; does nothing once the slot is ending.
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

    /// The source has ended: what is there is still handed over, and then nothing more.
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

    /// Queues a turn, if none is queued yet.
    fn queue(self: &Arc<Self>, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::replace(&mut state.queued, true) {
            return;
        }
        drop(state);
        if let Some(engine) = engine::running() {
            let slot = Arc::clone(self);
            engine.dispatcher.queue(move || slot.turn());
        }
    }

    /// What the dispatcher does for this slot.
    fn turn(self: Arc<Self>) {
        let (value, ending) = {
            let mut state = lock(&self.state);
            state.queued = false;
            (state.newest.take(), state.ending)
        };
        // Dropped last: with it, whatever else happens, the slot has ended or goes on.
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

    /// Hands a value to the listener; says so if that was one failure too many.
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

    /// Queues a turn for the value that was put back, unless a newer one does before.
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

    /// The end, once the listener is gone.
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

/// Ends a slot whose turn panicked: its listener is gone with it, and nobody must wait for an end that does not come.
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
    /// No further value is handed over; one may be on its way. Calls nobody.
    fn cancel(self: Arc<Self>);
    /// Whether no more values are taken.
    fn is_ending(&self) -> bool;
    /// Why it ended, once its listener is gone. Changes on the dispatcher's thread.
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

/// Feeds a slot from a source until either ends, or the library breaks.
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
