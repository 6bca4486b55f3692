//! What an app holds of a subscription.

use std::sync::Arc;

use crate::slot::Cancel;

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum EndReason {
    /// It was cancelled, or nobody holds it any more.
    Cancelled,
    /// Its listener failed sixteen times in a row.
    ListenerFailed,
    /// The runtime was shut down.
    RuntimeClosed,
    /// The host is not known, or was forgotten.
    HostGone,
    /// Nothing is known of the creation that was to be shown.
    UnknownCreation,
    /// The host has its most screens open.
    TooMany,
    /// The host has more to do than it takes; subscribe again.
    Busy,
    /// A defect ended part of the library: what was shown last may no longer be so. Only a restart of the process helps.
    Broken,
}

/// A running subscription. It ends when it is cancelled, and when nobody holds it any more.
#[derive(uniffi::Object)]
pub struct Subscription {
    slot: Arc<dyn Cancel>,
}

impl Subscription {
    pub(crate) fn new(slot: Arc<dyn Cancel>) -> Arc<Self> {
        Arc::new(Self { slot })
    }
}

#[uniffi::export]
impl Subscription {
    /// Ends it. Returns at once, any number of times, from inside a callback too. One callback may still be on its way;
    /// `ended` tells when there will be none.
    pub fn cancel(&self) {
        Arc::clone(&self.slot).cancel();
    }

    /// Whether it is about to end or has ended.
    pub fn is_ending(&self) -> bool {
        self.slot.is_ending()
    }

    /// Waits until it has ended and its listener was let go: it is not called any more. Says why. Completes on the
    /// dispatcher's thread.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.slot.ended();
        let reason = ended.wait_for(Option::is_some).await;
        // Its sender is part of the slot, which is held here.
        reason
            .ok()
            .and_then(|reason| *reason)
            .unwrap_or(EndReason::Cancelled)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        Arc::clone(&self.slot).cancel();
    }
}
