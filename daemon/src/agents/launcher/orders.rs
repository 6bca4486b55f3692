//! What a launcher does on the daemon's orders: ending everything below it, and reading to nowhere what is still
//! printed when the daemon listens no more.

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
    time::{Instant, sleep_until},
};

use super::{
    messages::{Report, order},
    report,
};

/// From a request to end that did not come from the daemon to the order.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// Between two looks for what is left.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// The same after many, for what cannot be ended (a process of another user).
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Everything that takes orders.
pub(super) struct Orders {
    pub(super) control: UnixStream,
    /// SIGTERM to the launcher itself.
    pub(super) terminate: Signals,
    /// The reading ends of the program's outputs.
    pub(super) pipes: Vec<OwnedFd>,
    pub(super) tree: Arc<Tree>,
}

/// How far the end of the turn is.
enum Phase {
    /// Nobody has asked for it.
    Running,
    /// All were asked to end. What does not is ended at that time, if it is known: else the daemon says when.
    Asked(Option<Instant>),
    /// They are being ended.
    Killing,
}

impl Orders {
    /// Serves until the daemon is gone and nothing prints any more. The process may end before.
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
                () = at(kill_at) => {
                    phase = Phase::Killing;
                    look = Some(Instant::now());
                }
                () = at(look) => {
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

/// The next order; nothing is the end of the daemon's interest.
async fn next(control: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    let mut order = [0];
    match control.read(&mut order).await {
        Ok(1) => order.first().copied(),
        Ok(_) | Err(_) => None,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Reads until the last writer is gone: one that prints after its turn is neither stopped nor killed for it.
async fn drain(pipe: OwnedFd) {
    if let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) {
        let _ = copy(&mut pipe, &mut sink()).await;
    }
}

/// What a launcher is the root of.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The program, which leads a group; zero before it runs.
    program: AtomicI32,
}

impl Tree {
    pub(super) fn set_program(&self, pid: u32) {
        self.program
            .store(i32::try_from(pid).unwrap_or(0), Ordering::Relaxed);
    }

    /// Asks all to end; those that are stopped are continued, so that they hear it.
    fn ask(&self, sparing: bool) {
        self.signal(sparing, Signal::TERM);
        self.signal(sparing, Signal::CONT);
    }

    /// Ends all; tells whether there were any.
    fn kill(&self, sparing: bool) -> bool {
        self.signal(sparing, Signal::KILL)
    }
}

#[cfg(target_os = "linux")]
impl Tree {
    /// Every process below this one, except those to spare.
    fn signal(&self, sparing: bool, signal: Signal) -> bool {
        self.members(sparing, |processes, pid| {
            processes.send(pid, signal);
        })
    }

    /// Whether any is left.
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

/// Elsewhere no system call tells what is below a process: the program's group is what can be reached.
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
