//! The descent of a process from `/proc`.

use super::{Ask, Descent, Peer, descends};
use crate::process::{Process, stat};

/// Attempts to follow the ancestors of a process while some of them end.
const ATTEMPTS: usize = 10;

pub(super) fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|process| process.started)
}

pub(super) fn descent(peer: Peer, ask: &Ask<'_>) -> Descent {
    let this = rustix::process::getpid().as_raw_nonzero().get();
    let starter = |pid| ask(&Process::of(pid));
    for _ in 0..ATTEMPTS {
        // Also `None` if it ended before the connection was accepted.
        if peer.started.is_none() || started(peer.pid) != peer.started {
            return Descent::Unclear;
        }
        // Without a verdict, an ancestor has ended: the process has another one now.
        if let Some(starter) = descends(peer.pid, this, parent, starter) {
            return Descent::below(starter);
        }
    }
    Descent::Unclear
}

/// The parent of a process. `None` if either has ended; a parent is never younger than its child,
/// also one that has taken in an orphan.
fn parent(pid: i32) -> Option<i32> {
    let child = stat(pid)?;
    if child.parent == 0 || stat(child.parent)?.started <= child.started {
        Some(child.parent)
    } else {
        None
    }
}
