//! The app's handle of a subscription.

use std::sync::Arc;

use crate::{error::Advice, slot::Cancel};

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum EndReason {
    /// It was cancelled or dropped.
    Cancelled,
    /// Its listener failed sixteen times in a row.
    ListenerFailed,
    /// The runtime was shut down.
    RuntimeClosed,
    /// The host is unknown or was forgotten.
    HostGone,
    /// The creation to show is unknown.
    UnknownCreation,
    /// The host is at its limit of open screens.
    TooMany,
    /// The host's queue is full; subscribe again.
    Busy,
    /// A defect ended part of the library: the last value may be stale. Only a restart of the
    /// process recovers it.
    Broken,
}

impl EndReason {
    /// What is told of it: the recommended action, and text for people.
    const fn told(self) -> (Advice, &'static str) {
        match self {
            Self::Cancelled => (Advice::Nothing, "the subscription was cancelled"),
            Self::ListenerFailed => (
                Advice::Report,
                "what the library told could not be taken sixteen times in a row",
            ),
            Self::RuntimeClosed => (Advice::Nothing, "the library was shut down"),
            Self::HostGone => (Advice::Nothing, "the host is unknown or was forgotten"),
            Self::UnknownCreation => (Advice::Nothing, "nothing is known of that creation"),
            Self::TooMany => (
                Advice::TryAgain,
                "the host has its most screens, tables, logs or topics open",
            ),
            Self::Busy => (Advice::TryAgain, "the host has more to do than it can take"),
            Self::Broken => (
                Advice::Report,
                "a defect ended part of the library; restart the app",
            ),
        }
    }
}

/// The recommended action after a subscription ended for this reason. Only [`Advice::TryAgain`]
/// means that another subscription may succeed.
#[uniffi::export]
pub fn end_advice(reason: EndReason) -> Advice {
    reason.told().0
}

/// Text for people about why a subscription ended.
#[uniffi::export]
pub fn end_text(reason: EndReason) -> String {
    reason.told().1.to_owned()
}

/// A running subscription. It ends when it is cancelled or its last reference is dropped.
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
    /// Cancels the subscription. Returns at once, may be called repeatedly and inside a callback.
    /// One callback may still be running; `ended` completes after the last one.
    pub fn cancel(&self) {
        Arc::clone(&self.slot).cancel();
    }

    /// Whether it is about to end or has ended.
    pub fn is_ending(&self) -> bool {
        self.slot.is_ending()
    }

    /// Waits until the subscription has ended and its listener was dropped, after its last call.
    /// Returns the reason. Completes on the dispatcher's thread.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.slot.ended();
        let reason = ended.wait_for(Option::is_some).await;
        // The slot, held here, owns the sender.
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
