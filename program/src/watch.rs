//! Tasks and threads that must not end unnoticed: the death of one leaves half a program, which looks alive and serves nobody.
//!
//! Each is spawned by what its death means. [`kept`] is for what can begin anew: a panic is logged as an error and the task is
//! begun again after a growing pause. [`Vital`] is for what the program is no use without: its end is logged, and whoever waits
//! for [`Vital::failed`] ends the program in an orderly way with a message and an exit code. What lives as long as one
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

/// Pauses before a task that panicked begins anew: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A task that lasted so long before it panicked begins with the first pause again.
const LASTING: Duration = Duration::from_secs(300);

/// Runs a future to its end.
///
/// # Errors
/// What it said when it panicked. Nothing of it runs after that; what it owned is dropped.
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

/// Keeps a task that can begin anew, until it ends by itself.
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
            "a defect ended a task, which begins anew in {} s; please report it: {panic}",
            pause.as_secs()
        );
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a program is no use without, and who hears of its end. Clones are one.
#[derive(Clone, Debug)]
pub struct Vital(Arc<watch::Sender<Option<String>>>);

impl Default for Vital {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Vital {
    /// A task that does not end: to be spawned.
    pub async fn task(self, name: &'static str, future: impl Future<Output = ()>) {
        match caught(future).await {
            Ok(()) => self.fail(name, "it ended by itself"),
            Err(panic) => self.fail(name, &panic),
        }
    }

    /// Starts a thread, which may end in an orderly way.
    ///
    /// # Errors
    /// When the system gives no thread.
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

    /// Waits for the first end of any of them: what people are told.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            // The sender is held by `self`.
            Err(_) => std::future::pending().await,
        }
    }

    fn fail(&self, name: &str, detail: &str) {
        tracing::error!(
            task = name,
            "a defect ended what this program cannot do without: {detail}"
        );
        let text =
            format!("a defect ended its {name}; start it again, and please report this: {detail}");
        self.0.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(text);
            is_first
        });
    }
}

/// What a panic said.
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

    /// C1: the ledger's thread panicked, and the process lived on and served nobody.
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
