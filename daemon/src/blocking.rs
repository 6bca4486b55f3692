//! Runs calls that may never return on separate threads, bounded in number, each with a deadline
//! (C13).
//!
//! A file system that hangs blocks a thread inside the kernel indefinitely. Such a thread must
//! serve nothing else: not the runtime, not the ledger, not a shared pool. Each kind of call has
//! its own [`Blocking`], so that one blocked kind does not affect another.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// The threads of one kind of call.
#[derive(Clone, Debug)]
pub struct Blocking {
    name: &'static str,
    permits: Arc<Semaphore>,
    deadline: Duration,
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// It did not return in time. Its thread keeps its permit until it returns.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// No permit was free in time: earlier calls are blocked.
    #[error("earlier calls of this kind have not returned")]
    Busy,
    /// The system could not start a thread, or the call panicked.
    #[error("no thread could run it")]
    NoThread,
}

impl Blocking {
    /// At most `permits` threads named `name`. A call has `deadline` to return; waiting for a
    /// permit takes at most a tenth of it.
    pub fn new(name: &'static str, permits: usize, deadline: Duration) -> Self {
        Self {
            name,
            permits: Arc::new(Semaphore::new(permits)),
            deadline,
        }
    }

    /// Runs a call and waits for its result. The process can exit while a thread is still blocked.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let permit = timeout(
            self.deadline / 10,
            Arc::clone(&self.permits).acquire_owned(),
        )
        .await
        .map_err(|_| BlockingError::Busy)?
        .map_err(|_| BlockingError::NoThread)?;
        let (send, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        let spawned = thread.spawn(move || {
            let result = call();
            drop(permit);
            let _ = send.send(result);
        });
        spawned.map_err(|_| BlockingError::NoThread)?;
        match timeout(self.deadline, result).await {
            Ok(result) => result.map_err(|_| BlockingError::NoThread),
            Err(_) => Err(BlockingError::Deadline(self.deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn case_c13_a_call_that_hangs_has_a_deadline_and_takes_only_its_place() {
        let blocking = Blocking::new("test", 2, Duration::from_millis(50));
        let (release, hang) = mpsc::channel::<()>();
        let hung = blocking.run(move || hang.recv()).await;
        assert_eq!(
            hung.unwrap_err(),
            BlockingError::Deadline(Duration::from_millis(50))
        );
        assert_eq!(blocking.run(|| 1).await, Ok(1), "there is another permit");
        let (_release, hang) = mpsc::channel::<()>();
        let _ = blocking.run(move || hang.recv()).await;
        assert_eq!(blocking.run(|| 2).await, Err(BlockingError::Busy));
        release.send(()).unwrap();
        // The permit is free once the thread has returned.
        let begun = std::time::Instant::now();
        while blocking.run(|| 3).await != Ok(3) {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_gives_its_place_back() {
        let blocking = Blocking::new("test", 1, Duration::from_secs(30));
        let panicked: Result<(), _> = blocking.run(|| panic!("as the test wants it")).await;
        assert_eq!(panicked, Err(BlockingError::NoThread));
        assert_eq!(blocking.run(|| 1).await, Ok(1));
    }
}
