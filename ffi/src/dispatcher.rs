//! The single thread that calls listeners and completes the futures of exported calls.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

use crate::{
    engine::{Engine, THREADS},
    error::BowlineError,
};

/// A call for the dispatcher's thread. Runs with no lock held.
type Task = Box<dyn FnOnce() + Send>;

/// The queue of tasks. A slot is queued at most once and a call completes once, so the queue is no
/// longer than the number of subscriptions and pending calls.
pub(crate) struct Dispatcher {
    tasks: mpsc::Sender<Task>,
}

impl Dispatcher {
    /// Queues a task; tasks run in order.
    pub(crate) fn queue(&self, task: impl FnOnce() + Send + 'static) {
        // The thread lives as long as the process.
        let _ = self.tasks.send(Box::new(task));
    }
}

/// Starts the thread. It is never joined: an app's callback that hangs must not keep the process
/// alive.
pub(crate) fn start() -> io::Result<Dispatcher> {
    let (tasks, queue) = mpsc::channel::<Task>();
    thread::Builder::new()
        .name(format!("{THREADS}-dispatch"))
        .spawn(move || {
            for task in queue {
                // The panic hook logs it; other subscriptions continue.
                let _ = catch_unwind(AssertUnwindSafe(task));
            }
        })?;
    Ok(Dispatcher { tasks })
}

/// Runs an exported call on the library's threads, and completes it on the dispatcher's.
///
/// A waker of uniffi calls the app's language, holding a lock of uniffi, on the thread that
/// completes the future. That must not be a thread that serves sockets, since a busy app would then
/// block every host. Dropping the future drops only the answer; the work continues.
///
/// # Errors
/// [`BowlineError::Broken`] when the work panicked.
pub(crate) async fn on_dispatcher<T: Send + 'static>(
    engine: &'static Engine,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, BowlineError> {
    let (reply, answer) = oneshot::channel();
    let work = engine.tokio.spawn(work);
    engine.tokio.spawn(async move {
        let result = work.await;
        engine.dispatcher.queue(move || {
            // The caller may have dropped its future.
            let _ = reply.send(result);
        });
    });
    match answer.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(BowlineError::broken(&panic.to_string())),
        Err(_) => Err(BowlineError::broken("the dispatcher is gone")),
    }
}
