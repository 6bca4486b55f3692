//! The processes of a turn as one unit, started and ended together, with or without a launcher.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::{
    process::{ChildStderr, ChildStdout},
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{Launcher, direct::Direct, roots::Roots};
#[cfg(unix)]
use super::{launched::Launched, launcher::start::shown};

/// What to start.
pub(super) struct Spec {
    /// Program and arguments, including a prompt passed as an argument.
    pub(super) argv: Vec<String>,
    /// Its working directory.
    pub(super) cwd: String,
    /// Folders that the working directory must be in.
    pub(super) roots: Roots,
    /// Content of its standard input, which then ends.
    pub(super) input: Option<String>,
    /// Name of the turn.
    pub(super) turn: String,
    /// Id of the agent.
    pub(super) agent: String,
}

/// The exit of a program; at most one field is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Its exit status.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// Events of a turn's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEvent {
    /// The program has ended. Background processes may still run.
    Exited(Exit),
    /// No process of the turn is left, or its processes can no longer be observed.
    Gone,
}

/// Starts programs. Clones share the limit of blocked starts.
#[derive(Clone, Debug)]
pub(super) struct Starter {
    launcher: Launcher,
    /// Permits for unanswered starts.
    #[cfg_attr(not(unix), allow(dead_code))]
    starts: Arc<Semaphore>,
}

/// Limit of starts that may block at once: above running turns plus set-aside turns, so that turns
/// in other folders can start.
const STARTS: usize = 160;

impl Starter {
    pub(super) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            starts: Arc::new(Semaphore::new(STARTS)),
        }
    }

    /// Starts a program; the error is for people. Calls `hangs` once the folder or the program
    /// seems blocked, and goes on waiting. Cancel-safe: a started process is ended.
    pub(super) async fn start(
        &self,
        spec: Spec,
        hangs: &(dyn Fn() + Sync),
    ) -> Result<Process, String> {
        let root = match &self.launcher {
            #[cfg(unix)]
            Launcher::Program(program) => {
                Root::Launched(Launched::start(program, &self.starts, spec, hangs).await?)
            }
            _ => {
                let _ = hangs;
                Root::Direct(Direct::spawn(&spec)?)
            }
        };
        Ok(Process { root, gone: false })
    }
}

/// The processes of a turn. Dropping it ends them, unless they were released.
pub(super) struct Process {
    root: Root,
    gone: bool,
}

enum Root {
    Direct(Direct),
    #[cfg(unix)]
    Launched(Launched),
}

/// Calls the same method of either kind.
macro_rules! of_root {
    ($process:ident, $root:ident => $call:expr) => {
        match &mut $process.root {
            Root::Direct($root) => $call,
            #[cfg(unix)]
            Root::Launched($root) => $call,
        }
    };
}

impl Process {
    /// The output pipes; available once.
    pub(super) fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        match of_root!(self, root => root.child()) {
            Some(child) => (child.stdout.take(), child.stderr.take()),
            None => (None, None),
        }
    }

    /// Waits for the next event; none follows [`ProcessEvent::Gone`]. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> ProcessEvent {
        if self.gone {
            return std::future::pending().await;
        }
        let event = of_root!(self, root => root.next_event().await);
        self.gone = event == ProcessEvent::Gone;
        event
    }

    /// Requests all processes to end (SIGTERM); with `sparing`, except daemons among them.
    pub(super) fn terminate(&mut self, sparing: bool) {
        of_root!(self, root => root.terminate(sparing));
    }

    /// Kills all processes.
    pub(super) fn kill(&mut self) {
        of_root!(self, root => root.kill());
    }

    /// Releases the processes after the turn ended by itself: its background processes may stay.
    pub(super) fn release(&mut self) {
        of_root!(self, root => root.release());
    }

    /// Whether every started process is certainly gone, so that no search is needed.
    pub(super) fn is_surely_gone(&self) -> bool {
        match &self.root {
            Root::Direct(_) => false,
            #[cfg(unix)]
            Root::Launched(launched) => launched.is_surely_gone(),
        }
    }
}

/// Waits for a time; for ever without one.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The error for an agent's folder that does not respond.
#[cfg(unix)]
pub(super) fn folder_hangs(cwd: &str, seconds: u64) -> String {
    format!(
        "The agent's folder `{}` does not answer within {seconds} s: the file system it is on hangs. Check the mount, \
         then send the prompt again.",
        shown(cwd)
    )
}
