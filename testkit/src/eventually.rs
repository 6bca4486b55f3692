//! Polls for a condition every few milliseconds until it holds or a deadline passes; the error then
//! contains the last observation. One rule for async and blocking tests.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    panic::Location,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

/// Deadline of [`eventually`] and [`blocking::eventually`]; no step takes longer on a slow machine.
pub const LONG: Duration = Duration::from_secs(120);
/// Shortest pause between two polls. A slow poll is followed by a pause of its own duration.
const STEP: Duration = Duration::from_millis(5);

/// Result of one poll: the awaited value, or an observation.
///
/// `true`, `Some` and `Ok` are awaited. The content of an `Err` is shown if the deadline passes.
pub trait Look: Sized {
    /// The awaited value.
    type Found;

    /// The awaited value.
    ///
    /// # Errors
    /// The poll result itself, if it is not that value.
    fn found(self) -> Result<Self::Found, Self>;

    /// The observation, for the error.
    fn seen(&self) -> Option<String> {
        None
    }
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), Self> {
        if self { Ok(()) } else { Err(self) }
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, Self> {
        self.ok_or(None)
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, Self> {
        self.map_err(Err)
    }

    fn seen(&self) -> Option<String> {
        self.as_ref().err().map(|seen| format!("{seen:#?}"))
    }
}

/// The condition did not hold within the deadline.
#[derive(Debug)]
pub struct NotYet {
    what: String,
    seen: Option<String>,
}

impl NotYet {
    fn new<L: Look>(what: impl Display, last: Option<&L>) -> Self {
        Self {
            what: what.to_string(),
            seen: last.and_then(L::seen),
        }
    }
}

impl Display for NotYet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "not within {LONG:?}: {}", self.what)?;
        match &self.seen {
            Some(seen) => write!(f, "; last seen: {seen}"),
            None => Ok(()),
        }
    }
}

impl Error for NotYet {}

/// Polls until the condition holds. Panics after [`LONG`] of tokio's clock, also if a poll hangs.
#[track_caller]
pub fn eventually<L: Look, F: Future<Output = L>>(
    what: impl Display,
    look: impl FnMut() -> F,
) -> impl Future<Output = L::Found> {
    let caller = Location::caller();
    async move { or_fail(try_eventually(what, look).await, caller) }
}

/// Polls until the condition holds, for up to [`LONG`] of tokio's clock.
///
/// # Errors
/// [`NotYet`] after that, also if a poll hangs.
pub async fn try_eventually<L: Look, F: Future<Output = L>>(
    what: impl Display,
    mut look: impl FnMut() -> F,
) -> Result<L::Found, NotYet> {
    let mut last = None;
    let looking = async {
        loop {
            let began = Instant::now();
            match look().await.found() {
                Ok(found) => return found,
                Err(other) => last = Some(other),
            }
            sleep(STEP.max(began.elapsed())).await;
        }
    };
    let found = timeout(LONG, looking).await;
    found.map_err(|_| NotYet::new(what, last.as_ref()))
}

/// The same for tests without an async runtime.
pub mod blocking {
    use std::{fmt::Display, panic::Location, thread::sleep, time::Instant};

    use super::{LONG, Look, NotYet, STEP, or_fail};

    /// Polls until the condition holds, blocking the thread. Panics after [`LONG`].
    #[track_caller]
    pub fn eventually<L: Look>(what: impl Display, mut look: impl FnMut() -> L) -> L::Found {
        let began = Instant::now();
        let found = loop {
            let look_began = Instant::now();
            match look().found() {
                Ok(found) => break Ok(found),
                Err(last) if began.elapsed() > LONG => break Err(NotYet::new(what, Some(&last))),
                Err(_) => sleep(STEP.max(look_began.elapsed())),
            }
        };
        or_fail(found, Location::caller())
    }
}

#[allow(clippy::panic, reason = "a test fails by panicking")]
fn or_fail<T>(found: Result<T, NotYet>, caller: &Location<'_>) -> T {
    found.unwrap_or_else(|error| panic!("{caller}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_is_found() {
        let began = Instant::now();
        let mut looks = 0;
        let found = eventually("the third look", || {
            looks += 1;
            ready((looks == 3).then_some("here"))
        });
        assert_eq!(found.await, "here");
        assert_eq!(began.elapsed(), 2 * STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_told_with_what_was_seen_last() {
        let mut looks = 0;
        let never = try_eventually("never", || {
            looks += 1;
            ready(Err::<(), _>(looks > 1_000))
        });
        let error = never.await.unwrap_err();
        assert_eq!(error.to_string(), "not within 120s: never; last seen: true");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 120s: an answer")]
    async fn a_look_that_hangs_fails_the_test_too() {
        eventually("an answer", pending::<bool>).await;
    }

    #[test]
    fn a_thread_is_blocked_until_it_is_so() {
        let mut looks = 0..3;
        blocking::eventually("all looks", || looks.next().is_none());
    }
}
