//! A place for the newest value of one subscription: the runtime's side overwrites it, the dispatcher empties it into the
//! app's listener.
//!
//! ```text
//!  Open ──cancel()──► Cancelled ─┐
//!    └────finish()──► Finishing ─┴─the dispatcher's next turn──► Ended
//! ```
//!
//! The listener belongs to the dispatcher's thread: it is called there, and dropped there when the slot ends, since
//! dropping it calls the app's language too.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    dispatcher::Turn, engine, error::BowlineError, listeners::CallbackError,
    subscription::EndReason,
};

/// A listener that fails so often in a row is detached.
pub(crate) const MAX_FAILURES: u32 = 16;
/// A callback that takes longer is worth a line in the log: all subscriptions wait for it.
const SLOW: Duration = Duration::from_secs(1);

/// What becomes of a subscription's values: conversion and the app's listener.
pub(crate) trait Sink<T>: Send {
    /// Hands over the newest value. Runs on the dispatcher's thread with no lock held.
    fn deliver(&mut self, newest: T) -> Result<(), CallbackError>;
}

/// The newest value of one subscription.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    /// Only the dispatcher's thread looks in here; empty while the listener runs.
    sink: Mutex<Option<Box<dyn Sink<T>>>>,
    phase: watch::Sender<Phase>,
}

struct State<T> {
    newest: Option<T>,
    /// A turn is queued.
    queued: bool,
    ending: Option<EndReason>,
    failures: u32,
}

/// How far a slot's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Values are taken.
    Open,
    /// No more values are taken.
    Ending,
    /// The listener is gone; it is not called again.
    Ended(EndReason),
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
            phase: watch::channel(Phase::Open).0,
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
        let queue = !std::mem::replace(&mut state.queued, true);
        drop(state);
        if queue {
            self.queue();
        }
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
        let queue = !std::mem::replace(&mut state.queued, true);
        drop(state);
        self.phase.send_replace(Phase::Ending);
        if queue {
            self.queue();
        }
    }

    fn queue(self: &Arc<Self>) {
        if let Some(engine) = engine::running() {
            engine.dispatcher.queue(Arc::clone(self) as Arc<dyn Turn>);
        }
    }

    /// Resolves once no more values are taken.
    pub(crate) async fn ending(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is part of the slot.
        let _ = phase.wait_for(|phase| *phase != Phase::Open).await;
    }

    fn call(&self, sink: &mut dyn Sink<T>, value: T) -> Option<EndReason> {
        let began = Instant::now();
        let outcome = sink.deliver(value);
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
        drop(state);
        tracing::warn!(%error, failures, "a callback failed");
        (failures >= MAX_FAILURES).then_some(EndReason::ListenerFailed)
    }
}

impl<T: Send + 'static> Turn for Slot<T> {
    fn run(self: Arc<Self>) {
        let (value, mut ending) = {
            let mut state = lock(&self.state);
            state.queued = false;
            (state.newest.take(), state.ending)
        };
        let Some(mut sink) = lock(&self.sink).take() else {
            // It was lost in a panic.
            if let Some(reason) = ending {
                self.phase.send_replace(Phase::Ended(reason));
            }
            return;
        };
        if let Some(value) = value {
            let failed = self.call(sink.as_mut(), value);
            ending = ending.or(failed);
        }
        let Some(reason) = ending else {
            *lock(&self.sink) = Some(sink);
            return;
        };
        drop(sink);
        lock(&self.state).ending.get_or_insert(reason);
        self.phase.send_replace(Phase::Ended(reason));
    }
}

/// A slot of any type, as its subscription holds it.
pub(crate) trait Cancel: Send + Sync {
    /// No further value is handed over; one may be on its way. Only sets a flag.
    fn cancel(self: Arc<Self>);
    /// How far its end has come.
    fn phase(&self) -> watch::Receiver<Phase>;
}

impl<T: Send + 'static> Cancel for Slot<T> {
    fn cancel(self: Arc<Self>) {
        self.end(EndReason::Cancelled, Option::take);
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

/// Feeds a slot from a source until either ends.
pub(crate) fn follow<T: Send + 'static>(
    slot: &Arc<Slot<T>>,
    source: impl Future<Output = EndReason> + Send + 'static,
) -> Result<(), BowlineError> {
    let slot = Arc::clone(slot);
    engine::engine()?.tokio.spawn(async move {
        tokio::select! {
            () = slot.ending() => {}
            reason = source => slot.finish(reason),
        }
    });
    Ok(())
}
