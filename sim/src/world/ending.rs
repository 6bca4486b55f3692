//! How a program of the world is asked to end.

use std::time::Duration;

use tokio::{process::Child, time::timeout};

use super::WorldError;

/// How long a program may take to end after it was asked to.
const DEADLINE: Duration = Duration::from_secs(15);

/// Asks it to end (SIGTERM) and waits for it; elsewhere than on Unix it is killed.
///
/// # Errors
/// When it does not end by itself. `who` names it there.
pub(super) async fn end(child: &mut Child, who: &str) -> Result<(), WorldError> {
    #[cfg(unix)]
    if let Some(pid) = child.id() {
        let asked = tokio::process::Command::new("kill")
            .arg(pid.to_string())
            .status()
            .await;
        asked.map_err(WorldError::io(format!("asking the {who} to end")))?;
    }
    #[cfg(not(unix))]
    child
        .start_kill()
        .map_err(WorldError::io(format!("ending the {who}")))?;
    match timeout(DEADLINE, child.wait()).await {
        Ok(ended) => ended
            .map(drop)
            .map_err(WorldError::io(format!("the {who}'s end"))),
        Err(_) => Err(WorldError::Unexpected(format!(
            "the {who} did not end when asked to"
        ))),
    }
}

/// Ends a daemon at once, and with it the programs of its agents, which outlive one that is killed: nobody starts it again to end them.
pub(super) fn end_with_agents(daemon: &mut Child) {
    let agents = daemon.id().map(below).unwrap_or_default();
    let _ = daemon.start_kill();
    #[cfg(unix)]
    for agent in agents {
        if let Some(pid) = i32::try_from(agent)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // One that has ended meanwhile needs nothing.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    #[cfg(not(unix))]
    drop(agents);
}

/// The processes below one, where the system tells: only Linux is known to us.
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
