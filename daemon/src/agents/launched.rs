//! A turn's program below a launcher of its own: the daemon's side (`launcher/` is the other).

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    environment,
    launcher::{
        ARGUMENT,
        messages::{Report, Request, VERSION, encode, order, take},
        start::shown,
    },
    process::{Happened, Spec, folder_hangs},
    program::LauncherProgram,
};

/// How long a folder and a program may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a folder may take before its turn is taken for one that hangs and makes room for others.
const FOLDER_HANGS: Duration = Duration::from_secs(1);
/// The same for a program, which takes its time on a machine that has much to do.
const PROGRAM_HANGS: Duration = Duration::from_secs(3);
/// How long a start waits for a place, all of which are taken by starts that hang.
const PATIENCE: Duration = Duration::from_secs(1);

/// A launcher and what it tells. Dropping it ends everything below it, unless it was released.
pub(super) struct Launched {
    /// There until this is dropped.
    child: Option<Child>,
    control: UnixStream,
    received: Vec<u8>,
    state: State,
    /// Held until the start is answered.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not known to run: nothing is below the launcher yet, or it is just coming.
    Starting,
    Running,
    /// The turn ended by itself.
    Released,
    /// The launcher says that nothing is left.
    Ended,
    /// The launcher is gone without a word.
    Lost,
}

impl Launched {
    /// Starts a launcher, and through it the program.
    pub(super) async fn start(
        program: &LauncherProgram,
        starts: &Arc<Semaphore>,
        spec: Spec,
        hangs: &(dyn Fn() + Sync),
    ) -> Result<Self, String> {
        let place = timeout(PATIENCE, Arc::clone(starts).acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(
                "Too many turns wait for folders that do not answer: check the mounts, then send the prompt again."
                    .to_owned(),
            );
        };
        let mut launched = Self::spawn(program, &spec, place).map_err(|error| {
            format!("The system has no room for another process: {error}. End some, or raise its limits (ulimit -u, ulimit -n).")
        })?;
        let cwd = spec.cwd.clone();
        let name = spec.argv.first().cloned().unwrap_or_default();
        let mut entered = false;
        let started = launched.answered(program, spec, &mut entered, hangs);
        match timeout_at(Instant::now() + DEADLINE, started).await {
            Ok(Ok(())) => {
                launched.state = State::Running;
                launched.place = None;
                Ok(launched)
            }
            Ok(Err(text)) => {
                launched.state = State::Released;
                Err(text)
            }
            Err(_) if entered => Err(format!(
                "The provider's program `{}` does not answer within {} s: the file system it is on hangs. Check the \
                 mount, then send the prompt again.",
                shown(&name),
                DEADLINE.as_secs()
            )),
            Err(_) => Err(folder_hangs(&cwd, DEADLINE.as_secs())),
        }
    }

    fn spawn(
        program: &LauncherProgram,
        spec: &Spec,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program.path());
        environment::apply(&mut command, &spec.turn, &spec.agent);
        command
            .arg0(program.name())
            .arg(ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Self {
            control: UnixStream::from_std(ours)?,
            child: Some(command.spawn()?),
            received: Vec::new(),
            state: State::Starting,
            place: Some(place),
        })
    }

    /// Asks for the program and waits until it runs.
    async fn answered(
        &mut self,
        program: &LauncherProgram,
        spec: Spec,
        entered: &mut bool,
        hangs: &(dyn Fn() + Sync),
    ) -> Result<(), String> {
        let request = Request {
            version: VERSION,
            argv: spec.argv,
            cwd: spec.cwd,
            input: spec.input,
            files: program.files(),
        };
        let lost = |error: io::Error| {
            format!(
                "The launcher of this turn ended before its program ran ({error}): send the prompt again."
            )
        };
        self.send(&request).await.map_err(lost)?;
        let mut patience = None;
        loop {
            let report = tokio::select! {
                report = self.next() => report.map_err(lost)?,
                () = until(patience) => {
                    patience = None;
                    hangs();
                    continue;
                }
            };
            match report {
                Report::Here => patience = Some(Instant::now() + FOLDER_HANGS),
                Report::Entered => {
                    *entered = true;
                    patience = Some(Instant::now() + PROGRAM_HANGS);
                }
                Report::Started => return Ok(()),
                Report::Failed { text } => return Err(text),
                Report::Exited(_) | Report::Ended => {
                    return Err(lost(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }

    /// Sends the request, and with it the reading ends of the outputs: the launcher reads on when the daemon does not.
    async fn send(&mut self, request: &Request) -> io::Result<()> {
        let frame = encode(request)?;
        let child = self.child.as_ref();
        let stdout = child.and_then(|child| child.stdout.as_ref().map(AsFd::as_fd));
        let stderr = child.and_then(|child| child.stderr.as_ref().map(AsFd::as_fd));
        let ends: Vec<BorrowedFd<'_>> = [stdout, stderr].into_iter().flatten().collect();
        {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&ends));
            let mark = [io::IoSlice::new(b"P")];
            sendmsg(&self.control, &mark, &mut ancillary, SendFlags::empty())?;
        }
        self.control.write_all(&frame).await
    }

    /// The next report. Cancel-safe.
    async fn next(&mut self) -> io::Result<Report> {
        loop {
            if let Some(report) = take(&mut self.received)? {
                return Ok(report);
            }
            if self.control.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// The program's exit; then that nothing is left below the launcher. Cancel-safe.
    pub(super) async fn happened(&mut self) -> Happened {
        loop {
            match self.next().await {
                Ok(Report::Exited(exit)) => return Happened::Exited(exit),
                Ok(Report::Ended) => {
                    self.state = State::Ended;
                    return Happened::Gone;
                }
                Ok(_) => {}
                Err(_) => {
                    // A launcher that has done its work ends well, with the last process below it.
                    let status = match &mut self.child {
                        Some(child) => child.wait().await.ok(),
                        None => None,
                    };
                    self.state = match status {
                        Some(status) if status.success() => State::Ended,
                        Some(_) | None => State::Lost,
                    };
                    return Happened::Gone;
                }
            }
        }
    }

    pub(super) fn terminate(&mut self, sparing: bool) {
        self.order(if sparing {
            order::TERMINATE_SPARING
        } else {
            order::TERMINATE
        });
    }

    pub(super) fn kill(&mut self) {
        self.order(order::KILL);
    }

    pub(super) fn release(&mut self) {
        self.state = State::Released;
    }

    pub(super) fn is_surely_gone(&self) -> bool {
        self.state == State::Ended
    }

    /// Orders are a few bytes and always fit; a launcher that is gone takes none.
    fn order(&self, order: u8) {
        let _ = self.control.try_write(&[order]);
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        match self.state {
            State::Running => self.kill(),
            State::Starting => {
                self.kill();
                // One that hangs hears no order. Nothing is below it unless it answers just now, and then it is
                // told by the order.
                if let Some(mut child) = self.child.take()
                    && let Ok(runtime) = Handle::try_current()
                {
                    let place = self.place.take();
                    let _ = child.start_kill();
                    runtime.spawn(async move {
                        let _ = child.wait().await;
                        drop(place);
                    });
                }
            }
            State::Released | State::Ended | State::Lost => {}
        }
    }
}
