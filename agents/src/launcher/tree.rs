//! The process tree from `/proc`: ancestry, and signals that cannot reach a reused process id.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
};

use bowline_daemon::process::{Process, Stat, stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The argument that identifies a launcher.
use super::ARGUMENT;

/// A snapshot of the processes of this machine (or container), without zombies.
#[derive(Debug, Default)]
pub(crate) struct Processes(HashMap<i32, Stat>);

impl Processes {
    /// Reads all of `/proc`, and of each process only files that never block.
    pub(crate) fn now() -> io::Result<Self> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(process) = number.and_then(look) {
                all.insert(process.pid, process);
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.keys().copied()
    }

    /// The parent of a process.
    pub(crate) fn parent(&self, pid: i32) -> Option<i32> {
        self.0.get(&pid).map(|process| process.parent)
    }

    /// All descendants of these processes, without them.
    pub(crate) fn below(&self, roots: impl IntoIterator<Item = i32>) -> HashSet<i32> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for process in self.0.values() {
            children
                .entry(process.parent)
                .or_default()
                .push(process.pid);
        }
        let mut found = HashSet::new();
        let mut left: Vec<i32> = roots.into_iter().collect();
        while let Some(pid) = left.pop() {
            for child in children.get(&pid).into_iter().flatten() {
                if found.insert(*child) {
                    left.push(*child);
                }
            }
        }
        found
    }

    /// A process and its ancestors.
    pub(crate) fn lineage(&self, pid: i32) -> HashSet<i32> {
        let mut found = HashSet::new();
        let mut next = Some(pid);
        while let Some(pid) = next.filter(|pid| found.insert(*pid)) {
            next = self.0.get(&pid).map(|process| process.parent);
        }
        found
    }

    /// The daemons of this program among `some`, and all their descendants.
    pub(crate) fn daemons(&self, some: &HashSet<i32>) -> HashSet<i32> {
        let mut found: HashSet<i32> = some.iter().copied().filter(|pid| is_daemon(*pid)).collect();
        found.extend(self.below(found.clone()));
        found
    }

    /// Sends a signal to exactly the process of the snapshot; returns whether it was sent.
    pub(crate) fn send(&self, pid: i32, signal: Signal) -> bool {
        let (Some(seen), Some(raw)) = (self.0.get(&pid), Pid::from_raw(pid)) else {
            return false;
        };
        // The descriptor is opened first: later reads then concern the process it names.
        let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else {
            return false;
        };
        let same = look(pid).is_some_and(|now| now.started == seen.started);
        same && pidfd_send_signal(&process, signal).is_ok()
    }
}

/// One process, unless it has ended.
fn look(pid: i32) -> Option<Stat> {
    stat(pid).filter(|process| !process.ended)
}

/// Whether a process is a launcher: of that turn, or of any.
pub(crate) fn is_launcher(pid: i32) -> bool {
    Process::of(pid).runs(ARGUMENT)
}

/// Whether a process runs this program's file, other than as a launcher.
fn is_daemon(pid: i32) -> bool {
    Process::of(pid).runs_this_program() && !is_launcher(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(all: &[(i32, i32)]) -> Processes {
        let process = |&(pid, parent)| Stat {
            pid,
            parent,
            started: 1,
            ended: false,
        };
        Processes(all.iter().map(process).map(|p| (p.pid, p)).collect())
    }

    #[test]
    fn descent_is_followed_down_and_up() {
        let all = processes(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 2), (6, 1)]);
        assert_eq!(all.below([2]), HashSet::from([3, 4, 5]));
        assert_eq!(all.below([3, 6]), HashSet::from([4]));
        assert_eq!(all.lineage(4), HashSet::from([4, 3, 2, 1, 0]));
    }

    #[test]
    fn a_signal_misses_a_process_that_has_only_the_number() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!processes(&[(pid, 1)]).send(pid, Signal::KILL));
        assert!(child.try_wait().unwrap().is_none());
        assert!(Processes::now().unwrap().send(pid, Signal::KILL));
        child.wait().unwrap();
    }
}
