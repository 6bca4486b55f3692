//! Work that waits for disks, on tokio's threads for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

/// Hands work to a thread that may block. `None` when the system gives no thread now: the work waits until there is one, and
/// nobody can wait for it. tokio panics then, which would end the task that asked (X1).
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    let spawned = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)));
    if spawned.is_err() {
        tracing::error!(
            "the system gives no thread for work on files; it is done once there is one"
        );
    }
    spawned.ok()
}
