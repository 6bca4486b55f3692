//! What each kind of subscription makes of the runtime's values, on the dispatcher's thread: what changed since the listener's
//! last value, where that is less than the whole.

use std::sync::Arc;

use bowline_runtime::{self as core, ScreenSnapshot};
use tokio::sync::watch;

use crate::{
    error::BowlineError,
    listeners::{
        CallbackError, DirectoryListener, HostsListener, ScreenListener, TimelineListener,
    },
    records::{directory_update, screen_update, timeline_update},
    slot::{Sink, Slot, follow},
    subscription::{EndReason, Subscription},
};

/// Delivers the newest snapshots to a listener.
pub(crate) fn follow_hosts(
    mut snapshots: watch::Receiver<Arc<core::Snapshot>>,
    listener: Box<dyn HostsListener>,
) -> Result<Arc<Subscription>, BowlineError> {
    let slot = Slot::new(HostsSink(listener))?;
    slot.put(Arc::clone(&snapshots.borrow_and_update()));
    let target = Arc::clone(&slot);
    follow(&slot, async move {
        while snapshots.changed().await.is_ok() {
            target.put(Arc::clone(&snapshots.borrow_and_update()));
        }
        EndReason::RuntimeClosed
    })?;
    Ok(Subscription::new(slot))
}

/// A slot that delivers a timeline's newest view, as what changed.
pub(crate) fn timeline_slot(
    listener: Box<dyn TimelineListener>,
) -> Result<Arc<Slot<Arc<core::TimelineView>>>, BowlineError> {
    let base = None;
    Slot::new(TimelineSink { listener, base })
}

struct HostsSink(Box<dyn HostsListener>);

impl Sink<Arc<core::Snapshot>> for HostsSink {
    fn deliver(&mut self, newest: &Arc<core::Snapshot>) -> Result<(), CallbackError> {
        self.0.on_hosts(newest.as_ref().into())
    }
}

/// `base` is what the listener took last. After a failure it is unknown what the listener has, so it begins anew.
pub(crate) struct DirectorySink {
    pub(crate) listener: Box<dyn DirectoryListener>,
    pub(crate) base: Option<Arc<core::MergedDirectory>>,
}

impl Sink<Arc<core::MergedDirectory>> for DirectorySink {
    fn deliver(&mut self, newest: &Arc<core::MergedDirectory>) -> Result<(), CallbackError> {
        let base = self.base.take();
        let update = directory_update(base.as_deref(), newest);
        self.listener.on_directory(update)?;
        self.base = Some(Arc::clone(newest));
        Ok(())
    }
}

/// As [`DirectorySink`].
pub(crate) struct ScreenSink {
    pub(crate) listener: Box<dyn ScreenListener>,
    pub(crate) base: Option<Arc<ScreenSnapshot>>,
}

impl Sink<Arc<ScreenSnapshot>> for ScreenSink {
    fn deliver(&mut self, newest: &Arc<ScreenSnapshot>) -> Result<(), CallbackError> {
        let base = self.base.take();
        self.listener
            .on_screen(screen_update(base.as_deref(), newest))?;
        self.base = Some(Arc::clone(newest));
        Ok(())
    }
}

struct TimelineSink {
    listener: Box<dyn TimelineListener>,
    base: Option<Arc<core::TimelineView>>,
}

impl Sink<Arc<core::TimelineView>> for TimelineSink {
    fn deliver(&mut self, newest: &Arc<core::TimelineView>) -> Result<(), CallbackError> {
        let base = self.base.take();
        self.listener
            .on_timeline(timeline_update(base.as_deref(), newest))?;
        self.base = Some(Arc::clone(newest));
        Ok(())
    }
}
