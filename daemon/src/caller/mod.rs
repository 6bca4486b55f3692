//! Tells the programs that a service has started, such as those of an agent, from the daemon's
//! owner on the local socket (TR-7).
//!
//! Best effort: such programs run as the owner's user, so one that sets out to deceive can still
//! have the owner's other programs act for it. It stops what an agent does of itself, and what it
//! is talked into by what it reads.
//!
//! The process that opened the connection is followed up to its ancestors, and services say which
//! of them they have started ([`crate::service::Service::has_started`]). On Linux orphans stay
//! below the launcher of an agent's turn, so neither a double fork nor a new session nor an empty
//! environment leads out. On other Unix systems `ps` tells ancestors and the session leader, and a
//! process that left both is not recognised. Elsewhere nothing is checked.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;

#[cfg(all(unix, any(test, not(target_os = "linux"))))]
mod ps;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_local::Stream;
use bowline_protocol::{RpcReason, error::RpcError};
use tracing::warn;

#[cfg(all(unix, not(target_os = "linux")))]
use self::ps as system;
use crate::{
    blocking::{Blocking, BlockingError},
    process::Process,
};

/// Checks that may run at once. Further ones wait, and are refused in the end.
const CHECKS: usize = 8;
/// Time for one check: reading about a process may block as long as its file system hangs.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most ancestors that are followed.
#[cfg(unix)]
const MAX_DEPTH: usize = 1_024;

/// What is known about the process that opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "nothing is checked there"))]
enum Descent {
    /// No service has started it.
    Owner,
    /// A service has started it, or one of its ancestors: which is said.
    Started(&'static str),
    /// It has ended, or its ancestors could not be followed.
    Unclear,
    /// A service could not tell whether it has started it.
    CannotTell,
    /// The system does not tell.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "Linux always tells"))]
    Unsupported,
}

/// Which service has started a process, as [`crate::service::Service::has_started`] says; an error
/// if one of them cannot tell.
pub(crate) type Starter = Result<&'static str, CannotTell>;

/// A service that was asked for a process panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CannotTell;

/// The service that is asked at the moment, for the log.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Option<&'static str>>);

impl Asked {
    pub(crate) fn note(&self, service: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }

    fn last(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all services.
pub(crate) type Starters = dyn Fn(&Process<'_>, &Asked) -> Option<Starter> + Send + Sync;
/// The same for one request.
type Ask<'a> = dyn Fn(&Process<'_>) -> Option<Starter> + 'a;

impl Descent {
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is checked there"))]
    const fn below(starter: Option<Starter>) -> Self {
        match starter {
            None => Self::Owner,
            Some(Ok(who)) => Self::Started(who),
            Some(Err(CannotTell)) => Self::CannotTell,
        }
    }
}

/// Notes the callers of the local socket. Clones share the limit of checks.
#[derive(Clone)]
pub(crate) struct Callers {
    checks: Blocking,
    starters: Arc<Starters>,
}

/// The process that opened one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    /// `None` where the system does not name it, or it is of another container.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is checked there"))]
    peer: Option<Peer>,
    checks: Blocking,
    starters: Arc<Starters>,
}

/// A process, as noted when its connection was accepted.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "nothing is checked there"))]
struct Peer {
    pid: i32,
    /// Its start, which tells it from a later process with the same number; where known.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "unknown there"))]
    started: Option<u64>,
}

impl Callers {
    pub(crate) fn new(starters: Arc<Starters>) -> Self {
        Self {
            checks: Blocking::new("caller", CHECKS, DEADLINE),
            starters,
        }
    }

    /// Notes the process at the other end of an accepted connection. Never blocks.
    pub(crate) fn of(&self, stream: &Stream) -> Caller {
        Caller {
            peer: peer(stream),
            checks: self.checks.clone(),
            starters: Arc::clone(&self.starters),
        }
    }
}

impl Caller {
    /// Checks that no program that a service has started makes this request.
    ///
    /// # Errors
    /// `forbidden` with what to do.
    pub(crate) async fn check_owner(&self, method: &str) -> Result<(), RpcError> {
        let Some(peer) = self.peer else {
            return Ok(());
        };
        let (starters, asked) = (Arc::clone(&self.starters), Arc::new(Asked::default()));
        let asking = Arc::clone(&asked);
        let check = move || descent(peer, &|process| starters(process, &asking));
        let descent = self.checks.run(check).await;
        let not_told = "it cannot be told whether this request comes from an agent";
        let (who, why) = match &descent {
            Ok(Descent::Owner | Descent::Unsupported) => return Ok(()),
            Ok(Descent::Started(who)) => (
                *who,
                format!("this request comes from a program that {who} has started"),
            ),
            Ok(Descent::Unclear) => (
                "an agent",
                format!("{not_told}: the process that opened the connection has ended"),
            ),
            Ok(Descent::CannotTell) => (
                "a service of it",
                "a service of it failed to tell whether this request comes from a program that it has started; its log \
                 says more"
                    .to_owned(),
            ),
            Err(BlockingError::Deadline(_)) if asked.last().is_some() => (
                "a service of it",
                "that process or a service of the daemon does not answer; its log says more".to_owned(),
            ),
            Err(_) => (
                "an agent",
                format!("{not_told}: the process that opened the connection does not answer"),
            ),
        };
        warn!(
            method,
            pid = peer.pid,
            ?descent,
            asked = asked.last(),
            "a request that only the owner may make was refused"
        );
        Err(RpcError::new(
            RpcReason::Forbidden,
            format!(
                "`{method}` is for the daemon's owner, and {why}; run it in a terminal of your own, outside of what {who} has \
                 started"
            ),
        ))
    }
}

#[cfg(unix)]
fn peer(stream: &Stream) -> Option<Peer> {
    // Linux gives zero for a process that is outside of this container. An agent's is never.
    let pid = stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)?;
    Some(Peer {
        pid,
        started: system::started(pid),
    })
}

#[cfg(not(unix))]
const fn peer(_stream: &Stream) -> Option<Peer> {
    None
}

#[cfg(unix)]
fn descent(peer: Peer, ask: &Ask<'_>) -> Descent {
    system::descent(peer, ask)
}

#[cfg(not(unix))]
const fn descent(_peer: Peer, _ask: &Ask<'_>) -> Descent {
    Descent::Unsupported
}

/// What `starter` says of a process, or of the first of its ancestors of which it says something.
/// Ancestors that it shares with this daemon are not asked for: an agent that starts a daemon is
/// that daemon's owner. `None` if an ancestor cannot be followed.
#[cfg(unix)]
fn descends<T>(
    pid: i32,
    this: i32,
    parent: impl Fn(i32) -> Option<i32>,
    starter: impl Fn(i32) -> Option<T>,
) -> Option<Option<T>> {
    let line = |mut pid: i32| {
        let mut line = Vec::new();
        // Zero is above the first process, of the machine or of the container.
        while pid > 0 {
            if line.len() >= MAX_DEPTH {
                return None;
            }
            line.push(pid);
            pid = parent(pid)?;
        }
        Some(line)
    };
    let shared = line(this)?;
    let mut own = line(pid)?
        .into_iter()
        .take_while(|pid| !shared.contains(pid));
    Some(own.find_map(starter))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn tr_7_ancestors_that_the_daemon_shares_make_nobody_an_agent() {
        // 1 ─ 2 launcher ─ 3 ─ 4 this daemon ─ 5 launcher ─ 6 ─ 7
        //   └ 8 shell ─ 9          3 ─ 10
        let parents = [
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 3),
            (5, 4),
            (6, 5),
            (7, 6),
            (8, 1),
            (9, 8),
            (10, 3),
        ];
        let parent = |pid| {
            parents
                .iter()
                .find(|(of, _)| *of == pid)
                .map(|(_, parent)| *parent)
        };
        let verdict = |pid| descends(pid, 4, parent, |pid| (pid == 2 || pid == 5).then_some(pid));
        for of_a_turn in [5, 6, 7] {
            assert_eq!(verdict(of_a_turn), Some(Some(5)), "{of_a_turn}");
        }
        for owner in [1, 3, 4, 8, 9, 10] {
            assert_eq!(verdict(owner), Some(None), "{owner}");
        }
        assert_eq!(verdict(11), None, "it has ended");
        let endless = descends(1, 4, |pid| Some(pid + 1), |_| None::<()>);
        assert_eq!(endless, None, "bounded");
    }
}
