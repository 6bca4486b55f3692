//! The launcher: a process between the daemon and the program of a turn, in the same executable
//! under a hidden command ([ADR 0020](../../../docs/adr/0020-launcher.md)).
//!
//! It does what could block or harm the daemon (entering a folder, finding a program), gives the
//! program a clean environment (no foreign terminal, default signals, the user's limits), and stays
//! the root of everything that the program starts, so that the turn can be ended as a whole.
//! Commands arrive over a socket on its standard input; its standard outputs are the program's
//! pipes.

pub(super) mod messages;
mod spec;
pub(super) mod start;
#[cfg(target_os = "linux")]
pub(super) mod tree;

use std::{
    fs::File,
    io::{self, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, ExitCode},
    sync::Arc,
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit, setsid, wait},
};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use self::{
    messages::{Report, Request, VERSION, encode, read},
    spec::{LaunchSpec, Tree},
};
use super::process::Exit;

/// The hidden command. It has no flags: its input comes over standard input.
pub(crate) const ARGUMENT: &str = "launch-turn";

/// The launcher's `main`.
pub(crate) fn main(name: &str) -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "{name}: `{ARGUMENT}` is for the daemon itself, which starts a turn's program with it: {error}"
            );
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<()> {
    // Before any thread or program starts, since they inherit the mask.
    bowline_program::unblock_signals();
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (request, pipes) = receive(&control)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let terminate = {
        let _inside = runtime.enter();
        default_signals()?
    };
    stand_apart(request.files, request.umask);

    let tree = Arc::new(Tree::default());
    let handle = runtime.handle().clone();
    let spec = LaunchSpec {
        control: control.try_clone()?,
        terminate,
        pipes,
        tree: Arc::clone(&tree),
    };
    let spec = std::thread::Builder::new().spawn(move || serve(&runtime, spec))?;

    let mut child = match start(&control, &request) {
        Ok(child) => child,
        Err(text) => {
            report(&control, &Report::Failed { text });
            return Ok(());
        }
    };
    tree.set_program(child.id());
    report(&control, &Report::Started);
    // Only the program and its descendants hold the pipes now: their end is the end of the output.
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let _ = std::env::set_current_dir("/");
    if let (Some(stdin), Some(input)) = (child.stdin.take(), request.input) {
        let _inside = handle.enter();
        if let Ok(pipe) = pipe::Sender::from_owned_fd(stdin.into()) {
            handle.spawn(feed(pipe, input));
        }
    }
    collect(&control, child.id());
    if !cfg!(target_os = "linux") {
        // Background processes are not below this process on this system, and may still print.
        let _ = spec.join();
    }
    Ok(())
}

/// Reads the program to start and the read ends of its outputs.
fn receive(control: &UnixStream) -> io::Result<(Request, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = RecvFlags::empty();
    let parts = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(control, parts, &mut ancillary, flags)?;
    let mut pipes = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            pipes.extend(received);
        }
    }
    for pipe in &pipes {
        rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::CLOEXEC)?;
    }
    let mut from = control;
    let request: Request = read(&mut from)?;
    if request.version != VERSION {
        report(
            control,
            &Report::Failed {
                text: "The daemon's program was replaced by another version: restart the daemon."
                    .to_owned(),
            },
        );
        return Err(io::Error::other("another version"));
    }
    Ok((request, pipes))
}

/// Handles every signal, so that the program gets the default of each: `exec` resets handled
/// signals but keeps ignored ones. Only SIGTERM has an effect here.
fn default_signals() -> io::Result<Signal> {
    let mut kinds = vec![
        SignalKind::alarm(),
        SignalKind::child(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::io(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::window_change(),
    ];
    use rustix::process::Signal as Raw;
    let others = [
        Raw::CONT,
        Raw::TSTP,
        Raw::TTIN,
        Raw::TTOU,
        Raw::XCPU,
        Raw::XFSZ,
        Raw::VTALARM,
        Raw::PROF,
    ];
    kinds.extend(others.map(|raw| SignalKind::from_raw(raw.as_raw())));
    for kind in kinds {
        // A signal that cannot be handled keeps its behaviour.
        let _ = signal(kind);
    }
    signal(SignalKind::terminate())
}

/// Leaves the daemon's terminal, limits and mask, and becomes the reaper of orphans below it.
fn stand_apart(files: Option<u64>, umask: Option<u32>) {
    // Fails only for the leader of a group, which the daemon does not make of it.
    let _ = setsid();
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let _ = rustix::thread::set_name(c"bowline-turn");
    }
    if let Some(Ok(mask)) = umask.map(TryInto::try_into) {
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(mask));
    }
    if let Some(files) = files {
        let now = getrlimit(Resource::Nofile);
        let current = Some(now.maximum.map_or(files, |maximum| files.min(maximum)));
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current,
                maximum: now.maximum,
            },
        );
    }
}

fn start(control: &UnixStream, request: &Request) -> Result<Child, String> {
    report(control, &Report::Here);
    start::enter(&request.cwd, &request.roots)?;
    report(control, &Report::Entered);
    start::program(&request.argv, &request.cwd, request.input.is_some())
}

/// Sends a report to the daemon. A daemon that is gone is ignored.
fn report(control: &UnixStream, report: &Report) {
    if let Ok(frame) = encode(report) {
        // Reports are few and short: they always fit into the socket.
        let mut to = control;
        let _ = to.write_all(&frame);
    }
}

/// Writes the prompt. A program that does not read it is no error.
async fn feed(mut pipe: pipe::Sender, input: String) {
    let _ = pipe.write_all(input.as_bytes()).await;
}

fn serve(runtime: &Runtime, spec: LaunchSpec) {
    runtime.block_on(spec.serve());
}

/// Reaps every process below this one until none is left, and reports the program's exit.
fn collect(control: &UnixStream, program: u32) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_nonzero().get()) == Ok(program) => {
                report(
                    control,
                    &Report::Exited(Exit {
                        code: status.exit_status(),
                        signal: status.terminating_signal(),
                    }),
                );
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
