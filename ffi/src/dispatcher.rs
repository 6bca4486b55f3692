//! The one thread on which listeners are called, and on which the futures of exported calls complete.

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

/// Something to be done on the dispatcher's thread. Called with no lock held.
type Turn = Box<dyn FnOnce() + Send>;

/// Where turns are queued. A slot queues itself at most once and a call completes once, so the queue is as long as there are
/// subscriptions and calls under way.
pub(crate) struct Dispatcher {
    turns: mpsc::Sender<Turn>,
}

impl Dispatcher {
    /// Queues a turn; first come, first served.
    pub(crate) fn queue(&self, turn: impl FnOnce() + Send + 'static) {
        // The thread ends with the process.
        let _ = self.turns.send(Box::new(turn));
    }
}

/// Starts the thread. It is never joined: an app's code that does not return must not keep a process alive.
pub(crate) fn start() -> io::Result<Dispatcher> {
    let (turns, queue) = mpsc::channel::<Turn>();
    thread::Builder::new()
        .name(format!("{THREADS}-dispatch"))
        .spawn(move || {
            for turn in queue {
                // Reported by the panic hook; other subscriptions go on.
                let _ = catch_unwind(AssertUnwindSafe(turn));
            }
        })?;
    Ok(Dispatcher { turns })
}

/// Does the work of an exported call on the library's threads, and completes it on the dispatcher's.
///
/// A waker of uniffi's calls the app's language, with a lock of uniffi's held, on the thread that completes what is awaited:
/// that must not be one that serves sockets, since an app's busy thread would then hold up every host. Dropping the
/// future abandons the answer only: the work goes on to its end.
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
            // Whoever asked may have gone.
            let _ = reply.send(result);
        });
    });
    match answer.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(BowlineError::broken(&panic.to_string())),
        Err(_) => Err(BowlineError::broken("the dispatcher is gone")),
    }
}
