//! The launcher's service loop: it ends everything below it on the daemon's command, and drains the
//! outputs once the daemon stops reading.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, copy, sink},
    net::unix::pipe,
    signal::unix::Signal as Signals,
    task::JoinSet,
    time::Instant,
};

use super::{
    messages::{Report, order},
    report,
};
use crate::process::until;

/// Time from a request to end that did not come from the daemon to the kill.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// First interval between two checks for remaining processes.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// Longest interval, for processes that cannot be ended (of another user).
const LAST_LOOK: Duration = Duration::from_secs(1);

/// The inputs of the service loop.
pub(super) struct LaunchSpec {
    pub(super) control: UnixStream,
    /// SIGTERM sent to the launcher itself.
    pub(super) terminate: Signals,
    /// The read ends of the program's outputs.
    pub(super) pipes: Vec<OwnedFd>,
    pub(super) tree: Arc<Tree>,
}

/// The progress of ending the turn.
enum Phase {
    /// No end was requested.
    Running,
    /// All processes were requested to end. Remaining ones are killed at that time; without one, on
    /// the daemon's command.
    Asked(Option<Instant>),
    /// The processes are being killed.
    Killing,
}

impl LaunchSpec {
    /// Runs until the daemon is gone and the outputs are closed. The process may exit earlier.
    pub(super) async fn serve(self) {
        let Self {
            control,
            mut terminate,
            pipes,
            tree,
        } = self;
        let Ok(reports) = control.try_clone() else {
            return;
        };
        let _ = control.set_nonblocking(true);
        let Ok(mut control) = tokio::net::UnixStream::from_std(control) else {
            return;
        };
        let (mut phase, mut sparing, mut told) = (Phase::Running, false, false);
        let (mut pause, mut look) = (FIRST_LOOK, None);
        let mut pipes = Some(pipes);
        let mut drains = JoinSet::new();
        loop {
            if pipes.is_none() && drains.is_empty() && !cfg!(target_os = "linux") {
                return;
            }
            let kill_at = match phase {
                Phase::Asked(at) => at,
                Phase::Running | Phase::Killing => None,
            };
            tokio::select! {
                order = next(&mut control), if pipes.is_some() => match order {
                    Some(order::TERMINATE) => {
                        tree.ask(sparing);
                        phase = Phase::Asked(None);
                    }
                    Some(order::TERMINATE_SPARING) => {
                        sparing = true;
                        tree.ask(sparing);
                        phase = Phase::Asked(None);
                        look = Some(Instant::now() + FIRST_LOOK);
                    }
                    Some(order::KILL) => {
                        phase = Phase::Killing;
                        look = Some(Instant::now());
                    }
                    Some(_) => {}
                    None => for pipe in pipes.take().into_iter().flatten() {
                        drains.spawn(drain(pipe));
                    },
                },
                Some(()) = terminate.recv() => {
                    tree.ask(sparing);
                    phase = Phase::Asked(Some(Instant::now() + TERM_TO_KILL));
                }
                () = until(kill_at) => {
                    phase = Phase::Killing;
                    look = Some(Instant::now());
                }
                () = until(look) => {
                    let left = if matches!(phase, Phase::Killing) {
                        tree.kill(sparing)
                    } else {
                        tree.left(sparing)
                    };
                    if !left && !told {
                        report(&reports, &Report::Ended);
                        told = true;
                    }
                    pause = (pause * 2).min(LAST_LOOK);
                    look = (left || matches!(phase, Phase::Asked(_))).then(|| Instant::now() + pause);
                }
                Some(_) = drains.join_next() => {}
            }
        }
    }
}

/// The next command; `None` once the daemon has closed the stream.
async fn next(control: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    let mut order = [0];
    match control.read(&mut order).await {
        Ok(1) => order.first().copied(),
        Ok(_) | Err(_) => None,
    }
}

/// Drains a pipe until the last writer is gone: a process that prints after its turn is neither
/// blocked nor killed by that.
async fn drain(pipe: OwnedFd) {
    if let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) {
        let _ = copy(&mut pipe, &mut sink()).await;
    }
}

/// The processes below the launcher.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The program, which leads a process group; zero before it runs.
    program: AtomicI32,
}

impl Tree {
    pub(super) fn set_program(&self, pid: u32) {
        self.program
            .store(i32::try_from(pid).unwrap_or(0), Ordering::Relaxed);
    }

    /// Sends SIGTERM to all, and SIGCONT so that stopped processes receive it.
    fn ask(&self, sparing: bool) {
        self.signal(sparing, Signal::TERM);
        self.signal(sparing, Signal::CONT);
    }

    /// Kills all; returns whether there were any.
    fn kill(&self, sparing: bool) -> bool {
        self.signal(sparing, Signal::KILL)
    }
}

#[cfg(target_os = "linux")]
impl Tree {
    /// Every process below this one, except the spared ones.
    fn signal(&self, sparing: bool, signal: Signal) -> bool {
        self.members(sparing, |processes, pid| {
            processes.send(pid, signal);
        })
    }

    /// Whether any process is left.
    fn left(&self, sparing: bool) -> bool {
        self.members(sparing, |_, _| {})
    }

    fn members(&self, sparing: bool, mut each: impl FnMut(&super::tree::Processes, i32)) -> bool {
        let Ok(processes) = super::tree::Processes::now() else {
            return false;
        };
        let this = rustix::process::getpid().as_raw_nonzero().get();
        let mut members = processes.below([this]);
        if sparing {
            for spared in processes.daemons(&members) {
                members.remove(&spared);
            }
        }
        for pid in &members {
            each(&processes, *pid);
        }
        !members.is_empty()
    }
}

/// Other systems have no call that lists descendants: only the program's process group can be
/// reached.
#[cfg(not(target_os = "linux"))]
impl Tree {
    fn signal(&self, _sparing: bool, signal: Signal) -> bool {
        self.group()
            .is_some_and(|group| rustix::process::kill_process_group(group, signal).is_ok())
    }

    fn left(&self, _sparing: bool) -> bool {
        self.group()
            .is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }

    fn group(&self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(self.program.load(Ordering::Relaxed))
    }
}
