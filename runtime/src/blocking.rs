//! Blocking file work, on tokio's blocking threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

/// Runs work on a thread that may block. `None` if the system cannot start a thread now: the work
/// then runs once one is available, and its result cannot be awaited. tokio would panic in that
/// case and end the calling task (X1).
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    let spawned = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)));
    if spawned.is_err() {
        tracing::error!("no thread is available for file work; it runs once one is");
    }
    spawned.ok()
}
