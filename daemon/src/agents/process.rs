//! Processes of a turn as a group: started together, ended together, found again after a crash.

use std::io;

use tokio::process::{Child, Command};

/// The environment variable that carries the turn's unique name.
pub(super) const TURN_VARIABLE: &str = "BOWLINE_TURN";

/// What became of a search for leftovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// So many processes were ended.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Ended(usize),
    /// This system gives no safe way to tell whose a process is; none was touched.
    Unsupported,
}

/// A child that leads a group of its own. Dropping it kills the whole group, unless it was released.
pub(super) struct Group {
    child: Child,
    armed: bool,
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Group {
    /// Starts a command as the leader of a new group.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        command.kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        Ok(Self {
            #[cfg(unix)]
            id: child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw),
            child,
            armed: true,
        })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Asks every process of the group to end. On Windows only the child itself can be ended.
    pub(super) fn terminate(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// Ends every process of the group.
    pub(super) fn kill(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// The turn ended by itself: what it has put into the background may stay.
    pub(super) fn release(&mut self) {
        self.armed = false;
    }

    /// The system does not reuse the number of a group that still has a process, so this reaches our group
    /// or, when it is empty, nothing.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(id) = self.id {
            // An error says that the group is empty.
            let _ = rustix::process::kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed {
            self.kill();
        }
    }
}

/// Ends what a killed daemon left running of these turns. A process is ours if the turn's name, which is
/// unique, is in the environment it was started with.
#[cfg(target_os = "linux")]
pub(super) fn end_leftovers(turns: &[String]) -> Leftovers {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let marks: Vec<Vec<u8>> = turns
        .iter()
        .map(|name| format!("{TURN_VARIABLE}={name}").into_bytes())
        .collect();
    let mut ended = 0;
    // A process may fork while the list is read, so it is read until nothing of ours is found.
    for _ in 0..16 {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Leftovers::Unsupported;
        };
        let before = ended;
        for entry in entries.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
                .and_then(Pid::from_raw)
            else {
                continue;
            };
            // The descriptor is taken first: what is read afterwards is about the process it names.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
                continue;
            };
            let ours = environment
                .split(|byte| *byte == 0)
                .any(|variable| marks.iter().any(|mark| mark == variable));
            if ours && pidfd_send_signal(&process, Signal::KILL).is_ok() {
                ended += 1;
            }
        }
        if ended == before {
            break;
        }
    }
    Leftovers::Ended(ended)
}

/// Elsewhere the environment of another process cannot be read in a safe and documented way.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_leftovers(_turns: &[String]) -> Leftovers {
    Leftovers::Unsupported
}
