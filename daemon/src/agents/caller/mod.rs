//! Tells a process that an agent has started from the daemon's owner, on the local socket (TR-7).
//!
//! Best effort: agents run as the owner's user, so one that sets out to deceive can still have the
//! owner's other programs act for it. It stops what an agent does of itself, and what it is talked
//! into by what it reads.
//!
//! The process that opened the connection is followed up to its ancestors. On Linux orphans stay
//! below their turn's launcher, so neither a double fork nor a new session nor an empty environment
//! leads out; the mark in the environment is looked for besides, for turns without a launcher. On
//! other Unix systems `ps` tells ancestors and the session leader, and a process that left both is
//! not recognised. Elsewhere nothing is checked.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;

#[cfg(all(unix, any(test, not(target_os = "linux"))))]
mod ps;

use std::time::Duration;

use bowline_local::Stream;
use bowline_protocol::{RpcReason, error::RpcError};
use tracing::warn;

#[cfg(all(unix, not(target_os = "linux")))]
use self::ps as system;
use crate::blocking::Blocking;

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
    /// No agent has started it.
    Owner,
    /// It is a process of an agent's turn.
    Turn,
    /// It has ended, or its ancestors could not be followed.
    Unclear,
    /// The system does not tell.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "Linux always tells"))]
    Unsupported,
}

/// Notes the callers of the local socket. Clones share the limit of checks.
#[derive(Clone, Debug)]
pub(crate) struct Callers(Blocking);

/// The process that opened one connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `None` where the system does not name it, or it is of another container.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is checked there"))]
    peer: Option<Peer>,
    checks: Blocking,
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
    pub(crate) fn new() -> Self {
        Self(Blocking::new("caller", CHECKS, DEADLINE))
    }

    /// Notes the process at the other end of an accepted connection. Never blocks.
    pub(crate) fn of(&self, stream: &Stream) -> Caller {
        Caller {
            peer: peer(stream),
            checks: self.0.clone(),
        }
    }
}

impl Caller {
    /// Checks that no agent makes this request.
    ///
    /// # Errors
    /// `forbidden` with what to do.
    pub(crate) async fn check_owner(&self, method: &str) -> Result<(), RpcError> {
        let Some(peer) = self.peer else {
            return Ok(());
        };
        let descent = self.checks.run(move || descent(peer)).await;
        let why = match descent.unwrap_or(Descent::Unclear) {
            Descent::Owner | Descent::Unsupported => return Ok(()),
            Descent::Turn => "this request comes from a program that an agent has started",
            Descent::Unclear => {
                "it cannot be told whether this request comes from an agent: the process that opened the connection \
                 has ended, or does not answer"
            }
        };
        warn!(
            method,
            pid = peer.pid,
            ?descent,
            "a request that only the owner may make was refused"
        );
        Err(RpcError::new(
            RpcReason::Forbidden,
            format!(
                "`{method}` is for the daemon's owner, and {why}; run it in a terminal of your own, which no agent has \
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
fn descent(peer: Peer) -> Descent {
    system::descent(peer)
}

#[cfg(not(unix))]
const fn descent(_peer: Peer) -> Descent {
    Descent::Unsupported
}

/// Whether a process descends from a turn: whether `is_of_a_turn` holds for it or one of its
/// ancestors. Ancestors that it shares with this daemon do not count: an agent that starts a daemon
/// is that daemon's owner. `None` if an ancestor cannot be followed.
#[cfg(unix)]
fn descends(
    pid: i32,
    this: i32,
    parent: impl Fn(i32) -> Option<i32>,
    is_of_a_turn: impl Fn(i32) -> bool,
) -> Option<bool> {
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
    let own = line(pid)?
        .into_iter()
        .take_while(|pid| !shared.contains(pid));
    Some(own.into_iter().any(is_of_a_turn))
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
        let verdict = |pid| descends(pid, 4, parent, |pid| pid == 2 || pid == 5);
        for of_a_turn in [5, 6, 7] {
            assert_eq!(verdict(of_a_turn), Some(true), "{of_a_turn}");
        }
        for owner in [1, 3, 4, 8, 9, 10] {
            assert_eq!(verdict(owner), Some(false), "{owner}");
        }
        assert_eq!(verdict(11), None, "it has ended");
        let endless = descends(1, 4, |pid| Some(pid + 1), |_| false);
        assert_eq!(endless, None, "bounded");
    }
}
