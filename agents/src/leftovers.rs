//! Ends leftover processes of turns after a crash of the daemon or of a launcher.

use std::time::Duration;

use bowline_daemon::blocking::Blocking;

/// Time limit of the search.
const DEADLINE: Duration = Duration::from_secs(10);

/// The outcome of a search for leftovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// Number of processes ended.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Ended(usize),
    /// The system offers no safe way to identify the processes; none was ended.
    Unsupported,
}

/// Whether daemons that a turn started are ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Daemons {
    /// They are ended, as is everything that a user cancels.
    End,
    /// They stay, with their descendants: a daemon that starts or stops does not end another
    /// daemon.
    Spare,
}

/// Ends the remaining processes of these turns, on a separate thread: processes with a turn's name
/// in their initial environment, and their descendants. This process and its ancestors are spared:
/// a daemon may have been started by the very turn that it interrupts (C17).
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
    // A process may fork during a scan, so scans repeat until one finds nothing.
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
        // Descendants of this process are not spared: a shell that became this daemon may have had
        // other children.
        for pid in processes.lineage(this) {
            ours.remove(&pid);
        }
        if daemons == Daemons::Spare {
            for pid in processes.daemons(&ours) {
                ours.remove(&pid);
            }
        }
        // Launchers are ended last and separately: without the launcher, unmarked processes would
        // have no marked ancestor. A launcher without descendants is blocked on its start.
        ours.retain(|pid| !is_launcher(*pid) || processes.below([*pid]).is_empty());
        let mut left = false;
        for pid in ours {
            if processes.send(pid, Signal::KILL) {
                left = true;
                ended.insert(pid);
                if processes.parent(pid) == Some(this)
                    && let Some(child) = Pid::from_raw(pid)
                {
                    // A direct child from before; no other code in this process reaps it.
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

/// Whether a process was started with one of these names in its environment.
#[cfg(target_os = "linux")]
fn carries(pid: i32, marks: &[Vec<u8>]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| marks.iter().any(|mark| mark == variable))
}

/// Other systems have no safe, documented way to read the environment of another process.
#[cfg(not(target_os = "linux"))]
fn end_now(_turns: &[String], _daemons: Daemons) -> Leftovers {
    Leftovers::Unsupported
}
