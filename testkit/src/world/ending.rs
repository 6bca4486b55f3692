//! Orderly end of a program of the world.

use std::time::Duration;

#[cfg(unix)]
use rustix::process::Signal;
use tokio::{process::Child, time::timeout};

use super::{Wine, WorldError};

/// Longest time for a requested end.
const DEADLINE: Duration = Duration::from_secs(15);

/// Requests an orderly end (SIGTERM, or Ctrl-C under Wine) and waits for it; on other systems kills
/// it.
///
/// # Errors
/// It does not end. `who` names it in the error.
pub(super) async fn end(
    child: &mut Child,
    who: &str,
    wine: Option<&Wine>,
) -> Result<(), WorldError> {
    #[cfg(not(unix))]
    let _ = wine;
    #[cfg(unix)]
    // Wine turns SIGINT into Ctrl-C and ignores SIGTERM.
    let asked = signal(child.id(), wine.map_or(Signal::TERM, |_| Signal::INT));
    #[cfg(not(unix))]
    let asked = child.start_kill();
    asked.map_err(WorldError::io(format!("asking the {who} to end")))?;
    match timeout(DEADLINE, child.wait()).await {
        Ok(ended) => ended
            .map(drop)
            .map_err(WorldError::io(format!("the {who}'s end"))),
        Err(_) => Err(WorldError::Unexpected(format!(
            "the {who} did not end when asked to"
        ))),
    }
}

/// Kills a daemon and the programs of its agents, which would survive it: no later start of the
/// daemon ends them.
pub(super) fn end_with_agents(daemon: &mut Child) {
    let agents = daemon.id().map(below).unwrap_or_default();
    let _ = daemon.start_kill();
    for agent in agents {
        // It may have ended meanwhile.
        #[cfg(unix)]
        let _ = signal(Some(agent), Signal::KILL);
        #[cfg(not(unix))]
        let _ = agent;
    }
}

/// Sends a signal to a process; nothing, if it has ended.
#[cfg(unix)]
pub(super) fn signal(pid: Option<u32>, signal: Signal) -> std::io::Result<()> {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    match pid.and_then(rustix::process::Pid::from_raw) {
        Some(pid) => Ok(rustix::process::kill_process(pid, signal)?),
        None => Ok(()),
    }
}

/// The descendants of a process; only supported on Linux.
fn below(root: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            let children = children.split_whitespace();
            let children: Vec<u32> = children.filter_map(|pid| pid.parse().ok()).collect();
            found.extend(&children);
            left.extend(children);
        }
    }
    found
}
