//! Looks names up without blocking other work.
//!
//! The system's resolver blocks for 15 s and longer when name servers do not answer. It is used
//! because only it covers the machine's hosts file, mDNS and VPNs. It runs on its own threads: a
//! hanging name occupies one thread, concurrent requests for it share one lookup, and no request
//! waits longer than [`DEADLINE`]. The process has one pool, [`Resolver::shared`].

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

/// Deadline of a lookup; then [`NameError::TimedOut`]. Longer than the 5 s after which the system's
/// resolver moves from a dead name server to the next.
const DEADLINE: Duration = Duration::from_secs(8);
/// Most threads, and so most names that may hang before others wait. More than a daemon has relays.
const MAX_THREADS: usize = 48;
/// Most names queued for a thread; one more fails with [`NameError::Busy`] at once.
const MAX_WAITING: usize = 256;
/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(10);
/// Stack of a thread in bytes; modules of the system's resolver run on it.
const STACK: usize = 512 << 10;
/// Time for which an answer that came after every request timed out is kept for the next request.
const LATE_ANSWER_TTL: Duration = Duration::from_secs(30);
/// Most answers kept that way; further ones are dropped.
const MAX_LATE_ANSWERS: usize = 64;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The system's resolver failed.
    #[error("{0}")]
    Failed(Arc<str>),
    /// No answer within the deadline.
    #[error("the name was not resolved within {} s; do the name servers answer?", DEADLINE.as_secs())]
    TimedOut,
    /// Too many other lookups hang.
    #[error("the name was not looked up: {0} other names hang; do the name servers answer?")]
    Busy(usize),
    /// The system provides no thread for the lookup.
    #[error("the name was not looked up: the system provides no thread ({0})")]
    NoThread(Arc<str>),
}

type Answer = Result<Arc<[IpAddr]>, NameError>;
type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Looks names up. Clones share their threads.
#[derive(Clone)]
pub struct Resolver(Arc<Pool>);

struct Pool {
    state: Mutex<State>,
    work: Condvar,
    look_up: Box<LookUp>,
    most_threads: usize,
    deadline: Duration,
}

#[derive(Default)]
struct State {
    threads: usize,
    idle: usize,
    /// Names that no thread has taken yet.
    waiting: VecDeque<Arc<str>>,
    /// Requests waiting for the answer, for each queued or running name.
    callers: HashMap<Arc<str>, Vec<oneshot::Sender<Answer>>>,
    late: HashMap<Arc<str>, (Instant, Arc<[IpAddr]>)>,
}

impl Resolver {
    /// The process's resolver, which uses the system's.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Resolver> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::with(system, MAX_THREADS, DEADLINE))
            .clone()
    }

    pub(crate) fn with(
        look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
        most_threads: usize,
        deadline: Duration,
    ) -> Self {
        Self(Arc::new(Pool {
            state: Mutex::default(),
            work: Condvar::new(),
            look_up: Box::new(look_up),
            most_threads,
            deadline,
        }))
    }

    /// The addresses of a host, in the system's order. Literal addresses and `localhost` need no
    /// lookup.
    ///
    /// # Errors
    /// [`NameError`], within the deadline.
    pub async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, NameError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([address].into());
        }
        let name: Arc<str> = host.to_ascii_lowercase().into();
        if &*name == "localhost" || name.ends_with(".localhost") {
            return Ok([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into());
        }
        let answer = match self.0.ask(&name)? {
            Asked::Known(addresses) => return Ok(addresses),
            Asked::Wait(answer) => answer,
        };
        match timeout(self.0.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(self.0.overdue(&name)),
        }
    }
}

enum Asked {
    Known(Arc<[IpAddr]>),
    Wait(oneshot::Receiver<Answer>),
}

impl Pool {
    fn ask(self: &Arc<Self>, name: &Arc<str>) -> Result<Asked, NameError> {
        let mut state = self.state();
        let now = Instant::now();
        state
            .late
            .retain(|_, (since, _)| now.duration_since(*since) < LATE_ANSWER_TTL);
        if let Some((_, addresses)) = state.late.remove(name) {
            return Ok(Asked::Known(addresses));
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(callers) = state.callers.get_mut(name) {
            // Drops requests that timed out while the name hangs.
            callers.retain(|caller| !caller.is_closed());
            callers.push(sender);
            return Ok(Asked::Wait(receiver));
        }
        // Drops queued names without a request.
        let State {
            waiting, callers, ..
        } = &mut *state;
        waiting.retain(|name| {
            let wanted = callers
                .get(name)
                .is_some_and(|all| all.iter().any(|one| !one.is_closed()));
            if !wanted {
                callers.remove(name);
            }
            wanted
        });
        if state.waiting.len() >= MAX_WAITING {
            return Err(NameError::Busy(state.callers.len()));
        }
        state.waiting.push_back(Arc::clone(name));
        state.callers.insert(Arc::clone(name), vec![sender]);
        if state.idle < state.waiting.len() && state.threads < self.most_threads {
            let pool = Arc::clone(self);
            let builder = thread::Builder::new()
                .name("bowline-names".to_owned())
                .stack_size(STACK);
            match builder.spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                // Without a new thread, an existing one takes the name later.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.waiting.pop_back();
                    state.callers.remove(name);
                    return Err(NameError::NoThread(error.to_string().into()));
                }
            }
        }
        self.work.notify_one();
        Ok(Asked::Wait(receiver))
    }

    /// Why a lookup exceeded its deadline.
    fn overdue(&self, name: &str) -> NameError {
        let state = self.state();
        if state.waiting.iter().any(|waiting| &**waiting == name) {
            NameError::Busy(state.callers.len() - state.waiting.len())
        } else {
            NameError::TimedOut
        }
    }

    /// Main loop of a thread.
    fn work(&self) {
        while let Some(name) = self.next() {
            let looked_up = (self.look_up)(&name);
            let answer = match looked_up {
                Ok(addresses) => Ok(Arc::from(addresses)),
                Err(error) => Err(NameError::Failed(error.to_string().into())),
            };
            let mut state = self.state();
            let callers = state.callers.remove(&name).unwrap_or_default();
            let mut delivered = false;
            for caller in callers {
                delivered |= caller.send(answer.clone()).is_ok();
            }
            if let Ok(addresses) = answer
                && !delivered
                && state.late.len() < MAX_LATE_ANSWERS
            {
                state.late.insert(name, (Instant::now(), addresses));
            }
        }
    }

    /// The next name with a waiting request. `None` after [`IDLE`] without work; the thread is then
    /// no longer counted.
    fn next(&self) -> Option<Arc<str>> {
        let mut state = self.state();
        let begun = Instant::now();
        loop {
            if let Some(name) = state.waiting.pop_front() {
                return Some(name);
            }
            let Some(left) = IDLE.checked_sub(begun.elapsed()) else {
                state.threads -= 1;
                return None;
            };
            state.idle += 1;
            let waited = self.work.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks the name up with the system's resolver: hosts file, DNS, mDNS and the like.
fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    // The port is irrelevant.
    Ok((name, 0)
        .to_socket_addrs()?
        .map(|address| address.ip())
        .collect())
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// Names that begin with `hang` hang until the sender is dropped; `none` fails; all others are
    /// 10.0.0.1.
    fn resolver(
        threads: usize,
        deadline: Duration,
    ) -> (mpsc::Sender<()>, Arc<AtomicUsize>, Resolver) {
        let (release, hung) = mpsc::channel::<()>();
        let hung = Mutex::new(hung);
        let count = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&count);
        let look_up = move |name: &str| {
            calls.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("hang") {
                let _ = hung.lock().unwrap().recv();
            }
            match name {
                "none" => Err(io::Error::other("no such name")),
                _ => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
            }
        };
        (release, count, Resolver::with(look_up, threads, deadline))
    }

    /// C35: hanging names used up the pool that everything else shared.
    #[tokio::test]
    async fn case_c35_hanging_names_do_not_delay_others() {
        let (_release, count, resolver) = resolver(16, Duration::from_millis(300));
        let mut hanging = tokio::task::JoinSet::new();
        for n in 0..15 {
            let resolver = resolver.clone();
            // Requested twice, looked up once.
            for _ in 0..2 {
                let resolver = resolver.clone();
                hanging.spawn(async move { resolver.resolve(&format!("hang{n}")).await });
            }
        }
        while count.load(Ordering::SeqCst) < 15 {
            tokio::task::yield_now().await;
        }
        let slow = Resolver(Arc::clone(&resolver.0));
        let good = timeout(SOON, slow.resolve("good")).await.unwrap();
        assert_eq!(good.unwrap()[..], [IpAddr::from([10, 0, 0, 1])]);
        let outcomes = hanging.join_all().await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == Err(NameError::TimedOut))
        );
        assert_eq!(count.load(Ordering::SeqCst), 16);
    }

    #[tokio::test]
    async fn case_c35_when_all_threads_hang_others_are_told_within_the_deadline_and_literals_go_on()
    {
        let (release, _, resolver) = resolver(2, Duration::from_millis(200));
        let both = futures_util::future::join(resolver.resolve("hang1"), resolver.resolve("hang2"));
        assert_eq!(
            both.await,
            (Err(NameError::TimedOut), Err(NameError::TimedOut))
        );
        assert_eq!(resolver.resolve("good").await, Err(NameError::Busy(2)));
        assert_eq!(resolver.resolve("::1").await.unwrap().len(), 1);
        assert_eq!(resolver.resolve("LocalHost").await.unwrap().len(), 2);
        drop(release);
        // The late answer serves the next request.
        let begun = Instant::now();
        while resolver.resolve("hang1").await.is_err() {
            assert!(begun.elapsed() < SOON);
        }
        assert!(resolver.resolve("good").await.is_ok());
    }

    #[tokio::test]
    async fn a_name_that_is_none_says_what_the_system_says() {
        let (_release, _, resolver) = resolver(2, SOON);
        let error = resolver.resolve("none").await.unwrap_err();
        assert_eq!(error.to_string(), "no such name");
    }
}
