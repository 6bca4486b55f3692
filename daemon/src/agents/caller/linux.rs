//! The descent of a process from `/proc`.

use std::{env, ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use super::{Descent, Peer, descends};
use crate::agents::{
    environment::TURN_VARIABLE,
    launcher::tree::{is_launcher, process},
};

/// Attempts to follow the ancestors of a process while some of them end.
const ATTEMPTS: usize = 10;

pub(super) fn started(pid: i32) -> Option<u64> {
    process(pid).map(|process| process.started)
}

pub(super) fn descent(peer: Peer) -> Descent {
    let this = rustix::process::getpid().as_raw_nonzero().get();
    let own_turn = env::var_os(TURN_VARIABLE);
    let is_of_a_turn = |pid| is_launcher(pid) || is_marked(pid, own_turn.as_deref());
    for _ in 0..ATTEMPTS {
        // Also `None` if it ended before the connection was accepted.
        if peer.started.is_none() || started(peer.pid) != peer.started {
            return Descent::Unclear;
        }
        match descends(peer.pid, this, parent, is_of_a_turn) {
            Some(true) => return Descent::Turn,
            Some(false) => return Descent::Owner,
            // An ancestor has ended: the process has another one now.
            None => {}
        }
    }
    Descent::Unclear
}

/// The parent of a process. `None` if either has ended; a parent is never younger than its child,
/// also one that has taken in an orphan.
fn parent(pid: i32) -> Option<i32> {
    let child = process(pid)?;
    if child.parent == 0 || process(child.parent)?.started <= child.started {
        Some(child.parent)
    } else {
        None
    }
}

/// Whether a process was started with the mark of a turn, other than the one that has started this
/// daemon.
fn is_marked(pid: i32, own_turn: Option<&OsStr>) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| {
        let value = variable.strip_prefix(TURN_VARIABLE.as_bytes());
        let value = value.and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|turn| Some(turn) != own_turn.map(OsStr::as_bytes))
    })
}
