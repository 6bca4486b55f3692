//! What is left of turns that nobody watches any more: after a crash of the daemon, or of a launcher.

use std::time::Duration;

use crate::blocking::Blocking;

/// How long the search may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// What became of a search for leftovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// So many processes were ended.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Ended(usize),
    /// This system gives no safe way to tell whose a process is; none was touched.
    Unsupported,
}

/// Whether daemons that a turn has started are ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Daemons {
    /// They are, as everything is that a user cancels.
    End,
    /// They are not, nor what is below them: a daemon that ends or starts does not end another one.
    Spare,
}

/// Ends what still runs of these turns, on a thread of its own: what carries a turn's name in the environment it was
/// started with, and everything below such a process. This process and those it descends from are spared: a daemon may
/// have been started by the very turn that it interrupts (C17).
pub(super) async fn end(turns: Vec<String>, daemons: Daemons) -> Leftovers {
    let search = Blocking::new("leftovers", 1, DEADLINE);
    let found = search.run(move || end_now(&turns, daemons)).await;
    found.unwrap_or(Leftovers::Unsupported)
}

#[cfg(target_os = "linux")]
fn end_now(turns: &[String], daemons: Daemons) -> Leftovers {
    use std::collections::HashSet;

    use rustix::process::{Pid, Signal, WaitOptions, getpid, waitpid};

    use super::{
        environment::TURN_VARIABLE,
        launcher::tree::{Processes, is_launcher},
    };

    let marks: Vec<Vec<u8>> = turns
        .iter()
        .map(|name| format!("{TURN_VARIABLE}={name}").into_bytes())
        .collect();
    let this = getpid().as_raw_nonzero().get();
    let mut ended = HashSet::new();
    // A process may fork while the list is read, so it is read until nothing of ours is found.
    for round in 0..100 {
        let Ok(processes) = Processes::now() else {
            return Leftovers::Unsupported;
        };
        let marked: HashSet<i32> = processes
            .iter()
            .filter(|pid| carries(*pid, &marks))
            .collect();
        let mut ours = processes.below(marked.iter().copied());
        ours.extend(marked);
        // What is below this process is not spared: a shell that became this daemon had other children.
        for pid in processes.lineage(this) {
            ours.remove(&pid);
        }
        if daemons == Daemons::Spare {
            for pid in processes.daemons(&ours) {
                ours.remove(&pid);
            }
        }
        // A launcher goes last, and by itself: without it, what has no mark would be below nobody. One that has
        // nothing below it hangs on its way in.
        ours.retain(|pid| !is_launcher(*pid) || processes.below([*pid]).is_empty());
        let mut left = false;
        for pid in ours {
            if processes.send(pid, Signal::KILL) {
                left = true;
                ended.insert(pid);
                if processes.parent(pid) == Some(this)
                    && let Some(child) = Pid::from_raw(pid)
                {
                    // Such a child; nobody else here knows of it and would collect it.
                    let _ = waitpid(Some(child), WaitOptions::empty());
                }
            }
        }
        if !left {
            break;
        }
        std::thread::sleep(Duration::from_millis(if round < 5 { 5 } else { 50 }));
    }
    Leftovers::Ended(ended.len())
}

/// Whether a process was started with one of these in its environment.
#[cfg(target_os = "linux")]
fn carries(pid: i32, marks: &[Vec<u8>]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| marks.iter().any(|mark| mark == variable))
}

/// Elsewhere the environment of another process cannot be read in a safe and documented way.
#[cfg(not(target_os = "linux"))]
fn end_now(_turns: &[String], _daemons: Daemons) -> Leftovers {
    Leftovers::Unsupported
}
