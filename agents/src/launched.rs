//! Runs a turn's program under its own launcher: the daemon's side (the launcher's side is
//! `launcher/`).

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
    time::{Instant, timeout, timeout_at},
};

use super::{
    environment,
    launcher::{
        ARGUMENT,
        messages::{Report, Request, VERSION, encode, order, take},
        start::shown,
    },
    process::{ProcessEvent, Spec, folder_hangs, until},
    program::LauncherProgram,
};

/// Time for the folder and the program to respond.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time for the folder to respond before its turn is set aside, so that other turns can run.
const FOLDER_HANGS: Duration = Duration::from_secs(1);
/// The same for the program, which takes longer on a loaded machine.
const PROGRAM_HANGS: Duration = Duration::from_secs(3);
/// Time a start waits for a permit while all are held by blocked starts.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A launcher and its connection. Dropping it ends everything below it, unless it was released.
pub(super) struct Launched {
    /// Present until this is dropped.
    child: Option<Child>,
    control: UnixStream,
    received: Vec<u8>,
    state: State,
    /// The start permit, held until the start is answered.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The program may not run yet: nothing is below the launcher, or it is just starting.
    Starting,
    Running,
    /// The turn ended by itself.
    Released,
    /// The launcher reported that no process is left.
    Ended,
    /// The launcher ended without a report.
    Lost,
}

impl Launched {
    /// Starts a launcher, which starts the program.
    pub(super) async fn start(
        program: &LauncherProgram,
        starts: &Arc<Semaphore>,
        spec: Spec,
        hangs: &(dyn Fn() + Sync),
    ) -> Result<Self, String> {
        let permit = timeout(PERMIT_TIMEOUT, Arc::clone(starts).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(
                "Too many turns wait for folders that do not respond: check the mounts, then send the prompt again."
                    .to_owned(),
            );
        };
        let mut launched = Self::spawn(program, &spec, permit).map_err(|error| {
            format!("The system has no room for another process: {error}. End some, or raise its limits (ulimit -u, ulimit -n).")
        })?;
        let cwd = spec.cwd.clone();
        let name = spec.argv.first().cloned().unwrap_or_default();
        let mut entered = false;
        let started = launched.answered(program, spec, &mut entered, hangs);
        match timeout_at(Instant::now() + DEADLINE, started).await {
            Ok(Ok(())) => {
                launched.state = State::Running;
                launched.permit = None;
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
        permit: OwnedSemaphorePermit,
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
            permit: Some(permit),
        })
    }

    /// Requests the start and waits until the program runs.
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
            roots: spec.roots,
            input: spec.input,
            files: program.files(),
            umask: program.umask(),
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

    /// Sends the request with the read ends of the outputs: the launcher drains them when the
    /// daemon stops reading.
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

    /// Returns the program's exit, then the report that no process is left below the launcher.
    /// Cancel-safe.
    pub(super) async fn next_event(&mut self) -> ProcessEvent {
        loop {
            match self.next().await {
                Ok(Report::Exited(exit)) => return ProcessEvent::Exited(exit),
                Ok(Report::Ended) => {
                    self.state = State::Ended;
                    return ProcessEvent::Gone;
                }
                Ok(_) => {}
                Err(_) => {
                    // A launcher that finished its work exits with success, after the last process
                    // below it.
                    let status = match &mut self.child {
                        Some(child) => child.wait().await.ok(),
                        None => None,
                    };
                    self.state = match status {
                        Some(status) if status.success() => State::Ended,
                        Some(_) | None => State::Lost,
                    };
                    return ProcessEvent::Gone;
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

    /// Sends a command to the launcher. Commands are a few bytes and always fit; a launcher that is
    /// gone is ignored.
    fn order(&self, order: u8) {
        let _ = self.control.try_write(&[order]);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        match self.state {
            State::Running => self.kill(),
            State::Starting => {
                self.kill();
                // A blocked launcher reads no commands. Nothing is below it, unless it proceeds at
                // this moment; then it reads the command.
                if let Some(mut child) = self.child.take()
                    && let Ok(runtime) = Handle::try_current()
                {
                    let permit = self.permit.take();
                    let _ = child.start_kill();
                    runtime.spawn(async move {
                        let _ = child.wait().await;
                        drop(permit);
                    });
                }
            }
            State::Released | State::Ended | State::Lost => {}
        }
    }
}
