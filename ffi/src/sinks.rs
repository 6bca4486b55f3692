//! What fills a subscription's slot, and the delivery of its values as changes.

use std::sync::Arc;

use bowline_runtime::{Snapshot, TimelineView};
use tokio::sync::watch;

use crate::{
    error::BowlineError,
    listeners::{CallbackError, HostsListener, TimelineListener},
    slot::{Sink, Slot, follow},
    subscription::{EndReason, Subscription},
};

/// Delivers a value as changes since the listener's last one, on the dispatcher's thread.
pub(crate) struct Changes<T, F> {
    call: F,
    /// The listener's last value. After a failure its state is unknown, so the next update starts
    /// from nothing.
    base: Option<Arc<T>>,
}

impl<T, F> Changes<T, F>
where
    F: FnMut(Option<&T>, &T) -> Result<(), CallbackError>,
{
    /// `call` gets the listener's last value and the newest one.
    pub(crate) const fn new(call: F) -> Self {
        Self { call, base: None }
    }
}

impl<T, F> Sink<Arc<T>> for Changes<T, F>
where
    T: Send + Sync,
    F: FnMut(Option<&T>, &T) -> Result<(), CallbackError> + Send,
{
    fn deliver(&mut self, newest: &Arc<T>) -> Result<(), CallbackError> {
        let base = self.base.take();
        (self.call)(base.as_deref(), newest)?;
        self.base = Some(Arc::clone(newest));
        Ok(())
    }
}

/// Delivers a timeline's newest view.
pub(crate) fn timeline_slot(
    listener: Box<dyn TimelineListener>,
) -> Result<Arc<Slot<Arc<TimelineView>>>, BowlineError> {
    Slot::new(Changes::new(move |base, new| {
        listener.on_timeline((base, new).into())
    }))
}

/// Delivers the newest snapshots of all hosts.
pub(crate) fn follow_hosts(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    listener: Box<dyn HostsListener>,
) -> Result<Arc<Subscription>, BowlineError> {
    let slot = Slot::new(Changes::new(move |_, new: &Snapshot| {
        listener.on_hosts(new.into())
    }))?;
    follow_values(slot, snapshots)
}

/// Feeds a slot with each newest value until the sender is dropped.
pub(crate) fn follow_values<T: Send + Sync + 'static>(
    slot: Arc<Slot<Arc<T>>>,
    mut values: watch::Receiver<Arc<T>>,
) -> Result<Arc<Subscription>, BowlineError> {
    slot.put(Arc::clone(&values.borrow_and_update()));
    let target = Arc::clone(&slot);
    follow(&slot, async move {
        while values.changed().await.is_ok() {
            target.put(Arc::clone(&values.borrow_and_update()));
        }
        EndReason::RuntimeClosed
    })?;
    Ok(Subscription::new(slot))
}
