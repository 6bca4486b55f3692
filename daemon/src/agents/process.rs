//! The processes of a turn as one thing: started together, ended together, whoever is their root.

use std::sync::Arc;

use tokio::{
    process::{ChildStderr, ChildStdout},
    sync::Semaphore,
};

use super::direct::Direct;
#[cfg(unix)]
pub(super) use super::launcher::messages::Exit;
#[cfg(unix)]
use super::{launched::Launched, launcher::start::shown};

/// What to start.
pub(super) struct Spec {
    /// Program and arguments, the prompt among them if it is one.
    pub(super) argv: Vec<String>,
    /// Where it works.
    pub(super) cwd: String,
    /// What is written to its standard input, which then ends.
    pub(super) input: Option<String>,
    /// Name of the turn.
    pub(super) turn: String,
    /// Id of the agent.
    pub(super) agent: String,
}

/// How a program ended.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// What is told of a turn's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// The program has ended. What it left in the background may run.
    Exited(Exit),
    /// Nothing of the turn is left, or nothing more can be known of it.
    Gone,
}

/// How programs are started. Clones share the bound on starts that hang.
#[derive(Clone, Debug)]
pub(super) struct Starter {
    #[cfg_attr(not(unix), allow(dead_code))]
    launcher: super::Launcher,
    /// A place for each start that has not been answered.
    #[cfg_attr(not(unix), allow(dead_code))]
    starts: Arc<Semaphore>,
}

/// Starts that may hang at once: more than turns that run and those that are set aside because they hang, so that a
/// turn elsewhere is not kept from starting.
const STARTS: usize = 160;

impl Starter {
    pub(super) fn new(launcher: super::Launcher) -> Self {
        Self {
            launcher,
            starts: Arc::new(Semaphore::new(STARTS)),
        }
    }

    /// Starts a program; the error is for people. `hangs` is called once it seems that the folder or the program does
    /// not answer, which is still waited for. Cancel-safe: what was begun is ended.
    pub(super) async fn start(
        &self,
        spec: Spec,
        hangs: &(dyn Fn() + Sync),
    ) -> Result<Process, String> {
        #[cfg(unix)]
        if let super::Launcher::Program(program) = &self.launcher {
            let launched = Launched::start(program, &self.starts, spec, hangs).await?;
            return Ok(Process {
                root: Root::Launched(launched),
                gone: false,
            });
        }
        let _ = hangs;
        Ok(Process {
            root: Root::Direct(Direct::spawn(&spec)?),
            gone: false,
        })
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

impl Process {
    /// The outputs, once.
    pub(super) fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        let child = match &mut self.root {
            Root::Direct(direct) => direct.child(),
            #[cfg(unix)]
            Root::Launched(launched) => launched.child(),
        };
        match child {
            Some(child) => (child.stdout.take(), child.stderr.take()),
            None => (None, None),
        }
    }

    /// What comes next; nothing comes after [`Happened::Gone`]. Cancel-safe.
    pub(super) async fn happened(&mut self) -> Happened {
        if self.gone {
            return std::future::pending().await;
        }
        let happened = match &mut self.root {
            Root::Direct(direct) => direct.happened().await,
            #[cfg(unix)]
            Root::Launched(launched) => launched.happened().await,
        };
        self.gone = happened == Happened::Gone;
        happened
    }

    /// Asks all to end; with `sparing`, except daemons among them.
    pub(super) fn terminate(&mut self, sparing: bool) {
        match &mut self.root {
            Root::Direct(direct) => direct.terminate(),
            #[cfg(unix)]
            Root::Launched(launched) => launched.terminate(sparing),
        }
        let _ = sparing;
    }

    /// Ends all.
    pub(super) fn kill(&mut self) {
        match &mut self.root {
            Root::Direct(direct) => direct.kill(),
            #[cfg(unix)]
            Root::Launched(launched) => launched.kill(),
        }
    }

    /// The turn ended by itself: what it has put into the background may stay.
    pub(super) fn release(&mut self) {
        match &mut self.root {
            Root::Direct(direct) => direct.release(),
            #[cfg(unix)]
            Root::Launched(launched) => launched.release(),
        }
    }

    /// Whether all that was started is known to be gone, so that nothing has to be searched for.
    pub(super) fn is_surely_gone(&self) -> bool {
        match &self.root {
            Root::Direct(_) => false,
            #[cfg(unix)]
            Root::Launched(launched) => launched.is_surely_gone(),
        }
    }
}

/// The folder of an agent hangs.
#[cfg(unix)]
pub(super) fn folder_hangs(cwd: &str, seconds: u64) -> String {
    format!(
        "The agent's folder `{}` does not answer within {seconds} s: the file system it is on hangs. Check the mount, \
         then send the prompt again.",
        shown(cwd)
    )
}
