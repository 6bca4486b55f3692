//! Calls that may never return: on threads of their own, bounded in number, each with a deadline (C13).
//!
//! A file system that hangs holds a thread inside the kernel for as long as it likes. No thread that serves anybody
//! else may be lent to it: not the runtime's, not the ledger's, not a pool that other work shares. Each kind of call
//! has a [`Blocking`] of its own, so that one kind that hangs takes nothing from another.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// Threads for one kind of call.
#[derive(Clone, Debug)]
pub struct Blocking {
    name: &'static str,
    places: Arc<Semaphore>,
    deadline: Duration,
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// It did not return in time. Its thread stays, and holds its place, until it does.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// Every place was taken all the time: calls hang there.
    #[error("earlier calls of this kind have not returned")]
    Busy,
    /// The system gave no thread, or the call panicked.
    #[error("no thread could run it")]
    NoThread,
}

impl Blocking {
    /// At most `places` threads, called `name`; a call is given `deadline`, and the wait for a place a tenth of it.
    pub fn new(name: &'static str, places: usize, deadline: Duration) -> Self {
        Self {
            name,
            places: Arc::new(Semaphore::new(places)),
            deadline,
        }
    }

    /// Runs a call and waits for its result. Nothing waits for threads that hang when
    /// the process ends.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let place = timeout(self.deadline / 10, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| BlockingError::Busy)?
            .map_err(|_| BlockingError::NoThread)?;
        let result = self.begin(place, call)?;
        match timeout(self.deadline, result).await {
            Ok(result) => result.map_err(|_| BlockingError::NoThread),
            Err(_) => Err(BlockingError::Deadline(self.deadline)),
        }
    }

    fn begin<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, BlockingError> {
        let (send, receive) = oneshot::channel();
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        let spawned = thread.spawn(move || {
            let result = call();
            drop(place);
            let _ = send.send(result);
        });
        match spawned {
            Ok(_) => Ok(receive),
            Err(_) => Err(BlockingError::NoThread),
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
        assert_eq!(blocking.run(|| 1).await, Ok(1), "there is another place");
        let (_release, hang) = mpsc::channel::<()>();
        let _ = blocking.run(move || hang.recv()).await;
        assert_eq!(blocking.run(|| 2).await, Err(BlockingError::Busy));
        release.send(()).unwrap();
        // The place is free once the thread has returned.
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
