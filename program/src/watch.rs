//! Supervision of tasks and threads whose end would leave the program running but useless.
//!
//! A restartable task runs in [`kept`]: a panic is logged as an error and the task restarts after a
//! growing pause. A task the program cannot work without is spawned by [`Vital`]: its end is
//! logged, and the program, which waits on [`Vital::failed`], ends in an orderly way with a message
//! and an exit code. A task of one connection or one request needs neither: its end closes that one
//! alone.
//! connection or one request needs neither: its end is the end of that.

use std::{
    any::Any,
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Pause before a panicked task restarts: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Run time after which a panicked task starts with the first pause again.
const LASTING: Duration = Duration::from_secs(300);

/// Runs a future to its end.
///
/// # Errors
/// The panic message. The future is dropped with all it owns.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(words(&*panic))),
        },
    )
    .await
}

/// Runs a restartable task until it returns by itself.
pub async fn kept<F: Future<Output = ()>>(name: &'static str, mut begin: impl FnMut() -> F) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let Err(panic) = caught(begin()).await else {
            return;
        };
        if begun.elapsed() >= LASTING {
            pause = FIRST_PAUSE;
        }
        tracing::error!(
            task = name,
            "a defect ended a task, which restarts in {} s; please report it: {panic}",
            pause.as_secs()
        );
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tasks and threads that the program cannot work without. Clones share one state.
#[derive(Clone, Debug)]
pub struct Vital(Arc<watch::Sender<Option<String>>>);

impl Default for Vital {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Vital {
    /// Wraps a task that must not end; the caller spawns the result.
    pub async fn task(self, name: &'static str, future: impl Future<Output = ()>) {
        match caught(future).await {
            Ok(()) => self.fail(name, "it ended by itself"),
            Err(panic) => self.fail(name, &panic),
        }
    }

    /// Starts a thread, which may return in an orderly way.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let vital = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                vital.fail(name, &words(&*panic));
            }
        })
    }

    /// Waits for the first failure of any of them and returns its message.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            // `self` owns the sender.
            Err(_) => std::future::pending().await,
        }
    }

    fn fail(&self, name: &str, detail: &str) {
        tracing::error!(task = name, "a defect ended an essential task: {detail}");
        let text =
            format!("a defect ended its {name}; start it again, and please report this: {detail}");
        self.0.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(text);
            is_first
        });
    }
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// X1: a relay link's task panicked, and the daemon stayed unreachable for ever.
    #[tokio::test(start_paused = true)]
    async fn case_x1_a_kept_task_begins_anew_after_a_panic() {
        let begun = AtomicUsize::new(0);
        let started = Instant::now();
        kept("test", || async {
            assert!(begun.fetch_add(1, Relaxed) >= 9, "not yet");
        })
        .await;
        assert_eq!(begun.load(Relaxed), 10);
        assert!(started.elapsed() <= 10 * LONGEST_PAUSE);
        assert!(started.elapsed() >= FIRST_PAUSE);
    }

    /// C1: the ledger's thread panicked, and the process kept running without serving requests.
    #[tokio::test]
    async fn case_c1_the_end_of_what_is_vital_is_heard() {
        let vital = Vital::default();
        let thread = vital.thread("ledger", || panic!("out of ink")).unwrap();
        thread.join().unwrap();
        let text = vital.failed().await;
        assert!(
            text.contains("ledger") && text.contains("out of ink"),
            "{text}"
        );

        let vital = Vital::default();
        vital.thread("ledger", || {}).unwrap().join().unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(10), vital.failed()).await;
        assert!(quiet.is_err(), "a thread may end in an orderly way");
        vital.clone().task("listener", async {}).await;
        assert!(vital.failed().await.contains("listener"), "a task may not");
    }
}
