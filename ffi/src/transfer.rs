//! A blob on its way, for apps (LD-8).

use std::sync::Arc;

use bowline_runtime as core;

use crate::{
    dispatcher::on_dispatcher,
    engine::engine,
    error::BowlineError,
    listeners::{CallbackError, TransferListener},
    records::StoredBlob,
    slot::{Cancel, Sink, Slot, follow},
    subscription::EndReason,
};

/// A blob on its way to or from a host. It survives lost connections and switches of path, and
/// waits as long as there is no connection. Dropping it cancels it.
#[derive(uniffi::Object)]
pub struct Transfer {
    /// Shared with the task that waits for its outcome.
    core: Arc<core::Transfer>,
    slot: Arc<dyn Cancel>,
}

/// Delivers the newest progress.
struct ProgressSink(Box<dyn TransferListener>);

impl Sink<core::TransferProgress> for ProgressSink {
    fn deliver(&mut self, newest: &core::TransferProgress) -> Result<(), CallbackError> {
        self.0.on_progress(newest.into())
    }
}

impl Transfer {
    /// Tells the listener about what `start` starts. The listener is dropped at the end.
    pub(crate) fn start(
        listener: Box<dyn TransferListener>,
        start: impl FnOnce() -> Result<core::Transfer, BowlineError>,
    ) -> Result<Arc<Self>, BowlineError> {
        let slot = Slot::new(ProgressSink(listener))?;
        let core = Arc::new(start()?);
        let mut progress = core.progress();
        let newest = Arc::clone(&slot);
        follow(&slot, async move {
            loop {
                let now = *progress.borrow_and_update();
                newest.put(now);
                // Nobody is told the reason: the outcome says how it ended. A thread that reads a
                // file may hold the sender for longer.
                let is_over = matches!(
                    now.state,
                    core::TransferState::Done | core::TransferState::Failed
                );
                if is_over || progress.changed().await.is_err() {
                    break EndReason::Cancelled;
                }
            }
        })?;
        Ok(Arc::new(Self { core, slot }))
    }
}

#[uniffi::export]
impl Transfer {
    /// Waits until the blob is whole, or why it is not. The listener is called no more after it.
    /// May be called again.
    pub async fn outcome(&self) -> Result<StoredBlob, BowlineError> {
        let (core, mut ended) = (Arc::clone(&self.core), self.slot.ended());
        let outcome = on_dispatcher(engine()?, async move {
            let outcome = core.outcome().await;
            let _ = ended.wait_for(Option::is_some).await;
            outcome
        });
        Ok(outcome.await??.into())
    }

    /// Ends it: the outcome is `Cancelled`, unless the blob is whole already. What moved is kept,
    /// so that another call goes on there.
    pub fn cancel(&self) {
        self.core.cancel();
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.core.cancel();
        Arc::clone(&self.slot).cancel();
    }
}
