//! The one thread on which the app's code is called.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use crate::engine::THREADS;

/// Something to be done on the dispatcher's thread.
pub(crate) trait Turn: Send + Sync + 'static {
    /// Does it. Called with no lock held.
    fn run(self: Arc<Self>);
}

/// Where turns are queued. A slot queues itself at most once, so the queue is as long as there are subscriptions.
pub(crate) struct Dispatcher {
    turns: mpsc::Sender<Arc<dyn Turn>>,
}

impl Dispatcher {
    /// Queues a turn; first come, first served.
    pub(crate) fn queue(&self, turn: Arc<dyn Turn>) {
        // The thread ends with the process.
        let _ = self.turns.send(turn);
    }
}

/// Starts the thread. It is never joined: an app's code that does not return must not keep a process alive.
pub(crate) fn start() -> io::Result<Dispatcher> {
    let (turns, queue) = mpsc::channel::<Arc<dyn Turn>>();
    thread::Builder::new()
        .name(format!("{THREADS}-dispatch"))
        .spawn(move || {
            for turn in queue {
                // Reported by the panic hook; other subscriptions go on.
                let _ = catch_unwind(AssertUnwindSafe(|| turn.run()));
            }
        })?;
    Ok(Dispatcher { turns })
}
