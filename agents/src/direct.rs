//! Runs a turn's program as a direct child of the daemon, where there is no launcher (Windows, and
//! programs that embed the daemon as a plain library).

use std::{io, path::Path, process::Stdio};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
};

use super::{
    environment,
    process::{Exit, ProcessEvent, Spec},
};

/// A console of its own, without a window (`CREATE_NO_WINDOW`): it gets no keys of the daemon's
/// console, and a daemon without a console opens no windows.
#[cfg(windows)]
const OWN_CONSOLE: u32 = 0x0800_0000;

/// A child that leads its own process group. Dropping it kills the whole group, unless it was
/// released.
pub(super) struct Direct {
    child: Child,
    armed: bool,
    exited: bool,
    feed: Option<JoinHandle<()>>,
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Direct {
    /// Starts a command as the leader of a new group.
    pub(super) fn spawn(spec: &Spec) -> Result<Self, String> {
        let (program, arguments) = spec
            .argv
            .split_first()
            .ok_or("The provider has no command.")?;
        let real = spec.roots.entered(Path::new(&spec.cwd))?;
        let mut command = Command::new(program);
        environment::apply(&mut command, &spec.turn, &spec.agent);
        pass(&mut command, arguments);
        command
            .current_dir(real)
            .env("PWD", &spec.cwd)
            .stdin(if spec.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(OWN_CONSOLE);
        let mut child = command
            .spawn()
            .map_err(|error| failed(program, spec, &error))?;
        let feed = child
            .stdin
            .take()
            .zip(spec.input.clone())
            .map(|(stdin, input)| tokio::spawn(feed(stdin, input)));
        Ok(Self {
            #[cfg(unix)]
            id: child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw),
            child,
            armed: true,
            exited: false,
            feed,
        })
    }

    pub(super) fn child(&mut self) -> Option<&mut Child> {
        Some(&mut self.child)
    }

    /// Returns the exit, then at once [`ProcessEvent::Gone`], since nothing further can be
    /// observed. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> ProcessEvent {
        if self.exited {
            return ProcessEvent::Gone;
        }
        let status = self.child.wait().await;
        self.exited = true;
        match status {
            Ok(status) => ProcessEvent::Exited(Exit {
                code: status.code(),
                signal: signal(status),
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot read the exit of a program");
                ProcessEvent::Gone
            }
        }
    }

    /// Requests every process of the group to end. On Windows only the child itself can be ended.
    pub(super) fn terminate(&mut self, _sparing: bool) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// Kills every process of the group.
    pub(super) fn kill(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// Releases the group after the turn ended by itself: its background processes may stay.
    pub(super) fn release(&mut self) {
        self.armed = false;
    }

    /// The system does not reuse the id of a group that still has a process, so the signal reaches
    /// this group or, when it is empty, nothing.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(id) = self.id {
            // An error means that the group is empty.
            let _ = rustix::process::kill_process_group(id, signal);
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        if let Some(feed) = &self.feed {
            feed.abort();
        }
        if self.armed {
            self.kill();
        }
    }
}

/// Sets the arguments of a command.
#[cfg(not(windows))]
fn pass(command: &mut Command, arguments: &[String]) {
    command.args(arguments);
}

/// Sets the arguments of a command. The text after `/S /C` is the command line of `cmd`, which
/// takes it literally between two quotes and does not apply the argument rules of other programs.
#[cfg(windows)]
fn pass(command: &mut Command, arguments: &[String]) {
    let is = |argument: &String, option| argument.eq_ignore_ascii_case(option);
    match arguments.split_last() {
        Some((line, options @ [.., before, last])) if is(before, "/S") && is(last, "/C") => {
            command.args(options).raw_arg(format!("\"{line}\""));
        }
        _ => {
            command.args(arguments);
        }
    }
}

/// Writes the prompt and closes the pipe. A process that does not read it is no error.
async fn feed(mut stdin: ChildStdin, prompt: String) {
    let _ = stdin.write_all(prompt.as_bytes()).await;
    let _ = stdin.shutdown().await;
}

/// The error text of a failed start. A bad folder and a bad program fail alike here, so the folder
/// is checked again.
fn failed(program: &str, spec: &Spec, error: &io::Error) -> String {
    #[cfg(unix)]
    {
        use super::launcher::start::{folder_text, program_text};
        match std::fs::read_dir(&spec.cwd) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                folder_text(&spec.cwd, &error)
            }
            _ => program_text(program, std::path::Path::new(&spec.cwd), error),
        }
    }
    #[cfg(not(unix))]
    format!(
        "The provider's program `{program}` cannot be started in `{}`: {error}.",
        spec.cwd
    )
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: std::process::ExitStatus) -> Option<i32> {
    None
}
