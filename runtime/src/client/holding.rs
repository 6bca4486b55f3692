//! Whether a client holds calls back. Only then is the time of each call read: reading it costs a
//! small request more than sealing it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::time::Instant;

/// Shared by the driver of a client and its handles.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding(Arc<AtomicBool>);

impl Holding {
    /// The time of a call that is queued now; `None` while the driver takes calls at once.
    pub(super) fn asked(&self) -> Option<Instant> {
        self.0.load(Relaxed).then(Instant::now)
    }

    /// Sets whether calls are held back.
    pub(super) fn set(&self, is_holding: bool) {
        self.0.store(is_holding, Relaxed);
    }
}
